import secrets

import pytest

from federated.errors import SecureAggregationError
from federated.secure_aggregation.messages import Shares
from federated.secure_aggregation.pairwise_masks import PairKey
from federated.secure_aggregation.session import SiteSession
from federated.secure_aggregation.shamir import PRIME, SHARE_BYTES, split_secret
from tests.fakes.masked_sum import CONTEXT, MaskedSum, identity, random_vectors, site_names

SITES = site_names(4)
LIAR = SITES[1]


class DealsOtherSecrets(SiteSession):
    """Its shares are of secrets that it does not use."""

    def _split(self, book):
        points = {name: self._parties.point(name) for name in book.sites}
        dealt = [split_secret(secrets.token_bytes(32), self._parties.threshold, points.values()) for _ in range(2)]
        return {name: Shares(dealt[0][point], dealt[1][point]) for name, point in points.items()}


class DealsNoise(SiteSession):
    """Its shares lie on no polynomial."""

    def _split(self, book):
        def noise():
            return secrets.randbelow(PRIME).to_bytes(SHARE_BYTES)

        return {name: Shares(noise(), noise()) for name in book.sites}


class LocksAnotherKey(SiteSession):
    """Its recovery holds a pair key that is not the one it signed."""

    def _recovery(self, book, seeds, shares):
        honest, self._state.pair_key = self._state.pair_key, PairKey.generate().raw
        try:
            return super()._recovery(book, seeds, shares)
        finally:
            self._state.pair_key = honest


def _sum_with(kind, survivors):
    made = MaskedSum(SITES, 8)
    made.join([site for site in SITES if site != LIAR])
    made.sessions[LIAR] = kind.start(LIAR, CONTEXT, SITES, made.threshold, identity(LIAR), made.roster)
    made.aggregator.add_public(LIAR, made.sessions[LIAR].public())
    made.share()
    made.mask(random_vectors(survivors, 8))
    return made


@pytest.mark.parametrize(
    ("kind", "survivors", "words"),
    [
        pytest.param(DealsOtherSecrets, SITES, "another seed", id="another own mask"),
        pytest.param(DealsOtherSecrets, (SITES[0], *SITES[2:]), "another key", id="another recovery key"),
        pytest.param(DealsNoise, SITES, "do not belong together", id="noise, and survives"),
        pytest.param(DealsNoise, (SITES[0], *SITES[2:]), "do not belong together", id="noise, and drops out"),
        pytest.param(LocksAnotherKey, (SITES[0], *SITES[2:]), "than the one it signed", id="another pair key"),
    ],
)
def test_a_dealer_that_lied_is_named(kind, survivors, words):
    made = _sum_with(kind, survivors)
    with pytest.raises(SecureAggregationError, match=f"{LIAR}: .*{words}"):
        made.unmask()


def test_a_holder_that_reveals_the_other_kind_of_share_is_named():
    """What would give the coordinator both of a site's secrets fails at an honest coordinator, too."""
    made = _sum_with(SiteSession, SITES)
    held = made.sessions[SITES[0]]._state.held
    wrong = b"".join(Shares.parse(held[name]).recovery for name in SITES)
    with pytest.raises(SecureAggregationError, match=f"{SITES[0]}: expected the share that {SITES[0]} dealt"):
        made.aggregator.add_revealed(SITES[0], wrong)
