import itertools

import numpy as np
import pytest

from federated.cases import list_cases, read_case
from federated.contrast_order import contrast_order_fault, no_dark_fluid
from federated.phantom import build_phantom
from federated.presets import DEMO_DATA

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")


@pytest.fixture(scope="module")
def cohort():
    return [build_phantom(np.random.default_rng(seed), spacing_mm=4.0) for seed in range(6)]


def test_says_nothing_of_the_right_order(cohort):
    assert [contrast_order_fault(phantom.images, phantom.labels) for phantom in cohort] == [None] * 6
    assert [contrast_order_fault(phantom.images) for phantom in cohort] == [None] * 6


@pytest.mark.parametrize("pair", [*itertools.combinations(CONTRASTS, 2)], ids=" and ".join)
def test_finds_most_exchanges(cohort, pair):
    found = 0
    for phantom in cohort:
        images = dict(phantom.images)
        images[pair[0]], images[pair[1]] = images[pair[1]], images[pair[0]]
        found += contrast_order_fault(images, phantom.labels) is not None
    assert found >= (5 if "T2" in pair and "T1ce" not in pair else 3)


def test_fluid_tells_t2_from_flair(cohort):
    exchanged = [{**each.images, "T2": each.images["FLAIR"], "FLAIR": each.images["T2"]} for each in cohort]
    assert [no_dark_fluid(phantom.images) for phantom in cohort] == [False] * 6
    assert sum(map(no_dark_fluid, exchanged)) >= 3


def test_fluid_tells_t2_from_flair_in_every_real_subject():
    for name in list_cases(DEMO_DATA):
        images = dict(read_case(DEMO_DATA, name).images)
        assert not no_dark_fluid(images), name
        assert no_dark_fluid({**images, "T2": images["FLAIR"], "FLAIR": images["T2"]}), name


def test_missing_contrasts_are_not_judged(cohort):
    images = {contrast: cohort[0].images[contrast] for contrast in ("T1ce",)}
    assert contrast_order_fault(images, cohort[0].labels) is None


def test_says_nothing_of_a_head_with_its_skull():
    phantom = build_phantom(np.random.default_rng(0), spacing_mm=4.0, skull=True)
    swapped = {**phantom.images, "T2": phantom.images["FLAIR"], "FLAIR": phantom.images["T2"]}
    assert contrast_order_fault(swapped, phantom.labels) is None
