"""The stored hashes give every node and every root, however the tree was grown."""

import itertools

import pytest

from governance.errors import LedgerTamperedError
from governance.ledger.merkle import leaf_hash, root_at, root_of
from governance.ledger.tiles import TILE_BYTES, grow, node_reader

LEAVES = [leaf_hash(str(number).encode()) for number in range(70_000)]


def grown(*sizes: int) -> dict[tuple[int, int], bytes]:
    tiles: dict[tuple[int, int], bytes] = {}

    def read(row: int, index: int) -> bytes:
        return tiles.get((row, index), b"")

    for before, size in itertools.pairwise((0, *sizes)):
        tiles.update(grow(before, LEAVES[before:size], read))
    return tiles


def test_growing_in_steps_makes_the_same_tiles_as_at_once() -> None:
    assert grown(1, 2, 255, 256, 257, 600, 66_000) == grown(66_000)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 66_001])
def test_the_root_of_every_size_is_read_from_the_tiles(size: int) -> None:
    tiles = grown(66_001)
    assert root_at(size, node_reader(lambda row, index: tiles.get((row, index), b""))) == root_of(LEAVES[:size])


def test_rows_are_cut_as_tlog_tiles_says() -> None:
    tiles = grown(66_000)
    assert len(tiles[0, 0]) == TILE_BYTES
    assert len(tiles[0, 66_000 // 256]) == 66_000 % 256 * 32
    assert len(tiles[1, 1]) == (66_000 // 256 - 256) * 32
    assert len(tiles[2, 0]) == 32


def test_appending_to_a_shortened_tile_is_refused() -> None:
    tiles = grown(300)
    with pytest.raises(LedgerTamperedError, match="fewer hashes"):
        grow(300, LEAVES[300:301], lambda row, index: tiles[row, index][:-32])
    with pytest.raises(LedgerTamperedError, match="fewer hashes"):
        node_reader(lambda row, index: tiles[row, index][:-32])(0, 299)
