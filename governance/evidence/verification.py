"""Verify a bundle offline: whoever has the log's first key needs nothing else from the hospital."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from governance.compliance.assessment import check_derived, is_of_this_edition, parse_document
from governance.errors import (
    BundleError,
    EntryError,
    GovernanceError,
    NoteError,
    OfficerKeyError,
    ProofError,
    ReportError,
    SignatureError,
)
from governance.evidence.acts import ACTION, check_act, parse_acts
from governance.evidence.archive import read_archive
from governance.evidence.findings import BundleFault, BundleFinding, BundleReport
from governance.evidence.manifest import MANIFEST, SIGNATURE, Manifest, check_signature, mark_of, parse_manifest
from governance.ledger.bundle import Bundle, parse_bundle, verify_bundle
from governance.ledger.checkpoint import Checkpoint
from governance.ledger.cosignature import CosignerKey
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.findings import Report
from governance.ledger.keys import KeyHistory
from governance.ledger.merkle import leaf_hash
from governance.ledger.proof_file import parse_proof
from governance.ledger.verification import Trust

LEDGER: Final = "ledger.json"
REPORT: Final = "report/report.json"
HTML: Final = "report/report.html"
PDF: Final = "report/report.pdf"
POLICY: Final = "policies/policy.json"
ACTS: Final = "acts/acts.json"
AUDITS: Final = "audits/"
PROOFS: Final = "proofs/"
REQUIRED: Final = (LEDGER, REPORT, HTML, PDF, POLICY, ACTS)
PROOF_SUFFIX: Final = ".tlog-proof"
_KINDS: Final = frozenset({"report-issued", "audit-run", "policy-changed", ACTION})
"""Entries that are looked up by what they say."""


@dataclass
class _State:
    """What is known so far.

    Attributes:
        files: By name.
        findings: What is wrong so far.
        head: Of the log, as its checkpoint says; None where there is no readable part of the log.
        entries: Of the kinds that are looked up, by index: proved ones only.
        hashes: Of leaves, by index: proved ones only.
    """

    files: Mapping[str, bytes]
    findings: list[BundleFinding] = field(default_factory=list)
    head: Checkpoint | None = None
    entries: dict[int, Entry] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)

    def tell(self, fault: BundleFault, file: str, message: object) -> None:
        """Add a finding."""
        self.findings.append(BundleFinding(fault, file, str(message)))

    def of_kind(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """The facts of the entries of a kind, the newest first."""
        for index in sorted(self.entries, reverse=True):
            if self.entries[index].kind == kind:
                yield self.entries[index].facts


def verify_evidence(data: bytes, trust: Trust) -> BundleReport:
    """Check a bundle.

    1. The archive holds stored files of allowed names, and nothing beside them.
    2. The part of the log is what the log's key signed; see governance.ledger.bundle.verify_bundle.
    3. The log's key of that size signed the manifest.
    4. Each file is what the manifest names; none is missing, none is there beside.
    5. Each proof is of an entry of that log.
    6. The report was recorded, with its HTML and PDF; each status follows from its numbers.
    7. Each entry that evidence rests on is proved, and is the one that is named.
    8. Each audit was recorded. The policy is the one that the report names, and the last one that was put in force.
    9. An officer's key that the log names signed each act, and the log has the act.
    """
    files, wrong = read_archive(data)  # 1
    state = _State(files)
    for name, why in wrong:
        kind = BundleFault.ARCHIVE if not name else BundleFault.CHANGED if name in files else BundleFault.REFUSED
        state.tell(kind, name, why)
    ledger, keys = _check_ledger(state, trust)  # 2
    manifest = _check_manifest(state, keys)  # 3
    if manifest is not None:
        _check_files(state, manifest)  # 4
    _check_proofs(state)  # 5
    document = _check_report(state, manifest)  # 6
    if document is not None:
        _check_evidence(state, document)  # 7
        _check_policy(state, document)  # 8
    _check_audits(state)
    _check_acts(state)  # 9
    return _report(state, ledger, document)


def _check_ledger(state: _State, trust: Trust) -> tuple[Report | None, KeyHistory]:
    keys = KeyHistory()
    content = state.files.get(LEDGER)
    if content is None:
        return None, keys
    try:
        bundle = parse_bundle(content)
    except BundleError as fault:
        state.tell(BundleFault.LEDGER, LEDGER, fault)
        return None, keys
    found = verify_bundle(bundle, trust)
    for each in found.findings:
        state.tell(BundleFault.LEDGER, LEDGER, f"{each.fault}: {each.message}")
    for named in sorted(bundle.key_entries, key=lambda each: each.leaf_index):
        try:
            keys.take(named.leaf_index, parse_leaf(named.leaf))
        except GovernanceError:
            break  # told by verify_bundle
    state.head = bundle.checkpoint.head
    if found.is_intact:
        _take_entries(state, bundle)
    return found, keys


def _take_entries(state: _State, bundle: Bundle) -> None:
    for index, (leaf, hashed) in enumerate(zip(bundle.leaves, bundle.hashes, strict=True), start=bundle.first):
        state.hashes[index] = hashed
        entry = parse_leaf(leaf)
        if entry.kind in _KINDS:
            state.entries[index] = entry


def _check_manifest(state: _State, keys: KeyHistory) -> Manifest | None:
    content, signature = state.files.get(MANIFEST), state.files.get(SIGNATURE)
    if content is None or signature is None:
        state.tell(BundleFault.MISSING, MANIFEST if content is None else SIGNATURE, "it is not in the bundle.")
        return None
    try:
        manifest = parse_manifest(content)
    except ReportError as fault:
        state.tell(BundleFault.MANIFEST, MANIFEST, fault)
        return None
    key = keys.key_at(manifest.size)
    if key is None:
        state.tell(
            BundleFault.UNSIGNED, SIGNATURE, "the part of the log does not name the key that should have signed."
        )
        return manifest
    try:
        check_signature(content, signature, key)
    except (SignatureError, ReportError) as fault:
        state.tell(BundleFault.UNSIGNED, SIGNATURE, fault)
    head = state.head
    if head is not None and (head.origin, head.size) != (manifest.origin, manifest.size):
        state.tell(BundleFault.MANIFEST, MANIFEST, "it is of another log, or of the log at another size.")
    return manifest


def _check_files(state: _State, manifest: Manifest) -> None:
    for name in REQUIRED:
        if name not in manifest.files:
            state.tell(BundleFault.MISSING, name, "the manifest does not name it.")
    for name, expected in manifest.files.items():
        content = state.files.get(name)
        if content is None:
            state.tell(BundleFault.MISSING, name, "it is not in the bundle.")
        elif (found := mark_of(content)) != expected:
            what = f"expected {expected.size} bytes with SHA-256 {expected.sha256[:12]}, got {found.size} with "
            state.tell(BundleFault.CHANGED, name, f"{what}{found.sha256[:12]}.")
    for name in sorted(set(state.files) - set(manifest.files) - {MANIFEST, SIGNATURE}):
        state.tell(BundleFault.UNKNOWN, name, "the manifest does not name it.")


def _check_proofs(state: _State) -> None:
    for name, content in sorted(state.files.items()):
        if not name.startswith(PROOFS):
            continue
        try:
            proof = parse_proof(content.decode())
            proof.check()
            entry = parse_leaf(proof.leaf)
        except (NoteError, ProofError, EntryError, UnicodeDecodeError) as fault:
            state.tell(BundleFault.PROOF, name, f"it proves nothing: {fault}")
            continue
        if name != f"{PROOFS}{proof.leaf_index}{PROOF_SUFFIX}":
            state.tell(BundleFault.PROOF, name, f"it is the proof of entry {proof.leaf_index}.")
        elif state.head is None or proof.checkpoint.head != state.head:
            state.tell(BundleFault.PROOF, name, "it is of another tree than the part of the log.")
        else:
            state.hashes[proof.leaf_index] = leaf_hash(proof.leaf)
            if entry.kind in _KINDS:
                state.entries[proof.leaf_index] = entry


def _check_report(state: _State, manifest: Manifest | None) -> Mapping[str, Any] | None:
    content = state.files.get(REPORT)
    if content is None:
        return None
    found = hashlib.sha256(content).hexdigest()
    if manifest is not None and manifest.report != found:
        state.tell(BundleFault.REPORT, REPORT, "it is not the report that the manifest names.")
    recorded = next((facts for facts in state.of_kind("report-issued") if facts.get("report") == found), None)
    if recorded is None:
        state.tell(BundleFault.REPORT, REPORT, "no entry of the log says that this report was issued.")
    else:
        for name, fact in ((HTML, "html"), (PDF, "pdf")):
            if name in state.files and recorded.get(fact) != hashlib.sha256(state.files[name]).hexdigest():
                state.tell(BundleFault.REPORT, name, "it is not the one that was recorded when the report was issued.")
    try:
        document = parse_document(content)
    except ReportError as fault:
        state.tell(BundleFault.REPORT, REPORT, fault)
        return None
    if is_of_this_edition(document):
        for message in check_derived(document):
            state.tell(BundleFault.STATUS, REPORT, message)
    return document


def _check_evidence(state: _State, document: Mapping[str, Any]) -> None:
    try:
        rows = [(str(row["id"]), row["entry"]) for row in document["controls"] if row["entry"] is not None]
        named = [(name, int(entry["index"]), str(entry["hash"])) for name, entry in rows]
    except (KeyError, TypeError, ValueError):
        state.tell(BundleFault.REPORT, REPORT, "a control does not say which entry its evidence rests on.")
        return
    for name, index, expected in named:
        found = state.hashes.get(index)
        if found is None:
            state.tell(BundleFault.PROOF, REPORT, f"control {name}: entry {index} is not proved in this bundle.")
        elif found.hex() != expected:
            state.tell(BundleFault.PROOF, REPORT, f"control {name}: entry {index} of the log is another one.")


def _check_policy(state: _State, document: Mapping[str, Any]) -> None:
    content = state.files.get(POLICY)
    if content is None:
        return
    found = hashlib.sha256(content).hexdigest()
    if document.get("policy") != found:
        state.tell(BundleFault.POLICY, POLICY, "it is not the policy that the report was made under.")
    changed = next(state.of_kind("policy-changed"), None)
    if changed is not None and changed.get("policy") != found:
        state.tell(BundleFault.POLICY, POLICY, "the log says that another policy was put in force last.")


def _check_audits(state: _State) -> None:
    recorded = {str(facts.get("report")): facts for facts in state.of_kind("audit-run")}
    for name, content in sorted(state.files.items()):
        if not name.startswith(AUDITS):
            continue
        found = hashlib.sha256(content).hexdigest()
        if name != f"{AUDITS}{found}.json":
            state.tell(BundleFault.AUDIT, name, f"its digest is {found[:12]}.")
        elif found not in recorded:
            state.tell(BundleFault.AUDIT, name, "no entry of the log says that this audit was run.")
        elif recorded[found].get("outcome") != _outcome(content):
            state.tell(BundleFault.AUDIT, name, "it has another outcome than the one that was recorded.")


def _outcome(content: bytes) -> object:
    try:
        return json.loads(content).get("outcome")
    except (ValueError, AttributeError, RecursionError):
        return None


def _check_acts(state: _State) -> None:
    content = state.files.get(ACTS)
    if content is None:
        return
    try:
        acts = parse_acts(content)
    except ReportError as fault:
        state.tell(BundleFault.ACT, ACTS, fault)
        return
    of_officers = {index: entry for index, entry in state.entries.items() if entry.kind == ACTION}
    for number, act in enumerate(acts):
        try:
            check_act(act, of_officers)
        except (ReportError, OfficerKeyError, SignatureError) as fault:
            state.tell(BundleFault.ACT, ACTS, f"act {number}: {fault}.")
    known = {act.sha256 for act in acts}
    for index, entry in sorted(of_officers.items()):
        if "document" in entry.facts and entry.facts["document"] not in known:
            state.tell(BundleFault.ACT, ACTS, f"entry {index}: the act that it tells of is not in the bundle.")


def _report(state: _State, ledger: Report | None, document: Mapping[str, Any] | None) -> BundleReport:
    share, period = _share(document), (document or {}).get("period")
    notes = [note for note in (ledger.notes if ledger else ()) if "key" in note]
    notes.append(
        "What the numbers say was counted at the hospital: the log proves that they were reported then, and that the "
        "entries they rest on are in it; it cannot prove that the hospital's tables held nothing else."
    )
    if document is not None and not is_of_this_edition(document):
        notes.append(
            f"The report was judged by edition {document.get('edition')} of the controls, which this verifier does not "
            "have: its statuses were not judged again. Use the verifier of that edition."
        )
    return BundleReport(
        origin=ledger.origin if ledger else "",
        organisation=str((document or {}).get("organisation", "")),
        period=str(period.get("name", "")) if isinstance(period, Mapping) else "",
        files=len(state.files),
        size=ledger.size if ledger else 0,
        entries=ledger.checked if ledger else 0,
        signed_at=ledger.signed_at if ledger else None,
        share=share,
        findings=tuple(state.findings),
        notes=tuple(notes),
    )


def _share(document: Mapping[str, Any] | None) -> str:
    match document:
        case {"share": {"passed": int(passed), "applicable": int(applicable)}} if applicable > 0:
            return f"{passed} of {applicable} ({passed / applicable:.1%})"
        case _:
            return ""


def parse_keys(first_key: str | None, witnesses: Sequence[str] = ()) -> Trust:
    """What a third party believes: the log's first key, and witnesses, as lines of text.

    Raises:
        NoteError: A line is no key.
    """
    key = CosignerKey.parse(first_key) if first_key else None
    known = [CosignerKey.parse(line) for line in witnesses if line.strip() and not line.startswith("#")]
    return Trust(key, (), known)
