"""What a site has spent of its patients' privacy, as a value: records keep the entries, this adds them up.

The unit is the record: all that a patient contributes, one case. Hospital-level noise (federated.privacy.site_level)
protects another unit, is reported beside this, and is never added to it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from federated.errors import PrivacyBudgetError, PrivacySettingsError
from federated.privacy.accounting import Release, check_delta, compose, epsilon
from federated.rounds.terms import Privacy, RoundTerms

YEAR: Final = timedelta(days=365)


@dataclass(frozen=True)
class Spending:
    """What one release cost each patient; one row of a site's records.

    Attributes:
        run: Id of the training.
        round: Of the run, from 1; a statistic of a round's evaluation has the same one.
        noise: The mechanism's noise multiplier; 0 where it is not known: then epsilon counts as it stands.
        sample_rate: Chance of each patient to be drawn in a step, by Poisson sampling; 1 where all take part.
        steps: Noised sums that were taken.
        delta: Of this release's own epsilon.
        epsilon: Of this release alone.
        what: "training" or "statistics".

    Raises:
        PrivacySettingsError: A number is out of range.
    """

    run: str
    round: int
    noise: float
    sample_rate: float
    steps: int
    delta: float
    epsilon: float
    what: str = "training"

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_delta(self.delta)
        if not 0 <= self.epsilon < float("inf"):
            raise PrivacySettingsError(f"Expected an epsilon from 0 on that is finite, got {self.epsilon!r}.")
        if self.noise:
            self.release.check()

    @property
    def release(self) -> Release:
        """Its mechanism; meaningful where noise is above 0."""
        return Release(self.noise, self.sample_rate, self.steps)

    @classmethod
    def of(
        cls, run: str, number: int, release: Release, delta: float, *, extra_delta: float = 0.0, what: str = "training"
    ) -> "Spending":
        """Account for a release.

        Args:
            run: Id of the training.
            number: Of the round.
            release: Its mechanism.
            delta: At which its noise is accounted.
            extra_delta: Of what else can go wrong in it, e.g. that a suppressed group shows.
            what: "training" or "statistics".

        Raises:
            PrivacySettingsError: A number is out of range.
        """
        spent = epsilon(release.noise, release.sample_rate, release.steps, delta)
        return cls(run, number, release.noise, release.sample_rate, release.steps, delta + extra_delta, spent, what)


@dataclass(frozen=True)
class Guarantee:
    """(epsilon, delta) of everything together."""

    epsilon: float
    delta: float


def cost_of_training(privacy: Privacy, *, steps: int, batch: int, patients: int) -> Release:
    """The mechanism of a site's training in a round.

    Args:
        privacy: Of the round's terms.
        steps: Optimiser steps.
        batch: Patients a step, expected; each is drawn with the chance batch / patients.
        patients: Of the site, that are trained on.

    Raises:
        PrivacySettingsError: There is no noise or no patient, or delta is not below one over the patients.
    """
    if patients < 1:
        raise PrivacySettingsError("Expected at least one patient, got none.")
    if privacy.delta * patients >= 1:
        raise PrivacySettingsError(
            f"Expected a delta below 1 over {patients} patients, got {privacy.delta:g}; it would give one away."
        )
    release = Release(privacy.record_noise, min(1.0, batch / patients), steps)
    release.check()
    return release


def spending_of_round(terms: RoundTerms, patients: int) -> Spending:
    """What a round's training will cost each patient of a site that trains on so many; needs no torch.

    Raises:
        PrivacySettingsError: The terms' privacy cannot be accounted for.
        PrivacyBudgetError: It is more than the terms promise.
    """
    learning, privacy = terms.learning, terms.privacy
    release = cost_of_training(privacy, steps=learning.steps, batch=learning.batch, patients=patients)
    spending = Spending.of(terms.run, terms.round, release, privacy.delta)
    check_promise(spending.epsilon, privacy.record_epsilon)
    return spending


def check_promise(spent: float, promised: float) -> None:
    """Check what a round costs against what its terms promise.

    Raises:
        PrivacyBudgetError: It is more.
    """
    if spent > promised:
        raise PrivacyBudgetError(
            f"Expected a round that costs each patient at most epsilon {promised:g}, as its terms promise, but at this "
            f"site it costs {spent:.4g}; more noise, fewer steps, a smaller batch or more patients lower it."
        )


def total(spendings: Iterable[Spending], delta: float) -> Guarantee:
    """What all releases together cost each patient.

    Those whose mechanism is known are composed by the accountant at `delta`, which costs less than the sum of their own
    epsilons. The others' epsilons and deltas are added as they stand.

    Raises:
        PrivacySettingsError: Delta is not between 0 and 1.
    """
    found = tuple(spendings)
    known, unknown = [each for each in found if each.noise], [each for each in found if not each.noise]
    # A statistic also has a chance to fail that is not its noise's; its whole delta is an upper bound of that.
    extra = sum(each.delta for each in [*unknown, *(each for each in known if each.what == "statistics")])
    composed = compose([each.release for each in known], delta)
    return Guarantee(composed + sum(each.epsilon for each in unknown), delta + extra)


def total_epsilon(spendings: Iterable[Spending], delta: float) -> float:
    """Epsilon of total."""
    return total(spendings, delta).epsilon


@dataclass(frozen=True)
class Entry:
    """A spending with the moment of its charge; the moment has a time zone."""

    at: datetime
    spending: Spending


@dataclass(frozen=True)
class PrivacyLedger:
    """All that a site was ever charged.

    Attributes:
        entries: In any order; once each.
        delta: At which totals are stated.
    """

    entries: Sequence[Entry] = ()
    delta: float = 1e-5

    def within(self, now: datetime, window: timedelta = YEAR) -> tuple[Spending, ...]:
        """What was charged in the window that ends now, or later, as when a clock was put back."""
        return tuple(entry.spending for entry in self.entries if entry.at > now - window)

    def total(self, now: datetime, window: timedelta = YEAR) -> Guarantee:
        """What the window cost each patient."""
        return total(self.within(now, window), self.delta)

    def after(self, spending: Spending, now: datetime, window: timedelta = YEAR) -> Guarantee:
        """What the window would have cost with one more charge."""
        return total([*self.within(now, window), spending], self.delta)

    def would_exceed(self, spending: Spending, limit: float, now: datetime, window: timedelta = YEAR) -> bool:
        """Whether one more charge would bring the window's epsilon above the limit."""
        return self.after(spending, now, window).epsilon > limit

    def check(self, spending: Spending, limit: float, now: datetime, window: timedelta = YEAR) -> Guarantee:
        """The total with one more charge.

        Raises:
            PrivacyBudgetError: It is above the limit.
        """
        after = self.after(spending, now, window)
        if after.epsilon > limit:
            raise PrivacyBudgetError(
                f"Run {spending.run}, round {spending.round}: expected at most epsilon {limit:g} in {window.days} "
                f"days, got {after.epsilon:.4g} with this release; wait until older ones leave the window, or raise "
                "the limit in the site's policy."
            )
        return after
