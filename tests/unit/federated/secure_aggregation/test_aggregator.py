import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import QuorumError, RoundRecordError, SecureAggregationError, SenderError, UpdateError
from federated.secure_aggregation.aggregator import Aggregator
from federated.secure_aggregation.fixed_point import FixedPoint
from federated.secure_aggregation.parties import default_threshold
from tests.fakes.masked_sum import CONTEXT, MaskedSum, plain_sum, random_vectors, roster, site_names

SITES = site_names(4)
SIZE = 8


def _run(made, vectors, joined=None, dealt=None, revealing=None):
    made.join(joined)
    made.share(dealt)
    made.mask(vectors)
    return made.unmask(revealing)


@st.composite
def _dropouts(draw):
    """Sites, and those of them that are left after each step: never fewer than the threshold."""
    sites = site_names(draw(st.integers(2, 12)))
    threshold = draw(st.integers(len(sites) // 2 + 1, len(sites)))
    left = [sites]
    for _ in range(4):
        number = draw(st.integers(threshold, len(left[-1])))
        left.append(tuple(sorted(draw(st.permutations(left[-1]))[:number])))
    return sites, threshold, left[1:]


@settings(deadline=None, max_examples=12)
@given(_dropouts(), st.sampled_from([32, 20, 5]), st.booleans())
def test_total_is_the_plain_sum_bit_for_bit_for_any_dropouts_above_the_threshold(dropouts, bits, restarting):
    sites, threshold, (joined, dealt, masked, revealing) = dropouts
    made = MaskedSum(sites, SIZE, threshold, bits, restarting=restarting)
    vectors = random_vectors(masked, SIZE, bits=bits)
    assert np.array_equal(_run(made, vectors, joined, dealt, revealing), plain_sum(vectors, bits))


@pytest.mark.parametrize("sites", [2, 3, 12])
def test_total_of_encoded_updates_is_that_of_the_plain_fixed_point_sum(sites):
    names, fixed = site_names(sites), FixedPoint(4.0, sites)
    random = np.random.default_rng(1)
    updates = {name: random.normal(size=100).astype(np.float32) for name in names}
    vectors = {name: fixed.encode(update, 0.5) for name, update in updates.items()}
    total = _run(MaskedSum(names, fixed.length(100)), vectors)
    assert np.array_equal(total, plain_sum(vectors))
    assert fixed.mean(total) == pytest.approx(np.mean(list(updates.values()), axis=0), abs=1e-6)


@settings(deadline=None, max_examples=8)
@given(st.integers(2, 7), st.integers(0, 3))
def test_below_the_threshold_fails_at_every_step(number, step):
    sites = site_names(number)
    too_few = sites[: default_threshold(number) - 1]
    made = MaskedSum(sites, SIZE)
    left = [sites] * step + [too_few] * (4 - step)
    with pytest.raises(QuorumError):
        _run(made, random_vectors(left[2], SIZE), left[0], left[1], left[3])


def test_total_refuses_before_enough_sites_revealed():
    made = MaskedSum(SITES, SIZE)
    with pytest.raises(QuorumError, match=r"Expected at least 3 of 4 sites that revealed their shares, got 2"):
        _run(made, random_vectors(SITES, SIZE), revealing=SITES[:2])


def test_a_dropped_site_that_comes_back_can_help_but_not_with_its_own_recovery():
    """Three of four are needed; the fourth masked, but too late, and one survivor is gone when shares are asked for."""
    made = MaskedSum(SITES, SIZE)
    vectors = random_vectors(SITES, SIZE)
    made.join()
    made.share()
    made.mask({site: vectors[site] for site in SITES[:3]})
    made.sessions[SITES[3]].mask(vectors[SITES[3]], made.aggregator.inbox(SITES[3]))
    with pytest.raises(QuorumError, match="site-03: expected 3 shares of its secret, got 2"):
        made.unmask((SITES[0], SITES[1], SITES[3]))
    made.aggregator.add_revealed(SITES[2], made.sessions[SITES[2]].reveal(made.aggregator.survivors))
    assert np.array_equal(made.aggregator.total(), plain_sum({site: vectors[site] for site in SITES[:3]}))


def test_vectors_that_come_after_shares_were_revealed_are_refused():
    made = MaskedSum(SITES, SIZE)
    vectors = random_vectors(SITES, SIZE)
    total = _run(made, {site: vectors[site] for site in SITES[:3]})
    late = made.sessions[SITES[3]].mask(vectors[SITES[3]], made.aggregator.inbox(SITES[3]))
    with pytest.raises(SecureAggregationError, match="site-03: its vector came after"):
        made.aggregator.add_masked(SITES[3], late, made.sessions[SITES[3]].statement)
    assert np.array_equal(made.aggregator.total(), total)


class TestSteps:
    @pytest.fixture
    def made(self):
        """Keys are there."""
        made = MaskedSum(SITES, SIZE)
        made.join()
        return made

    def test_repeated_messages_change_nothing(self, made):
        for site in SITES:
            made.aggregator.add_public(site, made.sessions[site].public())
        made.share()
        made.share()
        vectors = random_vectors(SITES, SIZE)
        made.mask(vectors)
        made.mask(vectors)
        made.unmask()
        assert np.array_equal(made.unmask(), plain_sum(vectors))

    def test_refuses_other_keys_than_before(self, made):
        fresh = MaskedSum(SITES, SIZE)
        fresh.join()
        with pytest.raises(SecureAggregationError, match="site-00: expected the keys it sent before"):
            made.aggregator.add_public(SITES[0], fresh.sessions[SITES[0]].public())

    def test_refuses_keys_after_shares_were_dealt(self):
        made = MaskedSum(SITES, SIZE)
        made.join(SITES[:3])
        made.share()
        with pytest.raises(SecureAggregationError, match="site-03: its keys came after"):
            made.join(SITES[3:])

    def test_refuses_other_shares_than_before(self, made):
        made.share()
        messages = made.sessions[SITES[0]].share(made.aggregator.publics)
        with pytest.raises(SecureAggregationError, match="site-00: expected the shares it sent before"):
            made.aggregator.add_shares(SITES[0], {**messages, SITES[1]: b"others"})

    def test_refuses_shares_after_they_were_handed_out(self, made):
        made.share(SITES[:3])
        made.aggregator.inbox(SITES[0])
        with pytest.raises(SecureAggregationError, match="site-03: its shares came after"):
            made.share(SITES[3:])

    def test_refuses_shares_that_leave_a_site_out(self, made):
        messages = made.sessions[SITES[0]].share(made.aggregator.publics)
        del messages[SITES[2]]
        with pytest.raises(SecureAggregationError, match="site-00: expected shares for the 4 sites"):
            made.aggregator.add_shares(SITES[0], messages)

    def test_has_no_inbox_for_a_site_that_dealt_none(self, made):
        made.share(SITES[:3])
        with pytest.raises(SecureAggregationError, match="site-03"):
            made.aggregator.inbox(SITES[3])

    def test_refuses_keys_of_a_stranger(self, made):
        with pytest.raises(SecureAggregationError, match="site-99"):
            made.aggregator.add_public("site-99", b"")

    def test_refuses_a_vector_of_a_site_that_dealt_no_shares(self, made):
        made.share(SITES[:3])
        made.aggregator.inbox(SITES[0])
        with pytest.raises(SecureAggregationError, match="site-03"):
            made.aggregator.add_masked(SITES[3], np.zeros(SIZE, np.uint32), b"")

    def test_refuses_shares_revealed_by_a_site_that_holds_none(self, made):
        made.share(SITES[:3])
        made.mask(random_vectors(SITES[:3], SIZE))
        with pytest.raises(SecureAggregationError, match="site-03"):
            made.aggregator.add_revealed(SITES[3], b"")

    @pytest.mark.parametrize(
        "vector",
        [
            pytest.param(np.zeros(SIZE + 1, np.uint32), id="longer"),
            pytest.param(np.zeros(SIZE, np.int64), id="another type"),
            pytest.param(np.zeros((SIZE, 1), np.uint32), id="another shape"),
        ],
    )
    def test_refuses_vectors_that_do_not_fit(self, made, vector):
        made.share()
        made.mask(random_vectors(SITES[:3], SIZE))
        session = made.sessions[SITES[3]]
        session.mask(np.zeros(SIZE, np.uint32), made.aggregator.inbox(SITES[3]))
        with pytest.raises(UpdateError, match="site-03"):
            made.aggregator.add_masked(SITES[3], vector, session.statement)

    def test_refuses_another_vector_than_the_one_that_was_signed(self, made):
        made.share()
        session = made.sessions[SITES[0]]
        masked = session.mask(np.zeros(SIZE, np.uint32), made.aggregator.inbox(SITES[0]))
        masked[3] += np.uint32(1)
        with pytest.raises(SenderError, match="site-00: expected the masked vector that it signed"):
            made.aggregator.add_masked(SITES[0], masked, session.statement)


def test_messages_of_another_round_are_refused_by_name():
    old, new = MaskedSum(SITES, SIZE), MaskedSum(SITES, SIZE, context=b"round 2")
    old.join(SITES[1:])
    new.join(SITES[1:])
    old.share()
    old.mask(random_vectors(SITES[1:], SIZE))
    with pytest.raises(SenderError, match="site-02"):
        new.sessions[SITES[1]].share({**new.aggregator.publics, SITES[2]: old.aggregator.publics[SITES[2]]})
    with pytest.raises(SenderError, match="site-01"):
        new.aggregator.add_shares(SITES[1], old.sessions[SITES[1]].share(old.aggregator.publics))
    new.share()
    inbox = new.aggregator.inbox(SITES[1])
    with pytest.raises(SenderError, match="site-02"):
        new.sessions[SITES[1]].mask(
            np.zeros(SIZE, np.uint32), {**inbox, SITES[2]: old.aggregator.inbox(SITES[1])[SITES[2]]}
        )
    with pytest.raises(SenderError, match="site-01"):
        new.aggregator.add_masked(SITES[1], old.masked[SITES[1]], old.sessions[SITES[1]].statement)


def test_keys_that_the_coordinator_swapped_are_refused_by_name():
    """A coordinator with its own key pair, but without the site's identity."""
    made = MaskedSum(SITES, SIZE)
    made.join()
    swapped = MaskedSum(SITES, SIZE)
    swapped.join()
    own = swapped.sessions[SITES[2]].public()
    publics = {**made.aggregator.publics, SITES[1]: own}
    with pytest.raises(SenderError, match="site-01"):
        made.sessions[SITES[0]].share(publics)


KINDS = st.sampled_from(["public", "parcel", "recovery", "statement", "revealed"])


def _hand_over(one_sum, kind, site, other, change):
    """Have a changed message of a site read by whoever reads such messages first."""
    made, sessions, publics, dealt = one_sum
    fresh = Aggregator(CONTEXT, SITES, made.threshold, made.roster, size=SIZE)
    for name in SITES if kind in {"parcel", "recovery"} else ():
        fresh.add_public(name, publics[name])
    match kind:
        case "public":
            fresh.add_public(site, change(publics[site]))
        case "parcel" | "recovery":
            where = other if kind == "parcel" else site
            fresh.add_shares(site, {**dealt[site], where: change(dealt[site][where])})
        case "statement":
            sessions[other].reveal({**made.aggregator.survivors, site: change(sessions[site].statement)})
        case "revealed":
            again = Aggregator.from_bytes(made.aggregator.to_bytes(), made.roster)
            again.add_revealed(site, change(sessions[site].reveal(made.aggregator.survivors)))


@settings(deadline=None, max_examples=40)
@given(KINDS, st.permutations(SITES), st.integers(0), st.integers(0, 7))
def test_any_changed_byte_is_refused_by_name(one_sum, kind, names, place, bit):
    def changed(message):
        where = place % len(message)
        return message[:where] + bytes([message[where] ^ (1 << bit)]) + message[where + 1 :]

    with pytest.raises((SenderError, SecureAggregationError), match=names[0]):
        _hand_over(one_sum, kind, names[0], names[1], changed)


@settings(deadline=None, max_examples=20)
@given(KINDS, st.integers(0, 9000))
def test_messages_of_another_length_are_refused_by_name(one_sum, kind, length):
    with pytest.raises((SenderError, SecureAggregationError), match=SITES[0]):
        _hand_over(one_sum, kind, SITES[0], SITES[1], lambda _: bytes(length))


@pytest.fixture(scope="module")
def one_sum():
    """Up to the masked vectors."""
    made = MaskedSum(SITES, SIZE)
    made.join()
    made.share()
    made.mask(random_vectors(SITES, SIZE))
    publics = made.aggregator.publics
    return made, made.sessions, publics, {site: made.sessions[site].share(publics) for site in SITES}


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: b"QFL1" + bytes(40)])
def test_refuses_a_damaged_record(one_sum, change):
    with pytest.raises(RoundRecordError):
        Aggregator.from_bytes(change(one_sum[0].aggregator.to_bytes()), one_sum[0].roster)


def test_refuses_a_threshold_that_protects_nobody():
    with pytest.raises(SecureAggregationError, match="above half"):
        Aggregator(CONTEXT, SITES, 2, roster(SITES), size=SIZE)


def test_tells_who_dealt_and_who_revealed():
    made = MaskedSum(SITES, SIZE)
    _run(made, random_vectors(SITES[:3], SIZE))
    assert (made.aggregator.dealers, made.aggregator.revealed) == (SITES, SITES[:3])
