"""Reports on a period: made of every control's evidence, stored with their entry, on request or by the timer."""

import hashlib
import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from governance.compliance.assessment import Assessment, assess
from governance.compliance.catalogue import CONTROLS
from governance.compliance.periods import Period, Schedule, check_clock, half_year_of, last_finished
from governance.errors import LedgerTamperedError, ReportError
from governance.ledger.entries import Entry, parse_leaf
from plugin.services.governance.evidence import EVIDENCE
from plugin.services.governance.journal import report_key
from plugin.services.governance.reporting_desk import ReportingDesk, Scene
from plugin.services.governance.values import GovernanceReport

ON_REQUEST: Final = "on-request"
SCHEDULED: Final = "scheduled"
_REJECTED: Final = "entered-in-error"
_log = logging.getLogger(__name__)
_KINDS: Final[Mapping[str, tuple[str, Callable[[Entry], bool]]]] = {
    "allowed": ("decision-made", lambda entry: entry.facts.get("outcome") == "allow"),
    "refused": ("decision-made", lambda entry: entry.facts.get("outcome") == "refuse"),
    "decided_to_halt": ("decision-made", lambda entry: entry.facts.get("outcome") == "halt"),
    "insufficient": ("decision-made", lambda entry: entry.facts.get("outcome") == "insufficient-evidence"),
    "accepted": ("review-decided", lambda entry: entry.facts.get("decision") != _REJECTED),
    "rejected": ("review-decided", lambda entry: entry.facts.get("decision") == _REJECTED),
    "halts": ("model-halted", lambda _: True),
    "resumptions": ("model-resumed", lambda _: True),
    "analysed": ("study-analysed", lambda _: True),
    "not_analysed": ("study-not-analysed", lambda _: True),
}
"""Series of a report: the kind of entry, and which of them count."""


def assess_period(desk: ReportingDesk, period: Period) -> Assessment:
    """Collect every control's evidence, and judge it. Nothing is stored.

    Raises:
        LedgerStoreError: The database cannot be used.
    """
    scene = Scene(desk, period, desk.services.clock())
    results = [assess(each, EVIDENCE[each.evidence](scene, each.topic)) for each in CONTROLS]
    return Assessment(
        organisation=desk.services.site.organisation,
        period=period,
        at=scene.now,
        policy=scene.policy.digest if scene.policy else "",
        origin=scene.verified.origin,
        size=scene.verified.size,
        results=results,
        dates=tuple(desk.dates()),
        series=_series(scene),
        buckets=[each.name for each in period.buckets()],
    )


def issue_report(desk: ReportingDesk, period: Period) -> GovernanceReport:
    """Make, store and record a report that somebody asks for.

    1. The clock is not behind what was recorded.
    2. Sign the log, so that what evidence rests on can be proved; a log that was tampered with is reported as such.
    3. Collect the evidence and render it.
    4. Store it with its entry, and sign that.

    Args:
        desk: Of reporting.
        period: That it is about.

    Raises:
        ClockSetBackError: (1)
        ReportError: The period has not begun.
    """
    report, _ = _issue(desk, period, ON_REQUEST)
    return report


def issue_scheduled(desk: ReportingDesk, period: Period) -> GovernanceReport | None:
    """The timer's report; None where it has issued one of the period already. See issue_report."""
    report, is_stored = _issue(desk, period, SCHEDULED)
    return report if is_stored else None


def _issue(desk: ReportingDesk, period: Period, kind: str) -> tuple[GovernanceReport, bool]:
    governance, now = desk.governance, desk.services.clock()
    newest = next(iter(governance.store.reports(limit=1)), None)
    check_clock(now, newest.at if newest else None)  # 1
    if now < period.start:
        raise ReportError(f"The period {period.name} begins on {period.start:%Y-%m-%d}: nothing can be reported yet.")
    _sign(desk)  # 2
    report = render(assess_period(desk, period), kind=kind)  # 3
    facts = {
        "report": report.digest,
        "period": report.period,
        "kind": report.kind,
        "html": hashlib.sha256(report.html).hexdigest(),
        "pdf": hashlib.sha256(report.pdf).hexdigest(),
    }
    entry = Entry("report-issued", report.at, facts, report_key(report.digest))
    is_stored = governance.store.save_report(report, entries=[entry], once=kind == SCHEDULED)  # 4
    _sign(desk)
    return report, is_stored


def render(assessment: Assessment, *, kind: str) -> GovernanceReport:
    """The report with its HTML and PDF."""
    # Imported by whoever makes a report: they load matplotlib and fonts.
    from plugin.services.governance.report_html import build_html
    from plugin.services.governance.report_pdf import build_pdf
    from plugin.services.governance.report_plots import draw_plots

    plots = draw_plots(assessment)
    return GovernanceReport(
        digest=assessment.digest,
        kind=kind,
        period=assessment.period.name,
        summary=assessment.document(),
        html=build_html(assessment, plots),
        pdf=build_pdf(assessment, plots),
        at=assessment.at,
    )


def issue_due(desk: ReportingDesk) -> GovernanceReport | None:
    """Issue the report on the newest finished period of the schedule, unless it is issued, or began before the log.

    Raises:
        ClockSetBackError: As issue_report.
    """
    if desk.schedule is Schedule.OFF:
        return None
    period = last_finished(desk.schedule, desk.services.clock())
    if is_issued(desk, period) or not _has_begun(desk, period):
        return None
    report = issue_scheduled(desk, period)
    if report is not None:
        _log.info("the governance report on %s was issued: %s", report.period, report.digest[:12])
    return report


def is_issued(desk: ReportingDesk, period: Period) -> bool:
    """Whether the timer has issued the report on a period."""
    wanted = {"kind": SCHEDULED, "period": period.name}
    with desk.governance.ledger.store.snapshot() as view:
        return any(wanted.items() <= parse_leaf(row.leaf).facts.items() for row in view.rows_of_kind("report-issued"))


def present_period(desk: ReportingDesk) -> Period:
    """The half-year of today."""
    return half_year_of(desk.services.clock())


def _has_begun(desk: ReportingDesk, period: Period) -> bool:
    """Whether the log was opened before the period ended: before that there is nothing to report."""
    with desk.governance.ledger.store.snapshot() as view:
        first = next(view.rows(0, 1), None)
    return first is not None and parse_leaf(first.leaf).at < period.end


def _sign(desk: ReportingDesk) -> None:
    try:
        desk.governance.ledger.sign()
    except LedgerTamperedError as fault:
        _log.error("the log was not signed for a report: %s", fault)


def _series(scene: Scene) -> Mapping[str, Sequence[int]]:
    buckets = scene.period.buckets()
    return {
        name: _counts(buckets, [entry for _, entry in scene.entries_within(kind) if counts(entry)])
        for name, (kind, counts) in _KINDS.items()
    }


def _counts(buckets: Sequence[Period], entries: Sequence[Entry]) -> Sequence[int]:
    starts = [each.start for each in buckets]
    found = Counter(bisect_right(starts, entry.at) - 1 for entry in entries)
    return [found[place] for place in range(len(buckets))]
