"""A share that was counted, what it may be, and whether it is below a limit."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from federated.errors import EvaluationError

Outcome = Literal["passed", "failed", "insufficient-evidence"]
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Proportion:
    """A share with its exact intervals, which take trials for independent.

    Attributes:
        count, of: Successes and trials.
        rate: Their ratio; 0 without trials.
        low, high: Two-sided, at the confidence.
        at_least, at_most: One-sided, each at the confidence: what a limit is compared with.

    References:
        Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404.
    """

    count: int
    of: int
    rate: float
    low: float
    high: float
    at_least: float
    at_most: float
    confidence: float


def proportion(count: int, of: int, *, confidence: float = CONFIDENCE) -> Proportion:
    """Count a share.

    Raises:
        EvaluationError: The count is not from 0 to the number of trials, or the confidence not between 0 and 1.
    """
    if not 0 <= count <= of or not 0 < confidence < 1:
        raise EvaluationError(
            f"Expected a count from 0 to the number of trials and a confidence between 0 and 1, got {count} of {of} at "
            f"{confidence}."
        )
    tail = (1 - confidence) / 2
    return Proportion(
        count=count,
        of=of,
        rate=count / of if of else 0.0,
        low=_lower(count, of, tail),
        high=_upper(count, of, tail),
        at_least=_lower(count, of, 2 * tail),
        at_most=_upper(count, of, 2 * tail),
        confidence=confidence,
    )


def judge_share(found: Proportion, limit: float) -> Outcome:
    """Whether the true share is at most a limit: passed or failed only where the interval says so.

    Without any success it takes about 3 / limit trials to pass: 598 for a limit of 0.5 % at 95 % confidence.
    """
    if found.at_most <= limit:
        return "passed"
    return "failed" if found.at_least > limit else "insufficient-evidence"


def trials_to_pass(limit: float, *, confidence: float = CONFIDENCE) -> int:
    """How many trials without any success it takes to show that a share is at most a limit.

    Raises:
        EvaluationError: The limit is not between 0 and 1.
    """
    if not 0 < limit < 1:
        raise EvaluationError(f"Expected a limit between 0 and 1, got {limit!r}.")
    return math.ceil(math.log(1 - confidence) / math.log(1 - limit))


def _lower(count: int, of: int, tail: float) -> float:
    from scipy.stats import beta

    return float(beta.ppf(tail, count, of - count + 1)) if count else 0.0


def _upper(count: int, of: int, tail: float) -> float:
    from scipy.stats import beta

    return float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
