"""Verify a whole ledger: entries, hashes, signatures, keys, and what is known of it outside."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

from governance.errors import LogKeyError, NoteError, SignatureError
from governance.ledger.checkpoint import SignedCheckpoint, parse_checkpoint
from governance.ledger.cosignature import CosignerKey
from governance.ledger.diagnosis import diagnose
from governance.ledger.findings import Fault, Finding, Report
from governance.ledger.keys import KeyHistory
from governance.ledger.walk import Walk, walk
from governance.ports import LedgerView

_MAX_FINDINGS: Final = 100


@dataclass(frozen=True)
class Trust:
    """What a verifier believes, from elsewhere than the ledger.

    Attributes:
        log_key: The log's first key; without it the log's own word is taken.
        outside: Checkpoints kept outside the database, by where they come from, e.g. "checkpoint file" or a witness.
        witnesses: Whose cosignatures count.
        quorum: How many of them the last signed tree must have.
    """

    log_key: CosignerKey | None = None
    outside: Sequence[tuple[str, str]] = ()
    witnesses: Sequence[CosignerKey] = ()
    quorum: int = 0


class _Known(NamedTuple):
    """A checkpoint and where it comes from; "" is the database."""

    where: str
    signed: SignedCheckpoint


def verify_ledger(view: LedgerView, trust: Trust) -> Report:
    """Check a whole ledger.

    1. Read the checkpoints, of the database and from outside.
    2. Read and hash every entry; take the keys from them.
    3. The first key is the believed one.
    4. The log's key of that size signed each checkpoint.
    5. Each signed root is that of the tree.
    6. Say what happened to entries that are not those of the tree.
    7. Enough witnesses have cosigned.
    """
    findings: list[Finding] = []
    known = [*_parse("", view.checkpoints(), view.origin, findings)]  # 1
    for where, text in trust.outside:
        known += _parse(where, [text], view.origin, findings)
    found = walk(view, {each.signed.head.size for each in known})  # 2
    keys = found.keys
    findings += _check_first_key(keys, trust.log_key)  # 3
    signed = list(_signed(known, keys, view.size, findings))  # 4
    are_tiles_wrong, wrong_roots = _check_roots(signed, found, view.size)  # 5
    findings += wrong_roots
    findings += _damaged_hashes(found) if are_tiles_wrong else diagnose(found.mismatches, view.size)  # 6
    findings += found.findings
    last = max((each for each, _ in signed if not each.where), key=lambda each: each.signed.head.size, default=None)
    witnesses = last.signed.witnesses(trust.witnesses) if last else {}
    findings += _check_witnesses(witnesses, trust)  # 7
    size = last.signed.head.size if last else 0
    at = next((at for each, at in signed if each is last), None)
    return Report(
        origin=view.origin,
        size=view.size,
        checked=found.checked,
        signed_size=size,
        signed_at=at,
        checkpoints=len(known),
        witnesses=witnesses,
        findings=tuple(sorted(findings, key=_order)),
        notes=tuple(_notes(view, trust, size)),
    )


def _order(finding: Finding) -> tuple[bool, int]:
    return finding.first is None, finding.first or 0


def _parse(where: str, texts: Iterable[str], origin: str, findings: list[Finding]) -> list[_Known]:
    known = []
    for text in texts:
        try:
            signed = parse_checkpoint(text)
        except NoteError as fault:
            findings.append(Finding(Fault.CHECKPOINT_MALFORMED, f"A checkpoint {_from(where)} is none: {fault}"))
            continue
        if signed.head.origin != origin:
            message = f"The checkpoint {_from(where)} is of the log {signed.head.origin!r}, not of {origin!r}."
            findings.append(Finding(Fault.CHECKPOINT_MALFORMED, message, signed.head.size))
            continue
        known.append(_Known(where, signed))
    return known


def _from(where: str) -> str:
    return f"from the {where}" if where else "in the database"


def _check_first_key(keys: KeyHistory, believed: CosignerKey | None) -> list[Finding]:
    if not keys.periods:
        return [Finding(Fault.NOT_OPENED, "No first entry names the log's key: this is no opened ledger.")]
    first = keys.periods[0].key
    if believed is None or first == believed:
        return []
    message = (
        f"entry 0: the log was opened with the key {first.key_id.hex()}, expected {believed.key_id.hex()}: another "
        "ledger was put in its place."
    )
    return [Finding(Fault.OTHER_KEY, message, 0, 0, "log-opened")]


def _signed(
    known: Iterable[_Known], keys: KeyHistory, size: int, findings: list[Finding]
) -> Iterable[tuple[_Known, datetime]]:
    """Those whose signature holds, and when they were signed."""
    for each in known:
        try:
            yield each, keys.check_signed(each.signed)
        except LogKeyError as fault:
            findings.append(_unsigned(Fault.REPLACED_KEY, each, str(fault)))
        except SignatureError as fault:
            if each.where and each.signed.head.size > size:
                # The entry that names its key may be one of those that are missing.
                findings.append(_rolled_back(each, size))
            else:
                findings.append(_unsigned(Fault.CHECKPOINT_UNSIGNED, each, str(fault)))


def _unsigned(fault: Fault, each: _Known, why: str) -> Finding:
    return Finding(fault, f"{why} It comes {_from(each.where)}.", each.signed.head.size)


def _check_roots(signed: Iterable[tuple[_Known, datetime]], found: Walk, size: int) -> tuple[bool, list[Finding]]:
    """Compare the signed roots with the tree.

    Returns:
        Whether a signature shows that the entries are right where the stored hashes are not; and what is wrong.
    """
    findings, are_tiles_wrong, good, contradicted = [], False, [0], set[bool]()
    for each, _ in sorted(signed, key=lambda pair: pair[0].signed.head.size):
        head = each.signed.head
        if head.size > size:
            findings.append(_rolled_back(each, size))
            continue
        of_entries = found.entry_roots.get(head.size)
        of_tiles = found.tile_roots.get(head.size, of_entries)
        if of_entries is None and head.size:
            continue  # not read that far; said elsewhere
        if head.root == of_entries or not head.size:
            are_tiles_wrong |= of_tiles != of_entries
            good.append(head.size)
        elif head.root == of_tiles:
            good.append(head.size)
        elif bool(each.where) not in contradicted:  # all later ones are wrong with the first
            contradicted.add(bool(each.where))
            findings.append(_contradicted(each, max(size for size in good if size < head.size)))
    return are_tiles_wrong, findings


def _rolled_back(each: _Known, size: int) -> Finding:
    message = (
        f"The log signed {each.signed.head.size} entries (checkpoint {_from(each.where)}) and has {size}: entries "
        f"{size} to {each.signed.head.size - 1} were cut off, or the database was put back to an earlier state."
    )
    fault = Fault.ROLLED_BACK if each.where else Fault.TRUNCATED
    return Finding(fault, message, size, each.signed.head.size - 1)


def _contradicted(each: _Known, good: int) -> Finding:
    size = each.signed.head.size
    if each.where:
        message = (
            f"The log signed another history of {size} entries (checkpoint {_from(each.where)}) than the one here: it "
            f"was forked, or rewritten. They differ somewhere in the entries {good} to {size - 1}."
        )
        return Finding(Fault.FORKED, message, good, size - 1)
    message = (
        f"Entries {good} to {size - 1} are not those that the checkpoint of size {size} signs: at least one of them "
        "was changed together with its hash."
    )
    return Finding(Fault.REWRITTEN, message, good, size - 1)


def _damaged_hashes(found: Walk) -> list[Finding]:
    """Neighbours together."""
    findings = []
    numbered = enumerate(each.leaf_index for each in found.mismatches)
    for _, run in groupby(numbered, lambda pair: pair[1] - pair[0]):
        places = [place for _, place in run]
        what = f"entry {places[0]}" if len(places) == 1 else f"entries {places[0]} to {places[-1]}"
        message = f"{what}: as signed, but the stored hashes are others."
        findings.append(Finding(Fault.HASHES_DAMAGED, message, places[0], places[-1]))
    return findings[:_MAX_FINDINGS]


def _check_witnesses(cosigned: dict[str, datetime], trust: Trust) -> list[Finding]:
    if len(cosigned) >= trust.quorum:
        return []
    message = (
        f"Expected the last signed tree to be cosigned by {trust.quorum} of {len(trust.witnesses)} witnesses, got "
        f"{len(cosigned)}{': ' if cosigned else ''}{', '.join(sorted(cosigned))}."
    )
    return [Finding(Fault.TOO_FEW_WITNESSES, message)]


def _notes(view: LedgerView, trust: Trust, signed_size: int) -> Iterable[str]:
    if trust.log_key is None:
        yield "The log's first key was taken from the log itself; compare its id with the one that the hospital gives."
    if not trust.outside:
        yield "No checkpoint from outside the database was given: a database put back as a whole would not be noticed."
    if view.size > signed_size:
        yield (
            f"Entries {signed_size} to {view.size - 1} are not under a signed checkpoint yet; their own hashes are all "
            "that protects them. Run `qfl governance checkpoint`."
        )
