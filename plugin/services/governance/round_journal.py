"""What the ledger says of each row that a hospital keeps of its federated rounds, and the keys of these entries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from governance.canonical import Canonical, digest
from governance.ledger.entries import Entry

STORED: Final = frozenset({"departure", "epsilon-spent", "terms-refused"})
"""What the rounds tell that is an entry already, made with its row."""


@dataclass(frozen=True)
class Place:
    """A round."""

    federation: str
    run: str
    round: int

    @property
    def digest(self) -> str:
        """By which entries of this round are found."""
        return digest([self.federation, self.run, self.round])


@dataclass(frozen=True)
class RoundJournal:
    """Makes the entries of a hospital's rounds.

    Attributes:
        digest: The hospital's keyed digest of something by its kind, as GovernanceDesk.digest.
        site: The hospital's name in the federation.
    """

    digest: Callable[[str, str], str] = field(repr=False)
    site: str

    def checked(
        self,
        place: Place,
        *,
        policy: str,
        cohort: str,
        cases: int,
        left_out: Mapping[str, int],
        at: datetime,
    ) -> Sequence[Entry]:
        """A round's terms were held against the policy: whose consent counts, and the cases that are left.

        The terms are not named: their row holds those that were asked last, whether or not they were checked.

        Args:
            place: The round.
            policy: Digest of the policy file.
            cohort: Keyed digest of the cases.
            cases: How many.
            left_out: Studies by the reason why they were not used.
            at: When.
        """
        what = digest([place.digest, policy, cohort, cases, dict(left_out)])
        round_ = self._place(place)
        counted: dict[str, Canonical] = {"included": cases, "excluded": sum(left_out.values())}
        applied = {**round_, "policy": policy, **counted, "left_out": dict(left_out)}
        return [
            Entry("consent-applied", at, applied, f"consent-{what}"),
            Entry("cohort-drawn", at, {**round_, "cohort": cohort, "cases": cases}, f"cohort-{what}"),
        ]

    def left(self, place: Place, terms: str, *, stage: str, what: str, digest_: str, size: int, at: datetime) -> Entry:
        """Bytes left the hospital."""
        facts = {**self._round(place, terms), "stage": stage, "what": what, "digest": digest_, "size": size}
        return Entry("departure", at, facts, f"departure-{digest([place.digest, stage, what, digest_])}")

    def spent(self, place: Place, terms: str, *, what: str, mechanism: Mapping[str, float], at: datetime) -> Entry:
        """The privacy budget was charged.

        Args:
            place: The round.
            terms: Digest of its terms.
            what: What was released.
            mechanism: Epsilon, delta, noise, sample rate and steps.
            at: When, as the budget counts it.
        """
        numbers: dict[str, Canonical] = {
            name: value if isinstance(value, int) else repr(float(value)) for name, value in mechanism.items()
        }
        key = digest([place.digest, terms, what, numbers, _text_of(at)])
        return Entry("epsilon-spent", at, {**self._round(place, terms), "what": what, **numbers}, f"charge-{key}")

    def refused(self, place: Place, terms: str, *, rules: Sequence[str], at: datetime) -> Entry:
        """The hospital did not take part; the same refusal again is counted in its row only."""
        facts = {**self._round(place, terms), "rules": list(rules)}
        return Entry("terms-refused", at, facts, f"refusal-{digest([place.digest, terms, list(rules)])}")

    def participation(self, federation: str, *, state: str, reason: str, at: datetime) -> Entry:
        """The hospital said whether it takes part."""
        facts: dict[str, Canonical] = {
            "federation": federation,
            "state": state,
            "explanation": self.digest("reason", reason),
        }
        return Entry("participation-changed", at, facts, f"participation-{digest([facts, _text_of(at)])}")

    def _round(self, place: Place, terms: str) -> dict[str, Canonical]:
        return {**self._place(place), "terms": terms}

    def _place(self, place: Place) -> dict[str, Canonical]:
        named: dict[str, Canonical] = {"federation": place.federation, "run": place.run, "round": place.round}
        return {"site": self.site, **named, "place": place.digest}


def _text_of(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
