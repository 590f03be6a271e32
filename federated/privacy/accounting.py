"""How much noised sums over patients tell about one of them: (epsilon, delta) by privacy loss distributions.

The unit is a patient; neighbours are a cohort and the same cohort with one patient's contributions set to zero, so the
number of patients is no secret (zero-out adjacency, Kairouz et al. 2021, arXiv:2103.00039). Numbers are upper bounds:
the accountant of dp-accounting rounds each privacy loss up (Koskela et al. 2020, arXiv:1906.03049; Doroshenko et al.
2022, arXiv:2207.04380). Needs no torch, so that a site's agent can account before it trains.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from federated.errors import PrivacySettingsError

MIN_NOISE: Final = 0.3
"""Less noise protects nobody, and its distribution would need much memory."""
MAX_NOISE: Final = 10_000.0
MAX_STEPS: Final = 1_000_000
MAX_COST: Final = 500.0
"""Of the sum over steps of (sample rate / noise) squared: beyond it epsilon is far above 100, and means nothing."""
DISCRETISATION: Final = 1e-3
"""Of privacy losses; ten times finer changes epsilon in the fourth digit."""


@dataclass(frozen=True)
class Release:
    """Sums over patients, each with Gaussian noise.

    Attributes:
        noise: Standard deviation of the noise over the largest contribution of a patient.
        sample_rate: Chance of each patient to take part in a step, independently of the others and of other steps
            (Poisson sampling, nothing else); 1 where all do.
        steps: How many sums.
    """

    noise: float
    sample_rate: float = 1.0
    steps: int = 1

    def check(self) -> None:
        """Check the ranges.

        Raises:
            PrivacySettingsError: A number is out of range.
        """
        for name, value, low, high in (
            ("noise", self.noise, MIN_NOISE, MAX_NOISE),
            ("steps", self.steps, 1, MAX_STEPS),
        ):
            if not low <= value <= high:
                raise PrivacySettingsError(f"Expected {name} from {low:g} to {high:g}, got {value!r}.")
        if not 0 < self.sample_rate <= 1:
            raise PrivacySettingsError(f"Expected a sample rate above 0, at most 1, got {self.sample_rate!r}.")
        if self.steps != int(self.steps):
            raise PrivacySettingsError(f"Expected a whole number of steps, got {self.steps!r}.")


def epsilon(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """What `steps` noised sums over Poisson samples cost each patient.

    Args:
        noise: Noise multiplier: standard deviation over the clipping norm.
        sample_rate: See Release.
        steps: How many.
        delta: Between 0 and 1, well below one over the number of patients.

    Raises:
        PrivacySettingsError: A number is out of range, or the cost is beyond what can be computed.
    """
    return compose([Release(noise, sample_rate, steps)], delta)


def compose(releases: Iterable[Release], delta: float) -> float:
    """What releases of different settings cost each patient together; 0 for none.

    Raises:
        PrivacySettingsError: A number is out of range, or the cost is beyond what can be computed.
    """
    check_delta(delta)
    steps: dict[tuple[float, float], int] = defaultdict(int)
    precision = 0.0
    for release in releases:
        release.check()
        if release.sample_rate == 1:
            precision += release.steps / release.noise**2
        else:
            steps[release.noise, release.sample_rate] += int(release.steps)
    spent = precision + sum(count * (rate / noise) ** 2 for (noise, rate), count in steps.items())
    if spent > MAX_COST:
        raise PrivacySettingsError("Expected privacy worth its name, got an epsilon far above 100: add noise.")
    # Gaussian mechanisms without sampling compose exactly into one (Dong et al. 2019, arXiv:1905.02383).
    together = {(precision**-0.5, 1.0): 1} if precision else {}
    together |= steps
    return _epsilon(tuple(sorted((*key, count) for key, count in together.items())), delta) if together else 0.0


def noise_for(target_epsilon: float, sample_rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, to a thousandth, whose cost is at most a target.

    Raises:
        PrivacySettingsError: A number is out of range, or no noise that is allowed is enough.
    """
    Release(1.0, sample_rate, steps).check()
    if not 0 < target_epsilon < math.inf:
        raise PrivacySettingsError(f"Expected a target epsilon above 0, got {target_epsilon!r}.")
    low, high = MIN_NOISE, 1.0
    while not _is_enough(high, sample_rate, steps, delta, target_epsilon):
        low, high = high, 2 * high
        if high > MAX_NOISE:
            raise PrivacySettingsError(
                f"Expected noise up to {MAX_NOISE:g}, but epsilon {target_epsilon:g} over {steps} steps needs more."
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if _is_enough(middle, sample_rate, steps, delta, target_epsilon):
            high = middle
        else:
            low = middle
    return high


def _is_enough(noise: float, sample_rate: float, steps: int, delta: float, target_epsilon: float) -> bool:
    is_countable = steps * (sample_rate / noise) ** 2 <= MAX_COST
    return is_countable and epsilon(noise, sample_rate, steps, delta) <= target_epsilon


def check_delta(delta: float) -> None:
    """Check a delta.

    Raises:
        PrivacySettingsError: It is not above 0 and below 0.1.
    """
    if not 0 < delta < 0.1:
        raise PrivacySettingsError(f"Expected a delta above 0 and below 0.1, got {delta!r}.")


@lru_cache(maxsize=4096)
def _epsilon(releases: tuple[tuple[float, float, int], ...], delta: float) -> float:
    # Imported late: it takes seconds.
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=DISCRETISATION)
    for noise, sample_rate, steps in releases:
        event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise)
        if sample_rate < 1:
            event = dp_accounting.PoissonSampledDpEvent(sample_rate, event)
        accountant.compose(event, steps)
    spent = float(accountant.get_epsilon(delta))
    if not math.isfinite(spent):
        raise PrivacySettingsError("Expected privacy that can be accounted for, got a cost beyond bounds; add noise.")
    return spent
