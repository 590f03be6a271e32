"""The charts of the governance page: bias score by attribute, rejections and drift. Computes only."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from governance.monitoring.drift import Drift
from governance.monitoring.fairness import Score
from governance.monitoring.rates import Rate
from governance.policy import GovernancePolicy
from plugin.services.governance.overview import Course
from plugin.web.charts import Chart, Tick, draw_lines

_Series: TypeAlias = tuple[str, list[tuple[int, float | None]]]
"""CSS class and points."""
_SMALLEST_P: Final = 6
"""Powers of ten below 1 that are drawn."""
_KEY: Final = (
    ("mean", "as seen"),
    ("site", "lower and upper end, right at every look"),
    ("limit", "the policy's limit"),
)


def draw_course(course: Course, policy: GovernancePolicy) -> tuple[Chart, ...]:
    """All charts."""
    scores = [_score(name, found, course.looks, policy) for name, found in course.scores.items()]
    return (*scores, _rejections(course.rejections, course.looks, policy), _drift(course.drift, policy))


def _score(name: str, found: Sequence[Score], looks: Sequence[int], policy: GovernancePolicy) -> Chart:
    title, limit = f"Bias score by {name}, over reviewed cases", policy.fairness.bias_threshold
    known = [(look, each) for look, each in zip(looks, found, strict=True) if each.score is not None]
    if not known:
        missing = (
            f"Insufficient evidence: it takes {policy.monitoring.minimum_cases} reviewed cases, and two groups of "
            f"{policy.fairness.minimum_group}."
        )
        return Chart(title, missing, missing=missing)
    last = known[-1][1]
    summary = f"Now {last.score:.2f}, at least {last.low:.2f}; the limit is {limit:g}."
    series: list[_Series] = [
        ("site", [(look, each.high) for look, each in known]),
        ("site", [(look, each.low) for look, each in known]),
        ("mean", [(look, each.score) for look, each in known]),
    ]
    return _with_limit(title, summary, series, looks[-1], limit)


def _rejections(found: Sequence[Rate], looks: Sequence[int], policy: GovernancePolicy) -> Chart:
    title, limit = "Rejected results, share of reviewed cases", policy.monitoring.rejection_limit
    if not looks:
        return Chart(title, "No result was reviewed yet.", missing="No result was reviewed yet.")
    last = found[-1]
    summary = f"Now {last.hits} of {last.cases}, at least {last.low:.0%}; the limit is {limit:.0%}."
    series: list[_Series] = [
        ("site", [(look, each.high) for look, each in zip(looks, found, strict=True)]),
        ("site", [(look, each.low) for look, each in zip(looks, found, strict=True)]),
        ("mean", [(look, each.share) for look, each in zip(looks, found, strict=True)]),
    ]
    return _with_limit(title, summary, series, looks[-1], limit)


def _with_limit(title: str, summary: str, series: list[_Series], last: int, limit: float) -> Chart:
    span = (0, max(last, 2))
    return draw_lines(span, title, summary, [*series, ("limit", [(0, limit), (span[1], limit)])], _KEY, top=1.0)


def _drift(drift: Drift, policy: GovernancePolicy) -> Chart:
    """The p of each look, downwards from 1 by powers of ten."""
    title, limit = "Drift of the studies, p of each comparison", policy.monitoring.drift_limit
    if not drift.looks:
        missing = f"Insufficient evidence: it takes {drift.needed} studies since the release; there are {drift.cases}."
        return Chart(title, missing, missing=missing)
    last = drift.looks[-1]
    summary = f"Now {last.p:.2g}, by {last.feature}; below {limit:g} the studies have changed."
    points = [(look.at_case, _height(look.p)) for look in drift.looks]
    span = (0, max(last.at_case, 2))
    lines: list[_Series] = [
        ("mean", [(at, height) for at, height in points]),
        ("limit", [(0, _height(limit)), (span[1], _height(limit))]),
    ]
    key = (("mean", "p, corrected for features and looks"), ("limit", "the policy's limit"))
    chart = draw_lines(span, title, summary, lines, key, top=float(_SMALLEST_P))
    return replace(chart, values=tuple(Tick(tick.at, _power(tick.text)) for tick in chart.values))


def _height(p: float) -> float:
    """6 at the top for 1, 0 at the bottom for a millionth and less."""
    return _SMALLEST_P + max(-_SMALLEST_P, math.log10(max(p, 1e-12)))


def _power(text: str) -> str:
    return f"{10 ** (float(text) - _SMALLEST_P):g}"
