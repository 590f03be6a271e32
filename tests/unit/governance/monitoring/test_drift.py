"""Drift of the studies: found when there is some, hardly ever without, and honest about what is missing."""

from dataclasses import replace

import numpy as np

from governance.monitoring.drift import BLOCK, REFERENCE, TOGETHER, find_drift
from tests.fakes.watched_cases import draw

LIMIT = 0.001


def test_studies_of_one_kind_have_not_drifted():
    # Each run's chance is a thousandth.
    drifted = [any(look.p < LIMIT for look in find_drift(draw(250, seed), limit=LIMIT).looks) for seed in range(25)]
    assert not any(drifted)


def test_the_p_of_a_first_look_is_conservative():
    values = [find_drift(draw(150, seed), limit=0.5).looks[0].p for seed in range(150)]
    # p is corrected for all looks: at most 5 % would be below 0.05; three standard errors more are 15 of 150.
    assert sum(value < 0.05 for value in values) <= 15


def test_a_shift_of_one_feature_is_found_and_named():
    cases = [
        replace(case, features={**case.features, "feature 2": case.features["feature 2"] + 2.0 * (place >= 100)})
        for place, case in enumerate(draw(150))
    ]
    (look,) = find_drift(cases, limit=LIMIT).looks
    assert look.p < LIMIT
    assert look.feature == "feature 2"
    assert (look.number, look.at_case) == (1, REFERENCE + BLOCK)


def test_a_change_of_how_features_go_together_is_found_by_mmd_alone():
    rng = np.random.default_rng(4)
    cases = draw(200)
    for place, case in enumerate(cases):
        first, noise = rng.normal(), rng.normal()
        second = noise if place < 100 else 0.98 * first + 0.2 * noise
        cases[place] = replace(case, features={"a": float(first), "b": float(second)})
    last = find_drift(cases, limit=LIMIT).looks[-1]
    assert last.feature == TOGETHER
    assert last.p < 0.01


def test_too_few_studies_are_not_compared():
    drift = find_drift(draw(149), limit=LIMIT)
    assert (drift.looks, drift.cases, drift.needed) == ((), 149, 150)


def test_studies_without_features_are_not_compared():
    assert find_drift([replace(case, features={}) for case in draw(200)], limit=LIMIT).looks == ()


def test_a_feature_that_most_lack_is_not_tested():
    cases = [
        replace(case, features=case.features | ({"rare": 1.0 + place} if place % 10 == 0 else {}))
        for place, case in enumerate(draw(150))
    ]
    (look,) = find_drift(cases, limit=LIMIT).looks
    assert look.feature != "rare"
    assert look.p > LIMIT


def test_constant_features_have_not_drifted():
    cases = [replace(case, features={"spacing": 0.1}) for case in draw(150)]
    (look,) = find_drift(cases, limit=LIMIT).looks
    assert look.p == 1.0


def test_looks_are_the_same_whenever_they_are_asked_for():
    cases = draw(260)
    every, newest = find_drift(cases, limit=LIMIT), find_drift(cases, limit=LIMIT, newest_only=True)
    assert len(every.looks) == 3
    assert newest.looks == every.looks[-1:]
