"""A part of the ledger in one file is checked without the rest, and every change of it is found."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from governance.errors import BundleError, NoteError, ProofError
from governance.ledger import log
from governance.ledger.bundle import export, parse_bundle, verify_bundle
from governance.ledger.checkpoint import parse_checkpoint, sign
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.findings import Fault
from governance.ledger.proof_file import EntryProof, parse_proof
from governance.ledger.verification import Trust
from tests.fakes.ledger_store import NOW, ORIGIN, review, signed_ledger


@pytest.fixture(scope="module")
def made() -> tuple[dict[str, Any], CosignerSigner, CosignerSigner]:
    """A bundle of the entries 100 to 139 of 301, the log's first key and its present one."""
    store, old = signed_ledger(150)
    new = CosignerSigner.generate(ORIGIN)
    log.rotate_key(store, old, new, now=NOW)
    log.append(store, [review(number) for number in range(151, 300)])
    signed = log.sign_checkpoint(store, new, now=NOW)
    return json.loads(export(store, 100, 140, signed).write()), old, new


def check(document: dict[str, Any], trust: Trust) -> list[tuple[Fault, int | None, int | None]]:
    report = verify_bundle(parse_bundle(json.dumps(document).encode()), trust)
    return [(each.fault, each.first, each.last) for each in report.findings]


def test_an_honest_bundle_is_intact(made) -> None:
    document, old, _ = made
    report = verify_bundle(parse_bundle(json.dumps(document).encode()), Trust(old.public))
    assert report.is_intact
    assert (report.checked, report.size, report.signed_size) == (40, 301, 301)
    assert report.notes == ("The bundle holds the entries 100 to 139 of 301.",)


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (0, 301), (300, 301), (17, 256), (255, 257)])
def test_any_range_is_proved(first: int, stop: int) -> None:
    store, signer = signed_ledger(300)
    bundle = export(store, first, stop, parse_checkpoint(store.notes[301]))
    assert verify_bundle(parse_bundle(bundle.write()), Trust(signer.public)).is_intact


def change_entry(document: dict[str, Any]) -> None:
    document["entries"][7] = document["entries"][7].replace("accepted", "rejected")


def drop_entry(document: dict[str, Any]) -> None:
    del document["entries"][7]


def add_entry(document: dict[str, Any]) -> None:
    document["entries"].insert(7, document["entries"][7].replace("accepted", "rejected"))


def swap_entries(document: dict[str, Any]) -> None:
    entries = document["entries"]
    entries[7], entries[9] = entries[9], entries[7]


@pytest.mark.parametrize(
    ("attack", "wanted"),
    [
        pytest.param(change_entry, [(Fault.EDITED, 107, 107)], id="edited"),
        pytest.param(
            drop_entry, [(Fault.MISSING, 107, 107), (Fault.MOVED, 108, 138), (Fault.MOVED, 139, 139)], id="left-out"
        ),
        pytest.param(add_entry, [(Fault.INSERTED, 107, 107), (Fault.MOVED, 108, 140)], id="added"),
        pytest.param(swap_entries, [(Fault.MOVED, 107, 107), (Fault.MOVED, 109, 109)], id="reordered"),
    ],
)
def test_a_changed_entry_is_named(made, attack: Callable, wanted: list) -> None:
    document, old, _ = json.loads(json.dumps(made[0])), *made[1:]
    attack(document)
    assert check(document, Trust(old.public)) == wanted


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda found: found["hashes"].pop(), id="hash-left-out"),
        pytest.param(lambda found: found["hashes"].reverse(), id="hashes-reordered"),
        pytest.param(lambda found: found["before"].reverse(), id="before"),
        pytest.param(lambda found: found["behind"].pop(), id="behind"),
        pytest.param(lambda found: found.update(first=101), id="another-place"),
    ],
)
def test_hashes_that_do_not_make_the_signed_root_are_found(made, attack: Callable) -> None:
    document, old = json.loads(json.dumps(made[0])), made[1]
    attack(document)
    assert Fault.REWRITTEN in {fault for fault, _, _ in check(document, Trust(old.public))}


def test_the_checkpoint_must_be_signed_by_the_present_key(made) -> None:
    document, old, new = json.loads(json.dumps(made[0])), *made[1:]
    head = parse_checkpoint(document["checkpoint"]).head
    document["checkpoint"] = sign(head, old, now=NOW).text()
    assert check(document, Trust(old.public)) == [(Fault.REPLACED_KEY, 301, None)]
    document["checkpoint"] = sign(head, CosignerSigner.generate(ORIGIN), now=NOW).text()
    assert check(document, Trust(old.public)) == [(Fault.CHECKPOINT_UNSIGNED, 301, None)]
    assert new.public != old.public


def test_the_log_is_the_one_that_the_verifier_means(made) -> None:
    stranger = CosignerSigner.generate(ORIGIN).public
    assert check(made[0], Trust(stranger)) == [(Fault.OTHER_KEY, 0, 0)]


def test_keys_that_are_not_in_the_tree_are_not_believed(made) -> None:
    document, old = json.loads(json.dumps(made[0])), made[1]
    document["keys"][1]["path"].reverse()
    found = check(document, Trust(old.public))
    assert (Fault.ROTATION, 151, None) in found
    assert (Fault.CHECKPOINT_UNSIGNED, 301, None) in found


def test_missing_witnesses_are_told(made) -> None:
    witness = CosignerSigner.generate("w.example").public
    assert check(made[0], Trust(made[1].public, witnesses=[witness], quorum=1)) == [
        (Fault.TOO_FEW_WITNESSES, None, None)
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"[" * 100_000, id="too-deep"),
        pytest.param(b'{"format":"another"}', id="another-format"),
        pytest.param(b'{"format":"qfl-ledger-bundle/1","first":-1}', id="negative"),
        pytest.param(b'{"format":"qfl-ledger-bundle/1","first":0,"entries":[1]}', id="no-text"),
    ],
)
def test_refuses_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_bundle(data)


def test_refuses_hashes_of_another_length(made) -> None:
    document = {**made[0], "before": ["AAAA"]}
    with pytest.raises(BundleError, match="32 bytes"):
        parse_bundle(json.dumps(document).encode())


@pytest.mark.parametrize(("first", "stop"), [(-1, 3), (3, 3), (3, 12)])
def test_exports_only_what_is_signed(first: int, stop: int) -> None:
    store, _ = signed_ledger(10)
    with pytest.raises(BundleError):
        export(store, first, stop, parse_checkpoint(store.notes[11]))


def test_one_entry_is_proved_in_c2sp_form() -> None:
    store, signer = signed_ledger(10)
    signed = parse_checkpoint(store.notes[11])
    proof = EntryProof(store.stored[5].leaf, 5, log.prove_inclusion(store, 5, 11), signed)
    read = parse_proof(proof.text())
    read.check()
    assert proof.text().startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert "\nindex 5\n" in proof.text()
    assert read.checkpoint.signed_by(signer.public) == NOW
    with pytest.raises(ProofError):
        EntryProof(store.stored[6].leaf, 5, read.path, read.checkpoint).check()
    for text in ("", proof.text().replace("@v1", "@v2"), proof.text().replace("index 5", "index 05"), "x" * (1 << 20)):
        with pytest.raises(NoteError):
            parse_proof(text)
