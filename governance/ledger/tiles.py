"""How a tree is stored: rows of 256 neighbours of every eighth level, as C2SP tlog-tiles cuts it.

Tile (row, index) holds the hashes of the nodes (8 * row, 256 * index + i). A hash is there from the moment its subtree
is complete and never changes, so appending adds to the last tile of each row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from governance.errors import LedgerTamperedError
from governance.ledger.merkle import HASH_BYTES, ReadNode, complete_root

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
TILE_BYTES: Final = WIDTH * HASH_BYTES

ReadTile: TypeAlias = Callable[[int, int], bytes]
"""The bytes of tile (row, index); none where it is not stored."""


def grow(size: int, leaves: Sequence[bytes], read: ReadTile) -> dict[tuple[int, int], bytes]:
    """The tiles that appending changes or makes.

    Args:
        size: Leaves before.
        leaves: Hashes of the new ones.
        read: The tiles before; only the last of each row is asked for.

    Returns:
        Whole tiles by (row, index).

    Raises:
        LedgerTamperedError: A stored tile is shorter than the size says.
    """
    tiles: dict[tuple[int, int], bytes] = {}
    row, begin, new = 0, size, list(leaves)
    while new:
        index, used = divmod(begin, WIDTH)
        data = _begun(row, index, used, read) + b"".join(new)
        pieces = [data[start : start + TILE_BYTES] for start in range(0, len(data), TILE_BYTES)]
        tiles.update({(row, index + place): piece for place, piece in enumerate(pieces)})
        new = [complete_root(hashes_of(piece)) for piece in pieces if len(piece) == TILE_BYTES]
        row, begin = row + 1, begin // WIDTH
    return tiles


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes in a tile."""
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


def node_reader(read: ReadTile) -> ReadNode:
    """The tree's nodes from its tiles; each tile is asked for once.

    The returned function raises LedgerTamperedError where a tile does not hold what it should.
    """
    kept: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        row, height = divmod(level, HEIGHT)
        place, start = divmod(index << height, WIDTH)
        tile = kept.get((row, place))
        if tile is None:
            tile = kept[row, place] = read(row, place)
        piece = tile[start * HASH_BYTES : (start + (1 << height)) * HASH_BYTES]
        if len(piece) != HASH_BYTES << height:
            raise _too_short(row, place)
        return complete_root(hashes_of(piece))

    return node


def tile_sizes(size: int) -> Mapping[int, int]:
    """How many hashes each row has in a tree of `size` leaves."""
    sizes, row = {}, 0
    while size:
        sizes[row] = size
        row, size = row + 1, size // WIDTH
    return sizes


def _begun(row: int, index: int, used: int, read: ReadTile) -> bytes:
    """The hashes that the last tile of a row has."""
    if not used:
        return b""
    tile = read(row, index)[: used * HASH_BYTES]
    if len(tile) != used * HASH_BYTES:
        raise _too_short(row, index)
    return tile


def _too_short(row: int, index: int) -> LedgerTamperedError:
    return LedgerTamperedError(
        f"The ledger's tile {index} of row {row} has fewer hashes than its size says. Run `qfl governance verify`."
    )
