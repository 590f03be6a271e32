"""The bundle for an external audit: what a third party needs to check a report without the hospital."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from governance.canonical import canonical_bytes
from governance.errors import PolicyError, ReportError
from governance.evidence import verification as names
from governance.evidence.acts import KeptAct, write_acts
from governance.evidence.archive import write_archive
from governance.evidence.manifest import MANIFEST, PURPOSE, SIGNATURE, Manifest, mark_of, write_signature
from governance.evidence.zipapp import build_verifier
from governance.ledger.bundle import Bundle
from governance.policy import to_canonical
from governance.ports import LedgerView
from plugin.services.governance.journal import act_key, audit_key, report_key
from plugin.services.governance.policy_text import default_policy_text
from plugin.services.governance.reporting_desk import OFFICER_ACTION, ReportingDesk
from plugin.services.governance.reports import issue_report, present_period
from plugin.services.governance.values import GovernanceReport, ModelState

VERIFIER: Final = "verify.pyz"
_LOOKED_UP: Final = ("report-issued", "audit-run", "policy-changed", OFFICER_ACTION)
"""Entries that the verifier looks up by what they say; see governance.evidence.verification."""
_READ_ME: Final = """Evidence bundle of the QFL hospital plugin
==========================================

Verify it offline, with Python 3.11 or newer and the package `cryptography` (50 or newer):

    unzip -p BUNDLE verify.pyz > verify.pyz
    python verify.pyz BUNDLE --first-key first-key.vkey

first-key.vkey is the first public key of the hospital's log. Get it from the hospital directly, not with this bundle.
Whoever forged a bundle could have forged the verifier in it too: take verify.pyz from a copy of the plugin that you
trust, or use `qfl governance verify --bundle BUNDLE --first-key first-key.vkey`.

manifest.json, .sig      every file with its SHA-256, signed with the log's key (ML-DSA-44)
ledger.json              entries of the log, the hashes around them, its signed tree and its keys
report/                  the report as canonical JSON, HTML and PDF
policies/                the policy in force, as canonical JSON and as text
audits/                  the audits of the models
acts/acts.json           what officers signed; their keys stand in the log
cards/                   the cards of the released models
proofs/                  the entries that evidence rests on, each as a C2SP tlog-proof
"""


def build_bundle(desk: ReportingDesk, *, digest: str | None = None, first: int = 0) -> bytes:
    """Make the archive.

    1. Sign the log; issue a report where none is.
    2. Take the log from an entry on.
    3. Take what the report rests on, as far as the signed log tells of it.
    4. Prove the entries that evidence rests on, and those that are looked up and not in the part of the log.
    5. Sign the manifest with the log's key.

    Args:
        desk: Of reporting.
        digest: Of the report; the newest one unless given.
        first: Index of the first entry of the log that is taken whole; for a log that is too long.

    Raises:
        ReportError: There is no such report, the policy was changed since, or it is too much.
        LedgerTamperedError: The log is not what was signed; `qfl governance verify` says what is wrong.
    """
    governance = desk.governance
    report = _report(desk, digest)  # 1
    governance.ledger.sign()
    exported = governance.ledger.export(first)  # 2
    size = exported.checkpoint.head.size
    files: dict[str, bytes] = {
        names.LEDGER: exported.write(),
        names.REPORT: canonical_bytes(dict(report.summary)),
        names.HTML: report.html,
        names.PDF: report.pdf,
        "README.txt": _READ_ME.encode(),
        VERIFIER: build_verifier(),
        **_policy(desk, report),  # 3
        **_cards(desk),
    }
    with governance.ledger.store.snapshot() as view:
        if not _is_within(view, report_key(report.digest), size):
            raise ReportError("The log has no entry of the report, so it proves nothing. Issue a new report.")
        for record in governance.store.audits():
            if _is_within(view, audit_key(record.digest), size):
                files[f"{names.AUDITS}{record.digest}.json"] = record.document
        acts = [each for each in governance.store.acts() if _is_within(view, act_key(each), size)]
        files[names.ACTS] = write_acts([KeptAct(each.document, each.signature) for each in acts])
        wanted = _entries_to_prove(view, exported, report.summary)
    for index in wanted:  # 4
        files[f"{names.PROOFS}{index}{names.PROOF_SUFFIX}"] = governance.ledger.prove(index).text().encode()
    if hashlib.sha256(files[names.REPORT]).hexdigest() != report.digest:
        raise ReportError("The stored report is not what was issued: its row was changed. Issue a new one.")
    manifest = Manifest(
        origin=exported.checkpoint.head.origin,
        size=size,
        report=report.digest,
        at=desk.services.clock().isoformat(timespec="seconds"),
        files={name: mark_of(content) for name, content in files.items()},
    ).to_bytes()
    key, signature = governance.ledger.sign_statement(manifest, purpose=PURPOSE)  # 5
    return write_archive({**files, MANIFEST: manifest, SIGNATURE: write_signature(key, signature)})


def _report(desk: ReportingDesk, digest: str | None) -> GovernanceReport:
    store = desk.governance.store
    found: GovernanceReport | None
    if digest is None:
        found = next(iter(store.reports(limit=1)), None) or issue_report(desk, present_period(desk))
    else:
        found = store.report(digest) or next(
            (each for each in store.reports(limit=1000) if each.digest.startswith(digest)), None
        )
    if found is None:
        raise ReportError("There is no such report. `qfl governance reports` lists those that were issued.")
    return found


def _policy(desk: ReportingDesk, report: GovernanceReport) -> Mapping[str, bytes]:
    try:
        policy = desk.governance.policy()
    except PolicyError as fault:
        raise ReportError(f"The policy in force cannot be put into a bundle: {fault}") from fault
    if report.summary.get("policy") != policy.digest:
        raise ReportError("The policy was changed since this report: issue a new one with `qfl governance report`.")
    text = desk.governance.store.policy_text() or default_policy_text()
    return {names.POLICY: canonical_bytes(to_canonical(policy)), "policies/policy.yaml": text.encode()}


def _cards(desk: ReportingDesk) -> Mapping[str, bytes]:
    found = {}
    for status in desk.governance.store.model_statuses():
        card = desk.card(status.model_version) if status.state is ModelState.RELEASED else None
        if card is not None:
            found[f"cards/{hashlib.sha256(status.model_version.encode()).hexdigest()[:16]}.json"] = card
    return found


def _is_within(view: LedgerView, key: str, size: int) -> bool:
    row = view.row_of_key(key)
    return row is not None and row.leaf_index < size


def _entries_to_prove(view: LedgerView, exported: Bundle, summary: Mapping[str, Any]) -> Iterable[int]:
    size = exported.checkpoint.head.size
    rests_on = {int(row["entry"]["index"]) for row in summary["controls"] if row["entry"] is not None}
    looked_up = {row.leaf_index for row in view.rows_of_kind(*_LOOKED_UP) if row.leaf_index < exported.first}
    return sorted(index for index in rests_on | looked_up if index < size)
