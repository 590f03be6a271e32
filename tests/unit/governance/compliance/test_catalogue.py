"""The controls: each framework has its own, each can be judged, and a status follows from numbers alone."""

from typing import Any

import pytest

from governance.compliance.assessment import ControlResult, Evidence, share_of
from governance.compliance.catalogue import CONTROLS, control
from governance.compliance.frameworks import Framework
from governance.compliance.judging import RULES, Judgement, Status, judge
from governance.errors import ReportError

WANTED = {
    Framework.AI_ACT: {"9", "10", "11", "12", "13", "14", "15", "17", "26", "72"},
    Framework.GDPR: {"5", "15", "17", "22", "25", "30", "32", "35"},
    Framework.HIPAA: {"164.308", "164.312", "164.514"},
    Framework.NIST: {"GOVERN", "MAP", "MEASURE", "MANAGE"},
    Framework.ISO_42001: {f"A.{number}" for number in range(2, 11) if number != 1},
    Framework.ISO_31700: {"4", "5", "6", "7", "8"},
}


@pytest.mark.parametrize("framework", list(Framework))
def test_each_framework_has_its_clauses(framework: Framework) -> None:
    clauses = [each.clause for one in CONTROLS for each in one.references if each.framework is framework]

    def begins(clause: str, wanted: str) -> bool:
        return clause == wanted or (clause.startswith(wanted) and not clause[len(wanted)].isdigit())

    missing = {each for each in WANTED[framework] if not any(begins(clause, each) for clause in clauses)}
    assert not missing


def test_every_control_has_a_rule_and_no_rule_is_idle() -> None:
    assert {each.evidence for each in CONTROLS} == set(RULES)


def test_controls_are_told_apart_and_say_what_they_check() -> None:
    assert len({each.id for each in CONTROLS}) == len(CONTROLS)
    assert len({(each.evidence, each.topic) for each in CONTROLS}) == len(CONTROLS)
    for each in CONTROLS:
        assert each.check.endswith(".")
        assert each.references
        assert len({(ref.framework, ref.clause) for ref in each.references}) == len(each.references)
        assert all(0 < len(ref.asks) < 90 for ref in each.references)
        assert control(each.id) is each
    assert control("NONE-1") is None


CASES: list[tuple[str, dict[str, Any], Status]] = [
    ("ledger-intact", {"entries": 9, "signed": 9, "findings": 0, "first_finding": "none"}, Status.PASSED),
    ("ledger-intact", {"entries": 9, "signed": 8, "findings": 0, "first_finding": "none"}, Status.FAILED),
    ("ledger-intact", {"entries": 9, "signed": 9, "findings": 1, "first_finding": "edited"}, Status.FAILED),
    ("ledger-intact", {"entries": 0, "signed": 0, "findings": 0, "first_finding": "none"}, Status.INSUFFICIENT),
    ("ledger-complete", {"rows": 4, "missing": 0}, Status.PASSED),
    ("ledger-complete", {"rows": 4, "missing": 1}, Status.FAILED),
    ("ledger-complete", {"rows": 0, "missing": 0}, Status.INSUFFICIENT),
    ("ledger-witnessed", {"known": 0, "cosigned": 0}, Status.INSUFFICIENT),
    ("ledger-witnessed", {"known": 2, "cosigned": 0}, Status.FAILED),
    ("ledger-witnessed", {"known": 2, "cosigned": 1}, Status.PASSED),
    ("log-retention", {"entries": 5, "starts_at_opening": 0, "days_kept": 182, "days_required": 183}, Status.FAILED),
    ("log-retention", {"entries": 5, "starts_at_opening": 0, "days_kept": 183, "days_required": 183}, Status.PASSED),
    ("log-retention", {"entries": 5, "starts_at_opening": 1, "days_kept": 1, "days_required": 183}, Status.PASSED),
    ("human-review", {"decided": 3, "without_reviewer": 1}, Status.FAILED),
    ("human-review", {"decided": 0, "without_reviewer": 0}, Status.INSUFFICIENT),
    ("release-gate", {"released": 1, "without_audit": 0, "without_act": 1, "by_override": 0}, Status.FAILED),
    ("release-gate", {"released": 1, "without_audit": 0, "without_act": 0, "by_override": 1}, Status.PASSED),
    ("release-gate", {"released": 0, "without_audit": 0, "without_act": 0, "by_override": 0}, Status.INSUFFICIENT),
    ("audit-current", {"released": 2, "stale": 1, "days": 182}, Status.FAILED),
    ("audit-control", {"released": 2, "passed": 1, "failed": 1, "insufficient": 0}, Status.FAILED),
    ("audit-control", {"released": 2, "passed": 1, "failed": 0, "insufficient": 1}, Status.INSUFFICIENT),
    ("audit-control", {"released": 2, "passed": 1, "failed": 0, "insufficient": 0}, Status.INSUFFICIENT),
    ("audit-control", {"released": 2, "passed": 2, "failed": 0, "insufficient": 0}, Status.PASSED),
    ("epsilon-budget", {"joined": 0, "charges": 0, "epsilon": "0", "limit": "1.0"}, Status.NOT_APPLICABLE),
    ("epsilon-budget", {"joined": 1, "charges": 3, "epsilon": "1.0", "limit": "1.0"}, Status.PASSED),
    ("epsilon-budget", {"joined": 1, "charges": 3, "epsilon": "1.01", "limit": "1.0"}, Status.FAILED),
    ("minimum-sites", {"joined": 1, "rounds": 2, "below": 1}, Status.FAILED),
    ("minimum-sites", {"joined": 1, "rounds": 0, "below": 0}, Status.NOT_APPLICABLE),
    ("policy-in-force", {"usable": 0, "changes": 0, "approved": 0, "needed": 0}, Status.FAILED),
    ("policy-in-force", {"usable": 1, "changes": 1, "approved": 1, "needed": 2}, Status.FAILED),
    ("policy-in-force", {"usable": 1, "changes": 1, "approved": 2, "needed": 2}, Status.PASSED),
    ("rejections", {"decided": 29, "rejected": 29, "limit": "0.3", "minimum": 30}, Status.INSUFFICIENT),
    ("rejections", {"decided": 30, "rejected": 9, "limit": "0.3", "minimum": 30}, Status.PASSED),
    ("rejections", {"decided": 30, "rejected": 10, "limit": "0.3", "minimum": 30}, Status.FAILED),
    ("halts-explained", {"halts": 0, "unexplained": 0, "unsigned": 0}, Status.NOT_APPLICABLE),
    ("halts-explained", {"halts": 1, "unexplained": 0, "unsigned": 0}, Status.PASSED),
    ("halts-explained", {"halts": 1, "unexplained": 0, "unsigned": 1}, Status.FAILED),
    ("subject-requests", {"answered": 0, "erased": 0, "remaining": 0}, Status.NOT_APPLICABLE),
    ("subject-requests", {"answered": 0, "erased": 1, "remaining": 1}, Status.FAILED),
    ("subject-requests", {"answered": 1, "erased": 1, "remaining": 0}, Status.PASSED),
    ("separate-duties", {"releases": 1, "by_trainer": 1, "unreadable": 0}, Status.FAILED),
    ("separate-duties", {"releases": 1, "by_trainer": 0, "unreadable": 0}, Status.PASSED),
    ("disclosures", {"sent": 2, "recorded": 1}, Status.FAILED),
    ("disclosures", {"sent": 2, "recorded": 2}, Status.PASSED),
    ("attestation", {"attested": 0, "expired": 0}, Status.UNATTESTED),
    ("attestation", {"attested": 1, "expired": 1, "at": "2025-01-01", "document": "a" * 64}, Status.UNATTESTED),
    ("attestation", {"attested": 1, "expired": 0, "at": "2026-01-01", "document": "a" * 64}, Status.PASSED),
]


@pytest.mark.parametrize(
    ("evidence", "numbers", "status"), CASES, ids=[f"{e}-{s}-{i}" for i, (e, _, s) in enumerate(CASES)]
)
def test_a_status_follows_from_the_numbers(evidence: str, numbers: dict[str, Any], status: Status) -> None:
    found = judge(evidence, numbers)
    assert found.status is status
    assert found.reason.endswith(".") or evidence == "ledger-intact"


@pytest.mark.parametrize(
    ("evidence", "numbers"),
    [
        ("ledger-complete", {"rows": 4}),
        ("ledger-complete", {"rows": 4, "missing": -1}),
        ("ledger-complete", {"rows": 4, "missing": True}),
        ("ledger-complete", {"rows": "4", "missing": 0}),
        ("rejections", {"decided": 30, "rejected": 9, "limit": "nan", "minimum": 30}),
        ("none-such", {}),
    ],
)
def test_numbers_that_are_none_are_refused(evidence: str, numbers: dict[str, Any]) -> None:
    with pytest.raises(ReportError):
        judge(evidence, numbers)


def test_the_share_leaves_out_what_does_not_apply_and_counts_the_rest() -> None:
    def results(*statuses: Status) -> list[ControlResult]:
        return [ControlResult(CONTROLS[0], Evidence("q", {}), Judgement(each, "")) for each in statuses]

    share = share_of(results(*[Status.PASSED] * 19, Status.UNATTESTED, Status.NOT_APPLICABLE))
    assert (share.passed, share.applicable, share.reaches_bar) == (19, 20, True)
    share = share_of(results(*[Status.PASSED] * 18, Status.INSUFFICIENT, Status.FAILED))
    assert (share.value, share.reaches_bar) == (0.9, False)
    assert share_of(results(Status.NOT_APPLICABLE)).value is None
    assert not share_of([]).reaches_bar
