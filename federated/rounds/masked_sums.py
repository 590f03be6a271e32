"""Sums of masked updates, one for each group, that the coordinator carries and cannot open without the sites."""

import logging
from collections.abc import Mapping

from federated.aggregation import combine
from federated.compression import Compressor
from federated.errors import AggregationError, MessageError, QuorumError, SecureAggregationError, UpdateError
from federated.rounds.layout import Vector
from federated.rounds.masking import Group, group_context, group_threshold, masking_groups
from federated.rounds.messages import Reply
from federated.rounds.questions import SHARE, STATEMENT, UPDATE, group, piece
from federated.rounds.single_updates import Combined
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.aggregator import Aggregator
from federated.secure_aggregation.fixed_point import unpack
from governance.signatures import VerifyingKey

Identities = Mapping[str, VerifyingKey]
_log = logging.getLogger(__name__)


class MaskedSums:
    """One sum, or one for each group, that the coordinator carries and can only open with the sites' help."""

    def __init__(self, terms: RoundTerms, size: int, identities: Identities) -> None:
        """Begin with the groups of the terms."""
        self._terms = terms
        self._compressor = Compressor.of(terms, size)
        self._sums: dict[Group, Aggregator] = {
            members: Aggregator(
                group_context(terms, members),
                members,
                group_threshold(terms, members),
                identities,
                size=self._compressor.length,
                bits=self._compressor.fixed.bits,
            )
            for members in masking_groups(terms)
        }

    def of(self, site: str) -> Aggregator:
        """The sum of a site's group."""
        return next(each for members, each in self._sums.items() if site in members)

    def add_shares(self, site: str, reply: Reply) -> None:
        """Take the shares that a site dealt."""
        self.of(site).add_shares(site, group(reply.pieces, SHARE))

    def take(self, site: str, reply: Reply) -> None:
        """Take a masked update, which holds its weight.

        Raises:
            UpdateError: It is of another size.
            SenderError: The site did not sign it for these sites.
            SecureAggregationError: It is another one than before, or came too late.
            MessageError: The answer holds none.
        """
        fixed = self._compressor.fixed
        try:
            vector = unpack(piece(reply.pieces, UPDATE), fixed.bits, self._compressor.length)
        except MessageError as fault:
            raise UpdateError(f"{site}: {fault}") from fault
        self.of(site).add_masked(site, vector, piece(reply.pieces, STATEMENT))

    def survivors(self) -> dict[Group, dict[str, bytes]]:
        """By group that is large enough to be opened, the statements of those whose updates are in its sum.

        Raises:
            QuorumError: All of them together are too few for the round.
        """
        least = self._terms.aggregation.threshold
        found = {
            members: each.survivors
            for members, each in self._sums.items()
            if len(each.survivors) >= group_threshold(self._terms, members)
        }
        if (there := sum(map(len, found.values()))) < least:
            raise QuorumError(f"Expected masked updates of {least} sites in groups that can be opened, got {there}.")
        return found

    def is_opened(self, members: Group) -> bool:
        """Whether enough sites of a group revealed their shares."""
        return len(self._sums[members].revealed) >= group_threshold(self._terms, members)

    def combine(self) -> Combined:
        """Open the sums, and combine those that open by the terms' rule.

        Raises:
            QuorumError: Too few sites revealed their shares.
            SecureAggregationError: A site of the only group lied about its shares.
            AggregationError: The groups that open are too few for the rule.
        """
        if len(self._sums) == 1:
            only = next(iter(self._sums.values()))
            return Combined(self._compressor.mean(only.total()), tuple(sorted(only.survivors)))
        rule, opened = self._terms.aggregation, self._opened()
        sites = tuple(sorted(site for members in opened for site in members))
        if len(sites) < rule.threshold:
            raise QuorumError(f"Expected opened sums over {rule.threshold} sites, got {len(sites)}.")
        means = [mean for mean, _ in opened.values()]
        weights = [weight for _, weight in opened.values()]
        names = ["+".join(members) for members in opened]
        mean = combine(rule.rule, means, weights, sites=names, size=len(means[0]), tolerated=rule.tolerated)
        return Combined(mean, sites)

    def _opened(self) -> dict[Group, tuple[Vector, float]]:
        """By the sites whose updates it holds, each group's mean and weight; a group that does not open is left out."""
        found = {}
        for members, each in self._sums.items():
            try:
                total = each.total()
                found[tuple(sorted(each.survivors))] = (
                    self._compressor.mean(total),
                    self._compressor.fixed.decode(total)[1],
                )
            except (QuorumError, SecureAggregationError, AggregationError) as fault:
                _log.warning("%s: the sum of this group does not open: %s", ", ".join(members), fault)
        return found

    def to_bytes(self) -> dict[str, bytes]:
        """By group's number, everything that restore needs."""
        return {str(index): each.to_bytes() for index, each in enumerate(self._sums.values())}

    def restore(self, stored: Mapping[str, bytes], identities: Identities) -> None:
        """Go on after a restart.

        Raises:
            RoundRecordError: It is not what to_bytes gave.
        """
        for index, members in enumerate(list(self._sums)):
            self._sums[members] = Aggregator.from_bytes(stored.get(str(index), b""), identities)
