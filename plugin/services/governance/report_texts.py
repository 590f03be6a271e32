"""What a governance report says, the same in HTML and PDF."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from governance.canonical import Canonical
from governance.compliance.assessment import Assessment, ControlResult, Share
from governance.compliance.frameworks import FULL_NAMES, Framework
from governance.compliance.judging import SHARE_BAR, Status

TITLE: Final = "Governance report"
LIMITS: Final = (
    "This report is no certification and no legal opinion. It says which queries ran, what they found and which status "
    "follows by a stated rule. Clauses are cited by number; what they ask is in our own words. Whether a law applies, "
    "and from when on, is for the hospital to find out."
)
RESEARCH_USE: Final = "Research use only, not a medical device."
WORDS: Final = {
    Status.PASSED: "passed",
    Status.FAILED: "failed",
    Status.NOT_APPLICABLE: "not applicable",
    Status.INSUFFICIENT: "insufficient evidence",
    Status.UNATTESTED: "attestation missing",
}


def share_text(share: Share) -> str:
    """A share for people."""
    return f"{share.passed} of {share.applicable} ({share.value:.1%})" if share.value is not None else "none applies"


def verdict(assessment: Assessment) -> str:
    """One sentence on the share and the bar."""
    share = assessment.share
    reaches = "reaches" if share.reaches_bar else "does not reach"
    return f"{share_text(share)} of the controls that apply passed; that {reaches} the bar of {float(SHARE_BAR):.0%}."


def open_points(assessment: Assessment) -> Sequence[ControlResult]:
    """What did not pass, the failed ones first."""
    order = [Status.FAILED, Status.INSUFFICIENT, Status.UNATTESTED]
    found = [each for each in assessment.results if each.status in order]
    return sorted(found, key=lambda each: order.index(each.status))


def clauses(result: ControlResult, framework: Framework | None = None) -> str:
    """The clauses that a control answers to."""
    return "; ".join(
        f"{each.clause}: {each.asks}" if framework else f"{each.framework} {each.clause}"
        for each in result.control.references
        if framework in {None, each.framework}
    )


def numbers_text(result: ControlResult) -> str:
    """What the query found."""
    return ", ".join(f"{name} {_plain(value)}" for name, value in result.evidence.numbers.items())


def proof_text(result: ControlResult) -> str:
    """The entry that stands behind it."""
    entry = result.evidence.entry
    return f"entry {entry.index} ({entry.kind}), {entry.leaf_hash[:16]}" if entry else "no entry"


def about(assessment: Assessment) -> list[tuple[str, str]]:
    """The head of the report."""
    period = assessment.period
    so_far = "; it is not over, and this tells how far it has come" if assessment.at < period.end else ""
    return [
        ("Period", f"{period.start:%-d %b %Y} to {_last_day(period.end)}, UTC{so_far}"),
        ("Made", f"{assessment.at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"),
        ("Policy in force", assessment.policy or "cannot be read"),
        ("Log", f"{assessment.origin or 'not opened'}, {assessment.size:,} entries"),
        ("Report's digest", assessment.digest),
    ]


def framework_name(framework: Framework) -> str:
    """Its full name."""
    return FULL_NAMES[framework]


def dates_of(assessment: Assessment, framework: Framework) -> list[str]:
    """From when on a framework applies, as configured."""
    return [
        f"{each.part}: {f'{each.applies_from:%-d %b %Y}' if each.applies_from else 'no date'} ({each.source})"
        for each in assessment.dates
        if each.framework is framework
    ]


def _last_day(end: datetime) -> str:
    return f"{end - timedelta(days=1):%-d %b %Y}"


def _plain(value: Canonical) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
