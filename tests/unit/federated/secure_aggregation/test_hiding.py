"""What the coordinator sees says nothing about a single update."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from federated.secure_aggregation.fixed_point import FixedPoint
from federated.secure_aggregation.pairwise_masks import PairKey, add_mask
from tests.fakes.masked_sum import MaskedSum, plain_sum, random_vectors, site_names

SITES = site_names(4)
SIZE = 60_000
CHANCE = 1e-6
"""How rarely an honest mask may fail one of these tests."""


@pytest.fixture(scope="module", params=[32, 12], ids=["32 bits", "12 bits"])
def masked_sum(request):
    """Vectors that are as far from uniform as can be: small, constant, or a ramp."""
    bits = request.param
    made = MaskedSum(SITES, SIZE, bits=bits)
    fixed = FixedPoint(4.0, len(SITES), bits)
    ramp = np.linspace(-4, 4, SIZE - (fixed.length(1) - 1), dtype=np.float32)
    updates = [np.zeros_like(ramp), ramp, np.full_like(ramp, 1e-3), -ramp]
    vectors = {site: fixed.encode(update, 1.0) for site, update in zip(SITES, updates, strict=True)}
    made.join()
    made.share()
    made.mask(vectors)
    return made, vectors


def _check_looks_random(seen, bits, plain):
    cells = np.bincount(seen >> np.uint32(max(bits - 8, 0)), minlength=256), np.bincount(seen & 0xFF, minlength=256)
    for counts in cells:
        assert stats.chisquare(counts).pvalue > CHANCE
    if plain.std() > 0:
        limit = stats.norm.isf(CHANCE / 2) / np.sqrt(seen.size)
        assert abs(np.corrcoef(seen.astype(float), plain.astype(float))[0, 1]) < limit
    assert abs(np.corrcoef(seen[:-1].astype(float), seen[1:].astype(float))[0, 1]) < 5 / np.sqrt(seen.size)


@pytest.mark.parametrize("site", SITES)
def test_masked_vectors_are_uniform_and_not_correlated_with_the_input(masked_sum, site):
    made, vectors = masked_sum
    _check_looks_random(made.masked[site], made.bits, vectors[site])


@pytest.mark.parametrize("site", SITES)
def test_a_survivor_stays_hidden_once_its_own_mask_is_known(masked_sum, site):
    made, vectors = masked_sum
    seen = made.masked[site].copy()
    add_mask(seen, made.sessions[site]._state.own_seed, subtract=True)
    _check_looks_random(seen & np.uint32((1 << made.bits) - 1), made.bits, vectors[site])


def test_a_late_vector_stays_hidden_once_its_pairwise_masks_are_known():
    """The coordinator recovered the pairs of a site that seemed to have dropped out; then its vector comes."""
    made = MaskedSum(SITES, SIZE)
    late, vectors = SITES[3], {site: np.full(SIZE, 7, np.uint32) for site in SITES}
    made.join()
    made.share()
    made.mask({site: vectors[site] for site in SITES[:3]})
    seen = made.sessions[late].mask(vectors[late], made.aggregator.inbox(late))
    assert np.array_equal(made.unmask(), plain_sum({site: vectors[site] for site in SITES[:3]}))

    masking = made.aggregator._masking()
    for survivor, seed in masking._pair_seeds(late, made.aggregator._shares).items():
        add_mask(seen, seed, subtract=late < survivor)
    _check_looks_random(seen, 32, np.zeros(SIZE))
    add_mask(seen, made.sessions[late]._state.own_seed, subtract=True)
    assert np.array_equal(seen, vectors[late])  # only its own mask hid it, and that was never opened


def test_view_is_the_same_for_any_inputs_with_the_same_sum():
    """With masks as one-time pads: whatever else the inputs were, there are pads that show the coordinator the same.

    It knows all own masks of the survivors and every masked vector. Pads of neighbours, site after site, take up the
    difference between the real inputs and any others with the same sum; each pad is as likely as the real one.
    """
    size = 50
    made = MaskedSum(SITES, size)
    vectors, others = random_vectors(SITES, size, seed=1), random_vectors(SITES, size, seed=2)
    others[SITES[-1]] = plain_sum(vectors) - sum(others[site] for site in SITES[:-1])
    made.join()
    made.share()
    made.mask(vectors)
    assert np.array_equal(made.unmask(), plain_sum(others))

    pads = _pads(made, size)
    carried = np.zeros(size, np.uint32)
    for site, neighbour in pairwise(SITES):
        carried = carried + vectors[site] - others[site]
        pads[site, neighbour] = pads[site, neighbour] + carried
    for site in SITES:
        seen = others[site].copy()
        add_mask(seen, made.sessions[site]._state.own_seed)
        for (lower, higher), pad in pads.items():
            if site == lower:
                seen += pad
            elif site == higher:
                seen -= pad
        assert np.array_equal(seen, made.masked[site])


def _pads(made, size):
    """The mask of each pair, as its lower site adds it."""
    pads = {}
    for lower in SITES:
        for higher, seed in made.sessions[lower]._state.seeds.items():
            pads[lower, higher] = np.zeros(size, np.uint32)
            add_mask(pads[lower, higher], seed)
    return pads


def test_coordinator_without_a_quorum_cannot_open_what_it_keeps():
    """It keeps recoveries and sealed shares; none of its own bytes, nor a site's key of another pair, opens them."""
    made = MaskedSum(SITES, 8)
    made.join()
    made.share()
    kept = made.aggregator.to_bytes()
    for session in made.sessions.values():
        state = session._state
        private = [state.pair_key, state.share_key, state.recovery_key, state.own_seed, *state.seeds.values()]
        assert not any(secret in kept for secret in private)
        assert not any(share[:66] in kept or share[66:] in kept for share in state.held.values())
        assert PairKey(state.pair_key).public in kept
