import tracemalloc

import numpy as np
import pytest

from federated.aggregation import check_update, combine, draw_groups, updates_needed
from federated.errors import AggregationError, UpdateError

SITES = tuple(f"site-{number:02d}" for number in range(1, 11))
ROBUST = ("median", "trimmed-mean", "multi-krum", "norm-bounded")
SIZE = 300
LIARS = 2


def honest(count=8, spread=0.2, seed=0):
    """Updates around (1, 1, ...), so that their norm is about sqrt(SIZE)."""
    return (1 + np.random.default_rng(seed).normal(0, spread, (count, SIZE))).astype(np.float32)


def combined(rule, updates, tolerated=LIARS, weights=None):
    names = [f"site-{number:02d}" for number in range(1, len(updates) + 1)]
    return combine(
        rule, list(updates), weights or [1.0] * len(updates), sites=names, size=len(updates[0]), tolerated=tolerated
    )


def away(found, updates):
    """Distance to the mean of the honest, as a share of that mean's norm."""
    mean = updates.mean(axis=0)
    return np.linalg.norm(found - mean) / np.linalg.norm(mean)


def flipped_labels(updates):
    """What sites send that train on -y: a linear model's update is linear in y, so it turns round; and boosted."""
    return np.stack([-5 * update for update in updates[:LIARS]])


def slightly_off(updates):
    """Two that agree on hiding within the spread of the others: Baruch et al. (2019), arXiv:1902.06156."""
    return np.stack([updates.mean(axis=0) - 1.5 * updates.std(axis=0)] * LIARS)


ATTACKS = {
    "sign-flip": lambda updates: -10 * updates[:LIARS],
    "label-flip": flipped_labels,
    "poisoning": lambda updates: updates[:LIARS] + 100,
    "noise": lambda updates: np.random.default_rng(9).normal(0, 50, (LIARS, SIZE)),
    "collusion": lambda updates: np.stack([-20 * updates.mean(axis=0)] * LIARS),
    "one coordinate": lambda updates: updates[:LIARS] + 1e4 * (np.arange(SIZE) == 7),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("rule", ROBUST)
def test_a_robust_rule_keeps_the_honest_mean_where_the_plain_mean_fails(rule, attack):
    good = honest()
    updates = np.concatenate([good, ATTACKS[attack](good).astype(np.float32)])
    assert away(combined("mean", updates, tolerated=0), good) > 0.8
    # Norm bounding only bounds the pull of a liar: at most twice the bound each, of ten.
    assert away(combined(rule, updates), good) < (2 * LIARS / 10 + 0.05 if rule == "norm-bounded" else 0.1)


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "multi-krum"])
@pytest.mark.parametrize("free_rider", [0.0, 1e-6], ids=["zeros", "copy of the global model"])
def test_free_riders_do_not_hold_the_model_back(rule, free_rider):
    good = honest()
    updates = np.concatenate([good, np.full((LIARS, SIZE), free_rider, np.float32)])
    assert away(combined("mean", updates, tolerated=0), good) == pytest.approx(0.2, abs=0.01)
    assert away(combined(rule, updates), good) < 0.1


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
def test_the_result_lies_between_honest_numbers_whatever_the_liars_send(rule):
    good, rng = honest(), np.random.default_rng(3)
    for attack in (*ATTACKS.values(), slightly_off, lambda _: rng.choice([-1e30, 0, 1e30], (LIARS, SIZE))):
        found = combined(rule, np.concatenate([good, attack(good).astype(np.float32)]))
        assert (good.min(axis=0) - 1e-6 <= found).all()
        assert (found <= good.max(axis=0) + 1e-6).all()


def test_multi_krum_takes_whole_updates_of_sites_that_agree():
    good = honest()
    updates = np.concatenate([good, ATTACKS["poisoning"](good).astype(np.float32)])
    apart = ((good[:, None].astype(float) - good[None]) ** 2).sum(axis=2)
    scores = np.sort(apart, axis=1)[:, 1:7].sum(axis=1)
    expected = good[np.sort(np.argsort(scores)[:6])].mean(axis=0)
    np.testing.assert_allclose(combined("multi-krum", updates), expected, rtol=1e-6)


def test_the_mean_is_by_weight_and_robust_rules_are_not():
    updates = np.array([[1, 10], [2, 20], [6, 60]], np.float32)
    np.testing.assert_allclose(combined("mean", updates, 0, [1, 1, 2]), [3.75, 37.5])
    assert combined("median", updates, 1, [1, 1, 1000]).tolist() == [2, 20]
    assert combined("trimmed-mean", updates, 1, [1, 1, 1000]).tolist() == [2, 20]


def test_group_means_are_combined_by_weight_or_robustly():
    groups = np.array([[1.0], [2.0], [90.0]], np.float32)
    np.testing.assert_allclose(combined("grouped-masked", groups, 0, [3, 3, 4]), [36.9], rtol=1e-6)
    assert combined("grouped-masked", groups, 1, [3, 3, 4]).tolist() == [2]


@pytest.mark.parametrize("rule", ["mean", *ROBUST])
def test_blocks_do_not_change_the_result(rule, monkeypatch):
    updates = honest(10)
    whole = combined(rule, updates, tolerated=0 if rule == "mean" else LIARS)
    monkeypatch.setattr("federated.aggregation._BLOCK", 7)
    np.testing.assert_allclose(combined(rule, updates, 0 if rule == "mean" else LIARS), whole, rtol=1e-6)


@pytest.mark.parametrize("rule", ["mean", *ROBUST])
def test_takes_memory_for_a_block_only(rule):
    updates = [np.ones(1_000_000, np.float32) for _ in range(9)]
    tracemalloc.start()
    combined(rule, updates, tolerated=0 if rule == "mean" else LIARS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6 + 3 * 9 * 8 * 65536


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        pytest.param(np.full(SIZE, np.nan, np.float32), "site-09: expected finite numbers", id="NaN"),
        pytest.param(np.full(SIZE, -np.inf, np.float32), "site-09: expected finite numbers", id="infinite"),
        pytest.param(np.zeros(SIZE - 1, np.float32), "site-09: expected an update of 300 float32", id="too short"),
        pytest.param(np.zeros(2 * SIZE, np.float32), "site-09: expected an update of 300 float32", id="too long"),
        pytest.param(np.zeros((1, SIZE), np.float32), "site-09: expected an update of 300 float32", id="a table"),
        pytest.param(np.zeros(SIZE, np.float64), "site-09: .* got float64", id="another kind"),
    ],
)
@pytest.mark.parametrize("rule", ["mean", "median"])
def test_refuses_a_broken_update_and_names_its_site(rule, broken, told):
    updates = [*honest(), broken, honest(1)[0]]
    with pytest.raises(UpdateError, match=told):
        combine(rule, updates, [1.0] * 10, sites=SITES, size=SIZE)


def test_one_nan_at_the_end_is_found():
    update = np.zeros(200_000, np.float32)
    check_update("site-01", update, 200_000)
    update[-1] = np.nan
    with pytest.raises(UpdateError, match="site-01"):
        check_update("site-01", update, 200_000)


@pytest.mark.parametrize(
    ("rule", "needed"),
    [("median", 5), ("trimmed-mean", 5), ("norm-bounded", 5), ("multi-krum", 7), ("grouped-masked", 5)],
)
def test_refuses_too_few_sites_for_what_is_tolerated(rule, needed):
    assert updates_needed(rule, LIARS) == needed
    assert combined(rule, honest(needed)).shape == (SIZE,)
    with pytest.raises(AggregationError, match=f"expected at least {needed} updates, got {needed - 1}"):
        combined(rule, honest(needed - 1))


def test_a_plain_mean_does_not_pretend_to_tolerate_anybody():
    with pytest.raises(AggregationError, match="tolerates nobody"):
        combined("mean", honest(), tolerated=1)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_refuses_weights_that_are_none(weight):
    with pytest.raises(AggregationError, match="weights above 0"):
        combined("mean", honest(3), 0, [1.0, weight, 1.0])


def test_refuses_updates_without_a_weight_and_rules_without_updates():
    with pytest.raises(AggregationError, match="a weight and a name for each update"):
        combine("mean", list(honest(3)), [1.0], sites=SITES[:3], size=SIZE)
    with pytest.raises(AggregationError, match="masked has no single updates"):
        combined("masked", honest(3), 0)


def test_groups_are_drawn_anew_each_round_and_alike_by_everybody():
    rounds = [draw_groups(SITES, 3, "run-1", number) for number in range(1, 30)]
    for groups in rounds:
        assert sorted(site for group in groups for site in group) == list(SITES)
        assert sorted(map(len, groups)) == [3, 3, 4]
    assert draw_groups(SITES[::-1], 3, "run-1", 1) == rounds[0]
    assert len(set(rounds)) == len(rounds)
    assert draw_groups(SITES, 3, "run-2", 1) != rounds[0]
    together = {frozenset((one, two)) for groups in rounds for group in groups for one in group for two in group}
    assert len(together) == 10 + 45


def test_too_few_sites_are_one_group():
    assert draw_groups(SITES[:4], 5, "run-1", 1) == (SITES[:4],)
