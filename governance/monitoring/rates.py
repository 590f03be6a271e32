"""How many results radiologists reject, and how many analyses fail."""

from collections.abc import Sequence
from dataclasses import dataclass

from governance.monitoring.budget import spans
from governance.monitoring.shares import share_bounds


@dataclass(frozen=True)
class Rate:
    """A share.

    Attributes:
        cases: Looked at.
        hits: Those that were rejected, or failed.
        share: 0 to 1; None without cases.
        low, high: Ends of its interval.
    """

    cases: int
    hits: int
    share: float | None
    low: float
    high: float


def rate(hits: Sequence[bool], *, alpha: float, window: int) -> Rate:
    """A share after all cases.

    Args:
        hits: Whether each was rejected, or failed, in its order.
        alpha: Chance that the lower end is ever above the truth.
        window: Cases; see budget.spans.
    """
    return rate_at(hits, [len(hits)], alpha=alpha, window=window)[0]


def rate_at(hits: Sequence[bool], looks: Sequence[int], *, alpha: float, window: int) -> tuple[Rate, ...]:
    """A share after the first so many cases, for each look."""
    return tuple(_rate_once(hits[:look], alpha, window) for look in looks)


def _rate_once(hits: Sequence[bool], alpha: float, window: int) -> Rate:
    cases, number = len(hits), sum(hits)
    if not cases:
        return Rate(0, 0, None, 0.0, 1.0)
    bounds = [
        share_bounds(cases - span.start, sum(hits[span.start :]), alpha * span.share) for span in spans(cases, window)
    ]
    # The newest window may only raise the lower end: a halt goes by it. The other end is that of all cases.
    return Rate(cases, number, number / cases, max(float(each.low) for each in bounds), float(bounds[0].high))
