"""Merkle tree hashes and proofs of RFC 6962, over bytes: nothing is stored here and nothing is signed.

A node (level, index) is the root of the complete subtree over the leaves [index * 2^level, (index + 1) * 2^level).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from governance.errors import ProofError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Of a tree without leaves (RFC 6962 2.1)."""

ReadNode: TypeAlias = Callable[[int, int], bytes]
"""The hash of node (level, index), which is complete."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of a leaf, 32 bytes (RFC 6962 2.1)."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of two subtrees, 32 bytes (RFC 6962 2.1)."""
    return _sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The roots of the complete subtrees that a tree consists of: enough to append, in O(log n) memory.

    Attributes:
        size: Leaves so far.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Begin empty, or where another one was.

        Args:
            size: Leaves before.
            hashes: The roots of cover(0, size), from left to right.

        Raises:
            ProofError: There are not as many hashes as a tree of that size has complete subtrees.
        """
        self.size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count() or any(len(each) != HASH_BYTES for each in self._hashes):
            raise ProofError(
                f"Expected {size.bit_count()} hashes of {HASH_BYTES} bytes for {size} leaves, got {len(self._hashes)}."
            )

    def copy(self) -> "CompactRange":
        """One that goes its own way from here."""
        return CompactRange(self.size, self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        hashes, rest = self._hashes, self.size
        while rest & 1:
            leaf = _sha256(b"\x01" + hashes.pop() + leaf).digest()
            rest >>= 1
        hashes.append(leaf)
        self.size += 1

    def append_subtree(self, level: int, root: bytes) -> None:
        """Add the 2^level leaves of a complete subtree.

        Raises:
            ProofError: The tree does not end where such a subtree may begin.
        """
        if self.size % (1 << level):
            raise ProofError(f"A subtree of {1 << level} leaves cannot begin at leaf {self.size}.")
        rest = self.size >> level
        while rest & 1:
            root = node_hash(self._hashes.pop(), root)
            rest >>= 1
        self._hashes.append(root)
        self.size += 1 << level

    def root(self) -> bytes:
        """The tree's root, 32 bytes."""
        if not self._hashes:
            return EMPTY_ROOT
        found = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            found = node_hash(left, found)
        return found


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^n neighbours of one level."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]


def cover(start: int, stop: int) -> list[tuple[int, int]]:
    """The fewest complete subtrees over the leaves [start, stop), as (level, index) from left to right."""
    nodes = []
    while start < stop:
        room = (stop - start).bit_length() - 1
        level = min(room, (start & -start).bit_length() - 1) if start else room
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def root_at(size: int, read: ReadNode) -> bytes:
    """The root of the first `size` leaves."""
    return CompactRange(size, (read(*node) for node in cover(0, size))).root()


def inclusion_path(index: int, size: int, read: ReadNode) -> list[bytes]:
    """The proof that a leaf is in a tree (RFC 6962 2.1.1).

    Args:
        index: Of the leaf, from 0.
        size: Of the tree.
        read: The tree's nodes.

    Returns:
        Hashes of 32 bytes, from the leaf's sibling upwards.

    Raises:
        ProofError: The tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"Expected the index of a leaf from 0 to {size - 1}, got {index}.")
    return _path(index, 0, size, read)


def _path(index: int, start: int, stop: int, read: ReadNode) -> list[bytes]:
    if stop - start == 1:
        return []
    middle = start + _split(stop - start)
    if index < middle:
        return [*_path(index, start, middle, read), _root_between(middle, stop, read)]
    return [*_path(index, middle, stop, read), _root_between(start, middle, read)]


def consistency_path(first: int, second: int, read: ReadNode) -> list[bytes]:
    """The proof that a tree began as an earlier one (RFC 6962 2.1.2).

    Args:
        first: Size of the earlier tree.
        second: Of the later one.
        read: The later tree's nodes.

    Returns:
        Hashes of 32 bytes; none for equal sizes, and none from the empty tree.

    Raises:
        ProofError: The sizes are not in order.
    """
    if not 0 <= first <= second:
        raise ProofError(f"Expected sizes in order, got {first} and {second}.")
    if first in {0, second}:
        return []
    return _subproof(first, 0, second, read, is_known=True)


def _subproof(first: int, start: int, stop: int, read: ReadNode, *, is_known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 2.1.2 over the leaves [start, stop), of which the earlier tree has `first`."""
    if first == stop - start:
        return [] if is_known else [_root_between(start, stop, read)]
    half = _split(stop - start)
    middle = start + half
    if first <= half:
        return [*_subproof(first, start, middle, read, is_known=is_known), _root_between(middle, stop, read)]
    return [*_subproof(first - half, middle, stop, read, is_known=False), _root_between(start, middle, read)]


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def _root_between(start: int, stop: int, read: ReadNode) -> bytes:
    hashes = [read(*node) for node in cover(start, stop)]
    found = hashes.pop()
    while hashes:
        found = node_hash(hashes.pop(), found)
    return found


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is in a tree (RFC 9162 2.1.3.2).

    Args:
        index: Of the leaf, from 0.
        size: Of the tree.
        leaf: The leaf's hash.
        path: From inclusion_path.
        root: The tree's.

    Raises:
        ProofError: It is not proved.
    """
    if not 0 <= index < size:
        raise ProofError(f"Expected the index of a leaf from 0 to {size - 1}, got {index}.")
    _check_hashes([leaf, root, *path])
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError(f"Leaf {index} of {size}: the proof is too long.")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != root:
        raise ProofError(f"Leaf {index} is not in the tree of {size} leaves with root {root.hex()[:16]}.")


def verify_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    """Check that a tree began as an earlier one (RFC 9162 2.1.4.2).

    Args:
        first: Size of the earlier tree, from 1: there is nothing to prove from the empty one.
        second: Of the later one.
        path: From consistency_path.
        first_root: Of the earlier tree.
        second_root: Of the later one.

    Raises:
        ProofError: It is not proved.
    """
    if not 0 < first <= second:
        raise ProofError(f"Expected sizes in order from 1, got {first} and {second}; every tree began empty.")
    _check_hashes([first_root, second_root, *path])
    if first == second:
        _check_same(first, path, first_root, second_root)
        return
    hashes = iter(path if first & (first - 1) else [first_root, *path])
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = next(hashes, b"")
    for each in hashes:
        if last == 0:
            raise ProofError(f"From {first} to {second} leaves: the proof is too long.")
        if node & 1 or node == last:
            old, new = node_hash(each, old), node_hash(each, new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, each)
        node, last = node >> 1, last >> 1
    if last or old != first_root or new != second_root:
        raise ProofError(
            f"The tree of {second} leaves with root {second_root.hex()[:16]} did not begin as that of {first} with "
            f"root {first_root.hex()[:16]}."
        )


def _check_same(size: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    if path:
        raise ProofError(f"From {size} to {size} leaves: expected an empty proof, got {len(path)} hashes.")
    if first_root != second_root:
        raise ProofError(f"Two trees of {size} leaves have different roots: the log was forked.")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError(f"Expected hashes of {HASH_BYTES} bytes.")
