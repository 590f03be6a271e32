"""Sites whose update of an earlier round is still awaited, where the terms merge late updates.

They are in no newer round meanwhile, and forgotten when the coordinator dies: then they are asked to join like all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from federated.rounds.inquiry import Fate
from federated.rounds.messages import Request
from federated.rounds.terms import RoundTerms

MOST_ROUNDS: Final = 5
"""An update that is later than that is not waited for."""


@dataclass
class Stragglers:
    """Who is late, with what was asked of them."""

    _late: dict[str, tuple[RoundTerms, Request]] = field(default_factory=dict)

    @property
    def questions(self) -> Mapping[str, Request]:
        """By site."""
        return {site: asked for site, (_, asked) in self._late.items()}

    def terms_of(self, site: str) -> RoundTerms | None:
        """Of the round that a site is late in; None where it is not."""
        found = self._late.get(site)
        return found[0] if found else None

    def add(self, site: str, terms: RoundTerms, asked: Request) -> None:
        """Wait on for a site."""
        self._late[site] = terms, asked

    def settle(self, fates: Mapping[str, Fate], number: int) -> None:
        """Go on waiting for those that are still at work, up to MOST_ROUNDS.

        Args:
            fates: What became of the sites that were asked in a round.
            number: Of that round.
        """
        for site, fate in fates.items():
            if site in self._late and (fate is not Fate.LATE or number - self._late[site][0].round >= MOST_ROUNDS):
                del self._late[site]

    def forget(self) -> None:
        """Wait for nobody."""
        self._late.clear()
