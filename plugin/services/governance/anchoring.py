"""The ledger's roots and the models' releases on the consortium's chain: anchored, compared, approved, followed.

Off unless a chain is configured; the ledger stands alone without it. The chain gets hashes only.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from governance.canonical import Canonical
from governance.errors import AnchorError
from governance.ledger import merkle
from governance.ledger.checkpoint import parse_checkpoint
from governance.ledger.entries import Entry
from governance.ledger.tiles import node_reader
from governance.ports import AnchoredHead, Chain, LedgerView
from plugin.services.ledger import Ledger


@dataclass(frozen=True)
class Anchoring:
    """What came of anchoring.

    Attributes:
        head: The chain's newest one.
        transaction: That anchored it, hexadecimal; empty where the chain had it already.
    """

    head: AnchoredHead
    transaction: str


@dataclass(frozen=True)
class AnchorFinding:
    """An anchored head that is not of this ledger.

    Attributes:
        place: In the chain's list, from 0.
        size: As anchored.
        what: What is wrong.
    """

    place: int
    size: int
    what: str


def ledger_id(origin: str) -> bytes:
    """The 32 bytes by which the chain knows a log."""
    return hashlib.sha256(b"qfl/ledger\0" + origin.encode()).digest()


def model_id(model_version: str) -> bytes:
    """The 32 bytes by which the chain knows a model: its version, which is a SHA-256.

    Raises:
        AnchorError: It is none.
    """
    return _bytes32("model version", model_version)


def audit_id(digest: str) -> bytes:
    """The 32 bytes of an audit's digest.

    Raises:
        AnchorError: It is none.
    """
    return _bytes32("audit digest", digest)


def anchor_ledger(ledger: Ledger, chain: Chain) -> Anchoring:
    """Sign the ledger as it is, anchor its root, and record that.

    It may run twice, and die between sending and recording: what the chain has already is not sent again.

    Raises:
        AnchorError: The chain does not answer, refuses, or has a head that is not of this ledger: nothing is sent.
        LedgerTamperedError: The ledger is not what was signed before; nothing is sent.
    """
    signed = ledger.sign().head
    head, known = AnchoredHead(signed.size, signed.root), chain.heads(ledger_id(signed.origin))
    with ledger.store.snapshot() as view:
        findings = _compare(view, known)
    if findings:
        first = findings[0]
        raise AnchorError(
            f"Head {first.place} on the chain, of {first.size} entries, {first.what}. Nothing was anchored; run "
            "`qfl governance verify` and `qfl governance chain verify`."
        )
    newest = known[-1] if known else None
    if newest is not None and (newest.size >= head.size or _only_anchors_since(ledger, newest.size)):
        return Anchoring(newest, "")
    transaction = chain.anchor(ledger_id(signed.origin), head)
    facts: dict[str, Canonical] = {
        "size": head.size,
        "root": head.root.hex(),
        "chain": chain.name,
        "transaction": transaction,
    }
    ledger.record([Entry("checkpoint-anchored", ledger.clock(), facts, f"anchor-{head.size}-{head.root.hex()[:16]}")])
    return Anchoring(head, transaction)


def verify_anchors(ledger: Ledger, chain: Chain) -> tuple[int, Sequence[AnchorFinding]]:
    """Compare everything that was anchored with the ledger as it is.

    Returns:
        How many heads the chain has, and those that are not of this ledger.
    """
    with ledger.store.snapshot() as view:
        known = chain.heads(ledger_id(view.origin))
        return len(known), _compare(view, known)


def _compare(view: LedgerView, known: Sequence[AnchoredHead]) -> list[AnchorFinding]:
    read, findings = node_reader(view.tile), []
    for place, head in enumerate(known):
        if head.size > view.size:
            findings.append(AnchorFinding(place, head.size, f"is larger than this ledger, which has {view.size}"))
        elif merkle.root_at(head.size, read) != head.root:
            findings.append(AnchorFinding(place, head.size, "has another root than this ledger at that size"))
    return findings


def _only_anchors_since(ledger: Ledger, size: int) -> bool:
    """Whether nothing but anchoring itself was recorded since: that alone is not worth a transaction."""
    with ledger.store.snapshot() as view:
        signed = view.last_checkpoint()
        stop = parse_checkpoint(signed).head.size if signed else view.size
        return all(row.kind == "checkpoint-anchored" for row in view.rows(size, stop))


def _bytes32(what: str, text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError as fault:
        raise AnchorError(f"Expected a {what} of 64 hexadecimal digits, got another text.") from fault
    if len(found) != hashlib.sha256().digest_size:
        raise AnchorError(f"Expected a {what} of 64 hexadecimal digits, got {len(text)} characters.")
    return found
