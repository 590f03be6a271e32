"""The evidence of each control: a query, its numbers, and the newest entry of the log that stands behind them.

What status follows from the numbers is not decided here; see governance.compliance.judging.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from governance.canonical import Canonical
from governance.compliance.assessment import Evidence
from governance.errors import EntryError, LedgerStoreError, OfficerKeyError, ReportError, SignatureError
from governance.evidence.acts import KeptAct, check_act
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.kinds import check_facts
from governance.policy import Act
from plugin.services.governance.evidence_learning import consent_checked, epsilon_budget, minimum_sites
from plugin.services.governance.evidence_models import (
    audit_control,
    audit_current,
    halts_explained,
    minimal_observations,
    model_cards,
    release_gate,
    separate_duties,
)
from plugin.services.governance.officers import verify_act
from plugin.services.governance.reporting_desk import OFFICER_ACTION, Scene
from plugin.services.governance.values import SignedAct

EvidenceFunction: TypeAlias = Callable[[Scene, str], Evidence]
"""Takes the scene and the control's topic."""

_DAYS_REQUIRED: Final = 183
"""Six months, as Article 26(6) of the AI Act has it."""
_MOST_TEXT: Final = 300


def ledger_intact(scene: Scene, _topic: str) -> Evidence:
    """Verify the whole log."""
    found = scene.verified
    first = found.findings[0].message if found.findings else "none"
    numbers: dict[str, Canonical] = {
        "entries": found.size,
        "signed": found.signed_size,
        "findings": len(found.findings),
        "first_finding": first[:_MOST_TEXT],
    }
    last = scene.prove(found.signed_size - 1) if found.signed_size else None
    return Evidence("ledger: every entry, hash, key and signed tree (qfl governance verify)", numbers, last)


def ledger_complete(scene: Scene, _topic: str) -> Evidence:
    """Compare the tables with the log."""
    from plugin.services.governance.coverage import coverage_of

    query = "tables and ledger: each row against its entry, each entry against its row (qfl governance verify)"
    try:
        found = coverage_of(scene.desk.database)
    except LedgerStoreError:
        return Evidence(query, {"rows": 0, "missing": 0})
    rows = sum(found.transactions.values()) + found.erased
    return Evidence(query, {"rows": rows, "missing": found.number_of_gaps, "erased": found.erased})


def ledger_witnessed(scene: Scene, _topic: str) -> Evidence:
    """Who cosigned the last signed tree."""
    known = len(scene.desk.governance.ledger.files.witnesses())
    return Evidence(
        "ledger: cosignatures of the last signed tree", {"known": known, "cosigned": len(scene.verified.witnesses)}
    )


def log_retention(scene: Scene, _topic: str) -> Evidence:
    """How far back the log reaches."""
    with scene.desk.governance.ledger.store.snapshot() as view:
        row = next(view.rows(0, 1), None)
        size = view.size
    try:
        entry = parse_leaf(row.leaf) if row else None
    except EntryError:
        entry = None
    starts = entry is not None and entry.kind == "log-opened" and scene.verified.is_intact
    days = max(0, (scene.now - entry.at).days) if entry else 0
    numbers = {
        "entries": size,
        "starts_at_opening": int(starts),
        "days_kept": days,
        "days_required": _DAYS_REQUIRED,
    }
    return Evidence("ledger: entry 0, and that none is missing after it", numbers, scene.prove(0))


def log_impersonal(scene: Scene, _topic: str) -> Evidence:
    """Look through the entries of the period for personal data."""
    count = suspicious = 0
    last: tuple[int, Entry] | None = None
    with scene.desk.governance.ledger.store.snapshot() as view:
        for row in view.rows():
            try:
                entry = parse_leaf(row.leaf)
            except EntryError:
                continue  # the verification names it
            if not scene.period.holds(entry.at):
                continue
            count, last = count + 1, (row.leaf_index, entry)
            try:
                check_facts(entry.kind, entry.facts)
            except EntryError:
                suspicious += 1
    query = "ledger: entries of the period against the rules for facts (governance/ledger/kinds.py)"
    return Evidence(query, {"entries": count, "suspicious": suspicious}, scene.newest([last] if last else []))


def automatic_logging(scene: Scene, _topic: str) -> Evidence:
    """Analyses of the period, in the tables and in the log."""
    results, others = scene.count("results"), scene.count("without-result")
    found = scene.entries_within("study-analysed", "study-not-analysed")
    total = results.numbers["results"] + others.numbers["without_result"]
    query = f"{results.text}; {others.text}; ledger: study-analysed, study-not-analysed of the period"
    return Evidence(query, {"analyses": total, "recorded": len(found)}, scene.newest(found))


def decisions_explained(scene: Scene, _topic: str) -> Evidence:
    """The rules' decisions of the period."""
    found = scene.entries_within("decision-made")
    wanted = ("rule", "inputs", "outcome", "reason")
    unexplained = sum(any(not entry.facts.get(name) for name in wanted) for _, entry in found)
    numbers = {"decisions": len(found), "unexplained": unexplained}
    return Evidence(
        "ledger: decision-made of the period, with rule, inputs, outcome and reason", numbers, scene.newest(found)
    )


def human_review(scene: Scene, _topic: str) -> Evidence:
    """The radiologists' decisions of the period."""
    reviews, awaiting = scene.count("reviews"), scene.count("awaiting")
    recorded, overridden = scene.entries_within("review-decided"), scene.entries_within("result-overridden")
    numbers = {
        "decided": reviews.numbers["decided"],
        "without_reviewer": reviews.numbers["without_reviewer"],
        "awaiting": awaiting.numbers["awaiting"],
        "recorded": len(recorded),
        "overridden": len(overridden),
    }
    return Evidence(f"{reviews.text}; {awaiting.text}; ledger: review-decided", numbers, scene.newest(recorded))


def roles_appointed(scene: Scene, _topic: str) -> Evidence:
    """Officers by role."""
    found = scene.count("officers")
    return Evidence(found.text, dict(found.numbers), scene.newest(scene.entries(OFFICER_ACTION)))


def policy_in_force(scene: Scene, _topic: str) -> Evidence:
    """The policy, and who approved it."""
    policy, changes = scene.policy, scene.entries("policy-changed")
    approved = 0
    if changes and policy is not None and changes[-1][1].facts.get("policy") == policy.digest:
        officers = changes[-1][1].facts.get("officers")
        approved = len(officers) if isinstance(officers, list | tuple) else 1
    numbers = {
        "usable": int(policy is not None),
        "changes": len(changes),
        "approved": approved,
        "needed": policy.approvals[Act.CHANGE_POLICY] if policy else 0,
    }
    return Evidence("the policy in force; ledger: policy-changed", numbers, scene.newest(changes))


def acts_signed(scene: Scene, _topic: str) -> Evidence:
    """Every officer's act against the keys and entries of the log."""
    found = scene.entries(OFFICER_ACTION)
    entries = dict(found)
    counts = {"acts": 0, "bad": 0, "unrecorded": 0, "without_key": 0}
    for act in scene.desk.governance.store.acts():
        counts["acts"] += 1
        try:
            check_act(KeptAct(act.document, act.signature), entries)
        except SignatureError:
            counts["bad"] += 1
        except OfficerKeyError:
            counts["without_key"] += 1
        except ReportError:
            counts["unrecorded"] += 1
    query = "officer_acts: each signature against the keys that the ledger names; ledger: officer-action"
    return Evidence(query, dict(counts), scene.newest(found))


def monitoring(scene: Scene, _topic: str) -> Evidence:
    """Results of the period, and what is kept of them."""
    results, observed = scene.count("results"), scene.count("observed")
    numbers = {**results.numbers, **observed.numbers}
    return Evidence(f"{results.text}; {observed.text}", numbers, scene.newest(scene.entries_within("study-analysed")))


def rejections(scene: Scene, _topic: str) -> Evidence:
    """How often radiologists rejected."""
    found, rules = scene.count("reviews"), scene.policy
    numbers: dict[str, Canonical] = {
        "decided": found.numbers["decided"],
        "rejected": found.numbers["rejected"],
        "limit": repr(rules.monitoring.rejection_limit) if rules else "0",
        "minimum": rules.monitoring.minimum_cases if rules else 1,
    }
    return Evidence(found.text, numbers, scene.newest(scene.entries_within("review-decided")))


def failures(scene: Scene, _topic: str) -> Evidence:
    """How often analyses failed."""
    found, rules = scene.count("ended"), scene.policy
    numbers: dict[str, Canonical] = {
        **found.numbers,
        "limit": repr(rules.monitoring.failure_limit) if rules else "0",
        "minimum": rules.monitoring.minimum_cases if rules else 1,
    }
    return Evidence(found.text, numbers, scene.newest(scene.entries_within("study-not-analysed")))


def disclosures(scene: Scene, _topic: str) -> Evidence:
    """Deliveries of the period, in the tables and in the log."""
    sent, recorded = scene.count("sent"), scene.entries_within("result-published")
    numbers = {"sent": sent.numbers["sent"], "recorded": len(recorded)}
    return Evidence(f"{sent.text}; ledger: result-published of the period", numbers, scene.newest(recorded))


def subject_requests(scene: Scene, _topic: str) -> Evidence:
    """Patients who asked, and what is left of those who were erased."""
    answered, erased = scene.entries("subject-answered"), scene.entries("subject-erased")
    gone = set(_named(erased))
    remaining = 0
    if gone:
        digest = scene.desk.governance.digest
        remaining = sum(digest("analysis", each) in gone for each in scene.desk.queries.analysis_ids())
    subjects = {str(entry.facts.get("subject")) for _, entry in erased}
    numbers = {"answered": len(answered), "erased": len(subjects), "remaining": remaining}
    query = "ledger: subject-answered, subject-erased; analyses: keyed digests of those that were erased"
    return Evidence(query, numbers, scene.newest(sorted([*answered, *erased], key=lambda each: each[0])))


def transport(scene: Scene, _topic: str) -> Evidence:
    """The configured addresses."""
    site = scene.desk.services.site
    parts = [urlsplit(each) for each in (site.public_url, site.fhir_base_url, site.archive_url)]
    local = [each.hostname in {"127.0.0.1", "::1", "localhost"} for each in parts]
    plain = sum(each.scheme != "https" and not own for each, own in zip(parts, local, strict=True))
    numbers = {"endpoints": len(parts), "plain": plain, "on_this_machine": sum(local)}
    return Evidence("settings: addresses of the pages, the EHR and the archive", numbers)


def accounts(scene: Scene, _topic: str) -> Evidence:
    """Accounts with their roles."""
    found = scene.count("accounts")
    return Evidence(found.text, dict(found.numbers), scene.newest(scene.entries("account-changed")))


def attestation(scene: Scene, topic: str) -> Evidence:
    """The newest attestation of a topic that an officer signed."""
    query = f"officer_acts: {Act.ISSUE_REPORT} on {attestation_subject(topic)}"
    acts = [
        each for each in scene.desk.governance.store.acts(attestation_subject(topic)) if each.act is Act.ISSUE_REPORT
    ]
    for act in reversed(acts):
        facts = _attested(scene, act)
        if facts is None or facts.get("attests") != topic:
            continue
        numbers: dict[str, Canonical] = {
            "attested": 1,
            "expired": int(_is_past(str(facts.get("until", "")), scene.now.date())),
            "at": act.at.date().isoformat(),
            "until": str(facts.get("until", "")),
            "document": str(facts.get("document", "")),
        }
        document = KeptAct(act.document, act.signature).sha256
        entries = [each for each in scene.entries(OFFICER_ACTION) if each[1].facts.get("document") == document]
        return Evidence(query, numbers, scene.newest(entries))
    return Evidence(query, {"attested": 0, "expired": 0})


def attestation_subject(topic: str) -> str:
    """What an officer signs for an attestation."""
    return f"attestation-{topic}"


def _attested(scene: Scene, act: SignedAct) -> Mapping[str, Canonical] | None:
    try:
        return verify_act(scene.desk.governance, act)
    except (OfficerKeyError, SignatureError):
        return None


def _is_past(until: str, today: date) -> bool:
    try:
        return date.fromisoformat(until) < today
    except ValueError:
        return True


def _named(entries: Sequence[tuple[int, Entry]]) -> Iterable[str]:
    for _, entry in entries:
        named = entry.facts.get("analyses")
        if isinstance(named, list | tuple):
            yield from (each for each in named if isinstance(each, str))


EVIDENCE: Final[Mapping[str, EvidenceFunction]] = {
    "ledger-intact": ledger_intact,
    "ledger-complete": ledger_complete,
    "ledger-witnessed": ledger_witnessed,
    "log-retention": log_retention,
    "log-impersonal": log_impersonal,
    "automatic-logging": automatic_logging,
    "decisions-explained": decisions_explained,
    "human-review": human_review,
    "release-gate": release_gate,
    "audit-current": audit_current,
    "audit-control": audit_control,
    "epsilon-budget": epsilon_budget,
    "minimum-sites": minimum_sites,
    "consent-checked": consent_checked,
    "policy-in-force": policy_in_force,
    "roles-appointed": roles_appointed,
    "acts-signed": acts_signed,
    "separate-duties": separate_duties,
    "monitoring": monitoring,
    "minimal-observations": minimal_observations,
    "halts-explained": halts_explained,
    "rejections": rejections,
    "failures": failures,
    "model-cards": model_cards,
    "subject-requests": subject_requests,
    "transport": transport,
    "accounts": accounts,
    "disclosures": disclosures,
    "attestation": attestation,
}
"""By the name that a control gives."""
