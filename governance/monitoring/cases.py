"""What is watched: cases in the order in which they became known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from governance.errors import MonitoringDataError

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""By so much at most, from machine to machine; more is a clock that was set back."""


@dataclass(frozen=True)
class Case:
    """One analysis with the model that is watched.

    Attributes:
        groups: Of the person and the scanner, by attribute; what is unknown is left out.
        confidence: The Dice that the model expects, 0 to 1.
        at: When it was analysed.
        features: Numbers of the input, by name.
        accepted: A radiologist's decision; None until there is one.
        reviewed_at: When it was decided.
    """

    groups: Mapping[str, str]
    confidence: float
    at: datetime
    features: Mapping[str, float] = field(default_factory=dict)
    accepted: bool | None = None
    reviewed_at: datetime | None = None


@dataclass(frozen=True)
class Stream:
    """The cases since a model was released or resumed.

    Attributes:
        analysed: All, in the order in which they were analysed.
        reviewed: Those that were decided, in the order of the decisions.
    """

    analysed: tuple[Case, ...]
    reviewed: tuple[Case, ...]


def build_stream(cases: Sequence[Case], *, since: datetime, now: datetime) -> Stream:
    """Put cases into their order; those of before are left out.

    They may come in any order: counts do not depend on it, and the rest goes by the times.

    Args:
        cases: Of one model.
        since: When the model was last released or resumed.
        now: The present.

    Raises:
        MonitoringDataError: A time has no zone or lies in the future, a case was decided before it was analysed, or a
            confidence is none: the clock was set back, or the records are not what they should be.
    """
    for case in cases:
        _check(case, now)
    analysed = sorted((case for case in cases if case.at >= since), key=lambda case: case.at)
    decided = [(case.reviewed_at, case) for case in cases if case.reviewed_at is not None and case.reviewed_at >= since]
    return Stream(tuple(analysed), tuple(case for _, case in sorted(decided, key=lambda each: each[0])))


def _check(case: Case, now: datetime) -> None:
    times = [each for each in (case.at, case.reviewed_at, now) if each is not None]
    if any(each.tzinfo is None for each in times):
        raise MonitoringDataError("Expected times with their zone, got one without.")
    if max(times) > now + CLOCKS_DIFFER:
        raise MonitoringDataError(
            f"A case is dated {max(times).isoformat(timespec='seconds')}, later than now "
            f"({now.isoformat(timespec='seconds')}): was the clock set back? Set it right; nothing is judged before."
        )
    if case.reviewed_at is not None and case.reviewed_at < case.at - CLOCKS_DIFFER:
        raise MonitoringDataError(
            "A case was decided before it was analysed: was the clock set back? Set it right; nothing is judged until "
            "such cases are corrected."
        )
    if (case.accepted is None) != (case.reviewed_at is None):
        raise MonitoringDataError("Expected a decision with its time, got one without the other.")
    if not 0.0 <= case.confidence <= 1.0:
        raise MonitoringDataError(f"Expected a confidence of 0 to 1, got {case.confidence}.")
