"""Every way to tamper with a ledger is found, and named with its place.

Each attack is made twice where it can be: by somebody who changes rows, and by somebody who also recomputes every hash
of the tree, so that only signatures contradict him.
"""

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta

import pytest

from governance.errors import ClockSetBackError, LedgerTamperedError, LogKeyError
from governance.ledger import log
from governance.ledger.checkpoint import Checkpoint, parse_checkpoint, sign
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import leaf_of
from governance.ledger.findings import Fault, Finding, Report
from governance.ledger.keys import rotation
from governance.ledger.verification import Trust, verify_ledger
from governance.ports import NewRow, Row
from tests.fakes.ledger_store import NOW, ORIGIN, InMemoryLedger, review, signed_ledger


def faults(report: Report) -> list[tuple[Fault, int | None, int | None]]:
    return [(each.fault, each.first, each.last) for each in report.findings]


def other_row(number: int = 99) -> Row:
    return Row(0, "review-decided", None, leaf_of(review(number)))


def test_an_honest_ledger_is_intact() -> None:
    store, signer = signed_ledger(600, checkpoints=[1, 300])
    report = verify_ledger(store, Trust(signer.public, [("witness", store.notes[301 - 1])]))
    assert report.is_intact
    assert (report.size, report.checked, report.signed_size, report.checkpoints) == (601, 601, 601, 4)
    assert not report.notes
    assert report.to_json()["intact"] is True


def test_an_edited_entry_is_named() -> None:
    store, signer = signed_ledger(10)
    store.put(4, other_row())
    (finding,) = verify_ledger(store, Trust(signer.public)).findings
    assert (finding.fault, finding.first, finding.last, finding.kind) == (Fault.EDITED, 4, 4, "review-decided")
    assert "entry 4 (review-decided): edited" in finding.message


def test_a_deleted_entry_is_named() -> None:
    store, signer = signed_ledger(10)
    del store.stored[4]
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.MISSING, 4, 4)]


def test_a_deleted_entry_is_named_when_the_others_close_the_gap() -> None:
    store, signer = signed_ledger(10)
    for place in range(4, 10):
        store.put(place, store.stored[place + 1])
    del store.stored[10]
    store.size = 10
    found = faults(verify_ledger(store, Trust(signer.public)))
    assert (Fault.MISSING, 4, 4) in found
    assert (Fault.MOVED, 5, 9) in found
    assert (Fault.MOVED, 10, 10) in found  # its entry stands at 9
    assert (Fault.TRUNCATED, 10, 10) in found  # more was signed than there is


def test_an_inserted_entry_is_named() -> None:
    store, signer = signed_ledger(10)
    for place in range(10, 3, -1):
        store.put(place + 1, store.stored[place])
    store.put(4, other_row())
    store.size = 12
    found = faults(verify_ledger(store, Trust(signer.public)))
    assert found == [(Fault.INSERTED, 4, 4), (Fault.MOVED, 5, 11)]


def test_an_entry_behind_the_last_one_is_named() -> None:
    store, signer = signed_ledger(10)
    store.put(11, other_row())
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.INSERTED, 11, 11)]


def test_reordered_entries_are_named_with_their_places() -> None:
    store, signer = signed_ledger(10)
    third, seventh = store.stored[3], store.stored[7]
    store.put(3, seventh)
    store.put(7, third)
    report = verify_ledger(store, Trust(signer.public))
    assert faults(report) == [(Fault.MOVED, 3, 3), (Fault.MOVED, 7, 7)]
    assert "moved; appended as entry 7" in report.findings[0].message


def test_entries_cut_off_at_the_end_are_named() -> None:
    store, signer = signed_ledger(10)
    for place in (8, 9, 10):
        del store.stored[place]
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.TRUNCATED, 8, 10)]


def test_a_gap_without_end_is_not_walked_through() -> None:
    store, signer = signed_ledger(3)
    store.size = 1 << 60
    assert (Fault.TRUNCATED, 4, (1 << 60) - 1) in faults(verify_ledger(store, Trust(signer.public)))


def edit(store: InMemoryLedger) -> None:
    store.put(4, other_row())


def delete(store: InMemoryLedger) -> None:
    for place in range(4, 10):
        store.put(place, store.stored[place + 1])
    del store.stored[10]


def insert(store: InMemoryLedger) -> None:
    for place in range(10, 3, -1):
        store.put(place + 1, store.stored[place])
    store.put(4, other_row())


def reorder(store: InMemoryLedger) -> None:
    third, seventh = store.stored[3], store.stored[7]
    store.put(3, seventh)
    store.put(7, third)


def truncate(store: InMemoryLedger) -> None:
    for place in (8, 9, 10):
        del store.stored[place]


ATTACKS = [edit, delete, insert, reorder, truncate]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_recomputing_every_hash_does_not_hide_it_from_the_signatures(attack: Callable) -> None:
    store, signer = signed_ledger(10, checkpoints=[3, 6])
    attack(store)
    store.recompute_hashes()
    found = faults(verify_ledger(store, Trust(signer.public)))
    # Signed at 3, 6 and 11 entries: the damage is between two of them.
    wanted = {
        edit: (Fault.REWRITTEN, 3, 5),
        delete: (Fault.REWRITTEN, 3, 5),
        insert: (Fault.REWRITTEN, 3, 5),
        reorder: (Fault.REWRITTEN, 3, 5),
        truncate: (Fault.TRUNCATED, 8, 10),
    }
    assert wanted[attack] in found


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_throwing_the_checkpoints_away_does_not_hide_it_from_the_one_outside(attack: Callable) -> None:
    store, signer = signed_ledger(10)
    outside = store.notes[11]
    attack(store)
    store.recompute_hashes()
    store.notes.clear()
    found = faults(verify_ledger(store, Trust(signer.public, [("checkpoint file", outside)])))
    wanted = (Fault.ROLLED_BACK, store.size, 10) if attack in {truncate, delete} else (Fault.FORKED, 0, 10)
    assert wanted in found


def test_a_database_that_was_put_back_is_found() -> None:
    store, signer = signed_ledger(5)
    backup = deepcopy(store)
    log.append(store, [review(6), review(7)])
    outside = log.sign_checkpoint(store, signer, now=NOW).text()
    assert verify_ledger(backup, Trust(signer.public)).is_intact  # by itself it is a good ledger
    report = verify_ledger(backup, Trust(signer.public, [("checkpoint file", outside)]))
    assert faults(report) == [(Fault.ROLLED_BACK, 6, 7)]


def test_a_forked_log_is_found_by_whoever_holds_the_other_history() -> None:
    store, signer = signed_ledger(5)
    fork = deepcopy(store)
    log.append(store, [review(6)])
    log.append(fork, [review(60)])
    ours = log.sign_checkpoint(store, signer, now=NOW).text()
    log.sign_checkpoint(fork, signer, now=NOW)
    report = verify_ledger(fork, Trust(signer.public, [("witness of site b", ours)]))
    assert faults(report) == [(Fault.FORKED, 6, 6)]
    assert "witness of site b" in report.findings[0].message


def test_a_log_that_goes_on_after_being_put_back_is_found_as_forked() -> None:
    store, signer = signed_ledger(5)
    backup = deepcopy(store)
    log.append(store, [review(6)])
    outside = log.sign_checkpoint(store, signer, now=NOW).text()
    log.append(backup, [review(7), review(8)])
    log.sign_checkpoint(backup, signer, now=NOW)
    report = verify_ledger(backup, Trust(signer.public, [("checkpoint file", outside)]))
    assert faults(report) == [(Fault.FORKED, 6, 6)]


def test_another_ledger_in_its_place_is_found() -> None:
    _, signer = signed_ledger(3)
    other, _ = signed_ledger(3)
    assert faults(verify_ledger(other, Trust(signer.public))) == [(Fault.OTHER_KEY, 0, 0)]
    assert verify_ledger(other, Trust()).notes[0].startswith("The log's first key was taken from the log itself")


def rotated() -> tuple[InMemoryLedger, CosignerSigner, CosignerSigner]:
    store, old = signed_ledger(3)
    new = CosignerSigner.generate(ORIGIN)
    log.rotate_key(store, old, new, now=NOW)
    log.append(store, [review(4)])
    return store, old, new


def test_a_rotated_key_goes_on_and_the_history_stays_intact() -> None:
    store, old, new = rotated()
    log.sign_checkpoint(store, new, now=NOW)
    assert verify_ledger(store, Trust(old.public)).is_intact
    assert log.rotate_key(store, old, new, now=NOW + timedelta(hours=1)) == 4  # once is enough


def test_a_key_that_was_stolen_and_replaced_cannot_sign_a_later_tree() -> None:
    store, stolen, new = rotated()
    with pytest.raises(LogKeyError, match="present key"):
        log.sign_checkpoint(store, stolen, now=NOW)
    forged = Checkpoint(ORIGIN, store.size, parse_checkpoint(log.sign_checkpoint(store, new, now=NOW).text()).head.root)
    store.keep_checkpoint(store.size, sign(forged, stolen, now=NOW).text())
    (finding,) = verify_ledger(store, Trust(stolen.public)).findings
    assert (finding.fault, finding.first) == (Fault.REPLACED_KEY, store.size)
    assert stolen.public.key_id.hex() in finding.message


def test_a_thief_cannot_replace_the_key_without_its_owner_being_able_to_tell() -> None:
    store, owner = signed_ledger(3)
    thief, accomplice = CosignerSigner.generate(ORIGIN), CosignerSigner.generate(ORIGIN)
    log.append(store, [rotation(accomplice, thief, now=NOW)])  # not the present key's signature
    found = faults(verify_ledger(store, Trust(owner.public)))
    assert found == [(Fault.ROTATION, 4, 4)]


def test_a_rotation_needs_both_signatures() -> None:
    store, owner = signed_ledger(3)
    entry = rotation(owner, CosignerSigner.generate(ORIGIN), now=NOW)
    facts = {**entry.facts, "new_signature": entry.facts["old_signature"]}
    log.append(store, [type(entry)(entry.kind, entry.at, facts)])
    assert faults(verify_ledger(store, Trust(owner.public))) == [(Fault.ROTATION, 4, 4)]


def test_a_replaced_key_is_not_brought_back() -> None:
    store, old, new = rotated()
    log.sign_checkpoint(store, new, now=NOW)
    log.append(store, [rotation(new, old, now=NOW)])
    assert faults(verify_ledger(store, Trust(old.public))) == [(Fault.ROTATION, 6, 6)]


def test_a_checkpoint_of_nobody_is_found() -> None:
    store, signer = signed_ledger(3)
    stranger = CosignerSigner.generate("stranger.example")
    store.keep_checkpoint(4, sign(parse_checkpoint(store.notes[4]).head, stranger, now=NOW).text())
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.CHECKPOINT_UNSIGNED, 4, None)]


@pytest.mark.parametrize("note", ["", "no checkpoint\n\n— a b\n"], ids=["empty", "garbage"])
def test_a_checkpoint_that_is_none_is_found(note: str) -> None:
    store, signer = signed_ledger(3)
    store.keep_checkpoint(2, note)
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.CHECKPOINT_MALFORMED, None, None)]


def test_damaged_hashes_are_told_from_damaged_entries() -> None:
    store, signer = signed_ledger(700)
    tile = bytearray(store.tiles[0, 1])
    tile[32 * 5] ^= 1  # the hash of entry 261
    store.tiles[0, 1] = bytes(tile)
    found = faults(verify_ledger(store, Trust(signer.public)))
    assert (Fault.HASHES_DAMAGED, 261, 261) in found
    assert not {Fault.EDITED, Fault.REWRITTEN} & {fault for fault, _, _ in found}


def test_damaged_hashes_of_upper_rows_are_found() -> None:
    store, signer = signed_ledger(700)
    store.tiles[1, 0] = bytes(len(store.tiles[1, 0]))
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.HASHES_DAMAGED, 0, None)]


def test_a_size_that_was_set_back_is_found_by_the_hashes_that_are_left() -> None:
    store, signer = signed_ledger(10)
    store.notes.clear()
    store.size = 8
    found = faults(verify_ledger(store, Trust(signer.public)))
    assert (Fault.TRUNCATED, 8, 10) in found


def test_entries_that_were_cut_off_leave_their_hashes_behind() -> None:
    store, signer = signed_ledger(10)
    store.notes.clear()
    store.size = 8
    for place in (8, 9, 10):
        del store.stored[place]
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.TRUNCATED, 8, 10)]


def test_a_label_beside_an_entry_that_is_not_the_one_in_it_is_found() -> None:
    store, signer = signed_ledger(3)
    store.stored[2] = store.stored[2]._replace(kind="report-issued")
    assert faults(verify_ledger(store, Trust(signer.public))) == [(Fault.MISLABELLED, 2, 2)]


def test_what_is_appended_without_being_an_entry_is_found() -> None:
    store, signer = signed_ledger(3)
    store.append([NewRow("review-decided", None, b"{}")])
    assert (Fault.MALFORMED, 4, 4) in faults(verify_ledger(store, Trust(signer.public)))


def test_too_few_witnesses_are_told() -> None:
    store, signer = signed_ledger(3)
    witness, absent = CosignerSigner.generate("w1.example"), CosignerSigner.generate("w2.example")
    head = parse_checkpoint(store.notes[4]).head
    log.add_cosignatures(store, [witness.sign_tree(ORIGIN, 4, head.root, now=NOW)], [witness.public])
    keys = [witness.public, absent.public]
    assert verify_ledger(store, Trust(signer.public, witnesses=keys, quorum=1)).witnesses == {"w1.example": NOW}
    report = verify_ledger(store, Trust(signer.public, witnesses=keys, quorum=2))
    assert faults(report) == [(Fault.TOO_FEW_WITNESSES, None, None)]
    assert "got 1: w1.example" in report.findings[0].message


def test_entries_that_nobody_signed_yet_are_noted() -> None:
    store, signer = signed_ledger(3)
    log.append(store, [review(4)])
    report = verify_ledger(store, Trust(signer.public))
    assert report.is_intact
    assert any("Entries 4 to 4 are not under a signed checkpoint" in note for note in report.notes)


def test_nothing_is_no_ledger() -> None:
    assert faults(verify_ledger(InMemoryLedger(), Trust())) == [(Fault.NOT_OPENED, None, None)]


# Signing


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_is_signed_over_a_changed_past(attack: Callable) -> None:
    store, signer = signed_ledger(10)
    attack(store)
    store.recompute_hashes()
    log.append(store, [review(20)])
    with pytest.raises(LedgerTamperedError):
        log.sign_checkpoint(store, signer, now=NOW)


def test_an_entry_changed_before_it_was_signed_is_not_signed() -> None:
    store, signer = signed_ledger(10)
    log.append(store, [review(11), review(12)])
    store.put(11, other_row())
    with pytest.raises(LedgerTamperedError, match="Entry 11"):
        log.sign_checkpoint(store, signer, now=NOW)


def test_nothing_is_signed_on_a_database_that_was_put_back() -> None:
    store, signer = signed_ledger(5)
    backup = deepcopy(store)
    log.append(store, [review(6)])
    outside = log.sign_checkpoint(store, signer, now=NOW)
    log.append(backup, [review(7), review(8)])
    with pytest.raises(LedgerTamperedError):
        log.sign_checkpoint(backup, signer, now=NOW, outside=outside)


def test_a_clock_that_was_set_back_signs_nothing() -> None:
    store, signer = signed_ledger(5)
    log.append(store, [review(6)])
    with pytest.raises(ClockSetBackError, match="set back"):
        log.sign_checkpoint(store, signer, now=NOW - timedelta(minutes=1))


def test_signing_an_unchanged_log_keeps_its_checkpoint() -> None:
    store, signer = signed_ledger(5)
    before = store.notes[6]
    assert log.sign_checkpoint(store, signer, now=NOW + timedelta(hours=1)).text() == before


def test_findings_are_told_apart_up_to_a_limit() -> None:
    store, signer = signed_ledger(400)
    for place in range(1, 401, 2):
        store.put(place, other_row(1000 + place))
    findings: list[Finding] = list(verify_ledger(store, Trust(signer.public)).findings)
    assert len(findings) == 101
    assert "100 further places" in findings[-1].message
