import numpy as np
import pytest

from federated.errors import QuorumError, RoundRecordError, SecureAggregationError, SenderError, UpdateError
from federated.secure_aggregation.session import SiteSession
from federated.secure_aggregation.shamir import SHARE_BYTES
from tests.fakes.masked_sum import CONTEXT, MaskedSum, identity, random_vectors, roster, site_names

SITES = site_names(4)
SIZE = 8


@pytest.fixture
def masked_sum():
    """Everyone has dealt shares."""
    made = MaskedSum(SITES, SIZE)
    made.join()
    made.share()
    return made


def test_refuses_to_start_for_a_stranger():
    with pytest.raises(SecureAggregationError, match="intruder"):
        SiteSession.start("intruder", CONTEXT, SITES, 3, identity("intruder"), roster(SITES))


def test_refuses_too_few_keys():
    made = MaskedSum(SITES, SIZE)
    made.join(SITES[:2])
    with pytest.raises(QuorumError, match="site-00: expected keys of 3 sites, got 2"):
        made.sessions[SITES[0]].share(made.aggregator.publics)


def test_refuses_keys_without_its_own(masked_sum):
    publics = masked_sum.aggregator.publics
    del publics[SITES[0]]
    with pytest.raises(SecureAggregationError, match="its own keys"):
        masked_sum.sessions[SITES[0]].share(publics)


def test_deals_the_same_shares_when_asked_again(masked_sum):
    session = masked_sum.sessions[SITES[0]]
    first = session.share(masked_sum.aggregator.publics)
    restarted = SiteSession.from_bytes(session.to_bytes(), identity(SITES[0]), masked_sum.roster)
    assert restarted.share(masked_sum.aggregator.publics) == first


def test_refuses_to_deal_for_other_keys(masked_sum):
    fewer = {name: public for name, public in masked_sum.aggregator.publics.items() if name != SITES[3]}
    with pytest.raises(SecureAggregationError, match="already dealt"):
        masked_sum.sessions[SITES[0]].share(fewer)


def test_refuses_to_mask_before_it_dealt():
    made = MaskedSum(SITES, SIZE)
    made.join()
    with pytest.raises(SecureAggregationError, match="deal shares first"):
        made.sessions[SITES[0]].mask(np.zeros(SIZE, np.uint32), {})


def test_refuses_too_few_shares(masked_sum):
    inbox = masked_sum.aggregator.inbox(SITES[0])
    with pytest.raises(QuorumError, match="got 2"):
        masked_sum.sessions[SITES[0]].mask(np.zeros(SIZE, np.uint32), {SITES[1]: inbox[SITES[1]]})


@pytest.mark.parametrize(
    "vector", [pytest.param(np.zeros(8), id="floats"), pytest.param(np.zeros((2, 4), np.uint32), id="a matrix")]
)
def test_refuses_to_mask_what_is_no_vector(masked_sum, vector):
    with pytest.raises(UpdateError, match="uint32 vector"):
        masked_sum.sessions[SITES[0]].mask(vector, masked_sum.aggregator.inbox(SITES[0]))


def test_masks_the_same_vector_again_after_a_restart(masked_sum):
    session, inbox = masked_sum.sessions[SITES[0]], masked_sum.aggregator.inbox(SITES[0])
    vector = np.arange(SIZE, dtype=np.uint32)
    masked = session.mask(vector, inbox)
    restarted = SiteSession.from_bytes(session.to_bytes(), identity(SITES[0]), masked_sum.roster)
    assert np.array_equal(restarted.mask(vector, inbox), masked)
    assert restarted.statement == session.statement
    assert np.array_equal(vector, np.arange(SIZE))


def test_refuses_to_mask_another_vector_with_the_same_masks(masked_sum):
    session, inbox = masked_sum.sessions[SITES[0]], masked_sum.aggregator.inbox(SITES[0])
    session.mask(np.zeros(SIZE, np.uint32), inbox)
    restarted = SiteSession.from_bytes(session.to_bytes(), identity(SITES[0]), masked_sum.roster)
    with pytest.raises(SecureAggregationError, match="masked another vector already"):
        restarted.mask(np.ones(SIZE, np.uint32), inbox)


def test_refuses_to_mask_again_with_fewer_sites(masked_sum):
    session, inbox = masked_sum.sessions[SITES[0]], masked_sum.aggregator.inbox(SITES[0])
    session.mask(np.zeros(SIZE, np.uint32), inbox)
    with pytest.raises(SecureAggregationError, match="masked another vector already"):
        session.mask(np.zeros(SIZE, np.uint32), {name: inbox[name] for name in SITES[1:3]})


def test_has_no_statement_before_it_masked(masked_sum):
    with pytest.raises(SecureAggregationError, match="before a statement"):
        _ = masked_sum.sessions[SITES[0]].statement


class TestReveal:
    @pytest.fixture
    def session(self, masked_sum):
        """Of the first site; all four masked."""
        masked_sum.mask(random_vectors(SITES, SIZE))
        return masked_sum.sessions[SITES[0]]

    def test_refuses_before_it_masked(self, masked_sum):
        masked_sum.mask(random_vectors(SITES[1:], SIZE))
        with pytest.raises(SecureAggregationError, match="mask before it reveals"):
            masked_sum.sessions[SITES[0]].reveal(masked_sum.aggregator.survivors)

    def test_refuses_fewer_survivors_than_the_threshold(self, masked_sum, session):
        statements = masked_sum.aggregator.survivors
        with pytest.raises(QuorumError, match="expected 3 survivors, got 2"):
            session.reveal({name: statements[name] for name in SITES[:2]})

    def test_refuses_survivors_that_dealt_no_shares(self, masked_sum, session):
        with pytest.raises(SecureAggregationError, match="site-99"):
            session.reveal({**masked_sum.aggregator.survivors, "site-99": b""})

    def test_refuses_a_second_set_of_survivors_also_after_a_restart(self, masked_sum, session):
        statements = masked_sum.aggregator.survivors
        first = session.reveal(statements)
        restarted = SiteSession.from_bytes(session.to_bytes(), identity(SITES[0]), masked_sum.roster)
        assert restarted.reveal(statements) == first
        with pytest.raises(SecureAggregationError, match="other survivors"):
            restarted.reveal({name: statements[name] for name in SITES[:3]})

    def test_gives_one_kind_of_share_for_each_site_and_never_its_own_recovery(self, masked_sum, session):
        statements = masked_sum.aggregator.survivors
        given = session.reveal({name: statements[name] for name in SITES[1:]})
        assert len(given) == 3 * SHARE_BYTES

    def test_refuses_a_statement_of_another_site(self, masked_sum, session):
        statements = masked_sum.aggregator.survivors
        with pytest.raises(SenderError, match="site-01"):
            session.reveal({**statements, SITES[1]: statements[SITES[2]]})


def test_coordinator_with_two_accomplices_cannot_show_each_site_another_list():
    """Without statements this unmasks site-00: its peers 01 and 02 look dropped to the sites that it does not know."""
    sites = site_names(7)
    made = MaskedSum(sites, SIZE, threshold=5)
    victim, peers, others, accomplices = sites[0], sites[1:3], sites[3:5], sites[5:]
    made.join()
    made.share()
    known = {*peers, *accomplices}
    statements = {}
    for site, vector in random_vectors(sites, SIZE).items():
        inbox = made.aggregator.inbox(site)
        session = made.sessions[site]
        session.mask(vector, {name: inbox[name] for name in known} if site == victim else inbox)
        statements[site] = session.statement
    for site in (*peers, *others):
        with pytest.raises(SenderError, match="site-00"):
            made.sessions[site].reveal({name: statements[name] for name in (victim, *others, *accomplices)})


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: b"QFL1" + bytes(40)])
def test_refuses_a_damaged_record(masked_sum, change):
    with pytest.raises(RoundRecordError):
        SiteSession.from_bytes(change(masked_sum.sessions[SITES[0]].to_bytes()), identity(SITES[0]), masked_sum.roster)


def test_refuses_a_record_of_another_roster(masked_sum):
    strangers = {site: identity(f"other {site}").verifying_key for site in SITES}
    with pytest.raises(RoundRecordError, match="roster"):
        SiteSession.from_bytes(masked_sum.sessions[SITES[0]].to_bytes(), identity(SITES[0]), strangers)
