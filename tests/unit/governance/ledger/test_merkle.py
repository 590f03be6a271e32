"""The Merkle tree against RFC 6962's definition and the Certificate Transparency reference vectors."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from governance.errors import ProofError
from governance.ledger.merkle import (
    EMPTY_ROOT,
    CompactRange,
    complete_root,
    consistency_path,
    cover,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_at,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of Certificate Transparency, as in github.com/transparency-dev/merkle, testonly/constants.go.
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
LEAVES = [leaf_hash(bytes.fromhex(each)) for each in INPUTS]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# The proofs, right and wrong, that the same project publishes; the file names its source.
PROOFS = json.loads((Path(__file__).parent / "rfc6962_proofs.json").read_text())


def vector_hash(number: int) -> bytes:
    found = b"" if number < 0 else base64.b64decode(PROOFS["hashes"][number])
    # Two cases have words where any hash will do; we take only what is as long as one.
    return hashlib.sha256(found).digest() if found.startswith(b"don't care") else found


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = max(2**power for power in range(64) if 2**power < len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def reader(leaves: Sequence[bytes]):
    return lambda level, index: complete_root(leaves[index << level : (index + 1) << level])


def many(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        # github.com/transparency-dev/merkle, rfc6962/rfc6962_test.go
        pytest.param(EMPTY_ROOT, ROOTS[0], id="empty-tree"),
        pytest.param(leaf_hash(b""), ROOTS[1], id="empty-leaf"),
        pytest.param(
            leaf_hash(b"L123456"), "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56", id="leaf"
        ),
        pytest.param(
            node_hash(b"N123", b"N456"), "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb", id="node"
        ),
    ],
)
def test_hashes_are_those_of_the_reference(found: bytes, wanted: str) -> None:
    assert found.hex() == wanted


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]
    assert root_at(size, reader(LEAVES)).hex() == ROOTS[size]


@pytest.mark.parametrize("case", PROOFS["inclusion"], ids=lambda case: case[0])
def test_inclusion_vectors(case: list) -> None:
    _, index, size, leaf, path, root, holds = case
    arguments = (index, size, vector_hash(leaf), [vector_hash(each) for each in path], vector_hash(root))
    if holds:
        verify_inclusion(*arguments)
    else:
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)


@pytest.mark.parametrize("case", PROOFS["consistency"], ids=lambda case: case[0])
def test_consistency_vectors(case: list) -> None:
    _, first, second, path, first_root, second_root, holds = case
    proof = [vector_hash(each) for each in path]
    if holds:
        verify_consistency(first, second, proof, vector_hash(first_root), vector_hash(second_root))
    else:
        with pytest.raises(ProofError):
            verify_consistency(first, second, proof, vector_hash(first_root), vector_hash(second_root))


def test_the_reference_proofs_are_what_the_tree_gives() -> None:
    holding = [case for case in PROOFS["inclusion"] if case[-1] and case[2] <= 8]
    assert holding
    for _, index, size, _, path, _, _ in holding:
        assert inclusion_path(index, size, reader(LEAVES)) == [vector_hash(each) for each in path]
    holding = [case for case in PROOFS["consistency"] if case[-1] and 0 < case[1] <= case[2] <= 8]
    assert holding
    for _, first, second, path, _, _, _ in holding:
        assert consistency_path(first, second, reader(LEAVES)) == [vector_hash(each) for each in path]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 31, 33, 70])
def test_every_proof_of_a_tree_holds_and_none_for_another_leaf(size: int) -> None:
    leaves = many(size)
    read, root = reader(leaves), mth(leaves)
    assert root_of(leaves) == root
    for index in range(size):
        path = inclusion_path(index, size, read)
        verify_inclusion(index, size, leaves[index], path, root)
        with pytest.raises(ProofError):
            verify_inclusion(index, size, leaf_hash(b"other"), path, root)
    for first in range(1, size + 1):
        verify_consistency(first, size, consistency_path(first, size, read), mth(leaves[:first]), root)


def test_a_forked_tree_is_not_consistent() -> None:
    leaves = many(20)
    forked = [*leaves[:9], leaf_hash(b"other"), *leaves[10:]]
    with pytest.raises(ProofError, match="did not begin"):
        verify_consistency(10, 20, consistency_path(10, 20, reader(forked)), mth(leaves[:10]), mth(forked))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 13), (5, 5), (3, 200), (64, 65), (7, 64)])
def test_cover_is_complete_and_whole(start: int, stop: int) -> None:
    covered = [leaf for level, index in cover(start, stop) for leaf in range(index << level, (index + 1) << level)]
    assert covered == list(range(start, stop))


def test_a_tree_goes_on_from_its_subtrees() -> None:
    leaves, read = many(77), reader(many(77))
    tree = CompactRange(21, [read(*node) for node in cover(0, 21)])
    for leaf in leaves[21:40]:
        tree.append(leaf)
    for level, index in cover(40, 77):
        tree.append_subtree(level, read(level, index))
    assert tree.root() == mth(leaves)
    with pytest.raises(ProofError, match="cannot begin"):
        tree.append_subtree(3, leaves[0])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: CompactRange(3, [bytes(32)]), id="hashes-missing"),
        pytest.param(lambda: CompactRange(1, [bytes(31)]), id="short-hash"),
        pytest.param(lambda: inclusion_path(4, 4, reader(many(4))), id="no-such-leaf"),
        pytest.param(lambda: consistency_path(5, 4, reader(many(4))), id="sizes-out-of-order"),
        pytest.param(lambda: verify_inclusion(0, 2, bytes(32), [bytes(16)], bytes(32)), id="half-a-hash"),
    ],
)
def test_refuses_what_is_no_tree(wrong) -> None:
    with pytest.raises(ProofError):
        wrong()
