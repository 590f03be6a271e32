"""How the chance of a false halt is shared out, so that all rules together keep within the policy's rate.

A rule judges the cases since the release (or resumption), and, when those are more than a window, beside that the
newest whole or begun window of them: a bias that begins late would drown among the good cases before. The windows lie
side by side, each later one may spend less, and their sum is bounded however long the model runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from governance.errors import PolicyError
from governance.policy import GovernancePolicy

_ACCEPTANCE: Final = 0.6
_CONFIDENCE: Final = 0.2
_REJECTIONS: Final = 0.1
_FAILURES: Final = 0.1
_WHOLE: Final = 0.75
_COMPARISONS: Final = {"sex": (1.0,), "age": (0.25,) * 4, "ethnicity": (0.25,) * 4}
"""Of the groups in the order of their first case. Two sexes are compared once; there are four ages and ethnicities."""


@dataclass(frozen=True)
class Budget:
    """Chances of an error, over all looks.

    Attributes:
        acceptance: Of one attribute.
        confidence: Of one attribute.
        drift: Of all drift tests.
    """

    acceptance: float
    confidence: float
    rejections: float
    failures: float
    drift: float


@dataclass(frozen=True)
class Span:
    """Cases that are judged together.

    Attributes:
        start: Of the first, counted from the release.
        share: Of the rule's budget.
    """

    start: int
    share: float


def share_out(policy: GovernancePolicy) -> Budget:
    """Divide the policy's rate of false halts.

    Raises:
        PolicyError: The drift tests alone may use it up.
    """
    monitoring = policy.monitoring
    rest = monitoring.false_halt_rate - monitoring.drift_limit
    if rest <= 0:
        raise PolicyError("monitoring.drift_limit: expected less than false_halt_rate, which covers it.")
    attributes = len(policy.fairness.attributes)
    return Budget(
        acceptance=_ACCEPTANCE * rest / attributes,
        confidence=_CONFIDENCE * rest / attributes,
        rejections=_REJECTIONS * rest,
        failures=_FAILURES * rest,
        drift=monitoring.drift_limit,
    )


def spans(cases: int, window: int) -> Iterator[Span]:
    """What is judged after so many cases: all, and the newest window of several."""
    yield Span(0, _WHOLE)
    number = (cases - 1) // window
    if number > 0:
        yield Span(number * window, (1 - _WHOLE) / (number * (number + 1)))


def comparison_shares(attribute: str, groups: int) -> tuple[float, ...]:
    """What each group's comparison with all others may spend of its attribute's budget; together at most 1.

    Args:
        attribute: Of governance.policy.ATTRIBUTES.
        groups: How many have appeared; those beyond what is known of the attribute are not compared by themselves.
    """
    known = _COMPARISONS.get(attribute)
    if known is not None:
        return known[:groups]
    # Nobody knows how many sites there will be; mostly there are two: 3/8, 3/8, 1/12, 1/24, 1/40, ...
    return tuple(0.375 if place < 2 else 0.5 / (place * (place + 1)) for place in range(groups))


def look_share(look: int) -> float:
    """What a look, counted from 1, may spend of a budget that lasts for ever: 1/2, 1/6, 1/12, ..."""
    return 1 / (look * (look + 1))
