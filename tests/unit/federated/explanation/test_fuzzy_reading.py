"""The reading by rules: its words, its monotony, and what it makes of shapes whose make-up is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.explanation.fuzzy_reading import (
    HIGH,
    LOW,
    RULES,
    UNCLEAR,
    TumourFeatures,
    measure_features,
    read_features,
)

SHARE = st.floats(0, 1)
AMOUNT = st.floats(0, 200)
FEATURES = st.builds(TumourFeatures, AMOUNT, SHARE, SHARE, st.floats(0, 10))


def ball(radius, inner=0.0, oedema=0.0, *, gap=False, size=41):
    """A ball of radius: an enhancing rim around a dark middle, in oedema; lengths in voxels."""
    axes = np.indices((size, size, size)) - size // 2
    distance = np.sqrt((axes**2).sum(axis=0))
    labels = np.zeros(distance.shape, np.uint8)
    labels[distance <= radius + oedema] = 2
    labels[distance <= radius] = 3
    labels[distance < inner] = 1
    if gap:
        labels[(labels == 3) & (axes[0] > 0) & (np.abs(axes[1]) <= 1) & (np.abs(axes[2]) <= 1)] = 1
    return labels


@given(FEATURES)
def test_degrees_add_up_and_the_score_lies_between(features):
    found = read_features(features)
    assert 0 <= found.score <= 1
    assert sum(rule.degree for rule in found.fired) == pytest.approx(1)
    assert sum(found.memberships.values()) == pytest.approx(1)
    assert min(found.memberships.values()) >= -1e-12
    assert found.conclusion in {LOW, UNCLEAR, HIGH}
    assert len(found.fired) <= RULES


@given(FEATURES, st.sampled_from(["enhancing_ratio", "necrosis_share", "oedema_ratio"]), st.floats(0, 1))
def test_more_of_what_speaks_for_high_grade_never_lowers_the_score(features, name, more):
    raised = TumourFeatures(**{**vars(features), name: getattr(features, name) + more})
    assert read_features(raised).score >= read_features(features).score - 1e-12


@given(FEATURES, st.floats(0, 100))
def test_a_larger_tumour_is_never_read_as_less_clear(features, more):
    larger = TumourFeatures(**{**vars(features), "volume_ml": features.volume_ml + more})
    assert abs(read_features(larger).score - 0.5) >= abs(read_features(features).score - 0.5) - 1e-12


@pytest.mark.parametrize(
    ("features", "conclusion", "word"),
    [
        pytest.param(TumourFeatures(40, 0.5, 0.4, 1.8), HIGH, "necrosis is enclosed", id="ring"),
        pytest.param(TumourFeatures(40, 0.0, 0.0, 0.3), LOW, "little of its core enhances", id="no enhancement"),
        pytest.param(TumourFeatures(0.3, 0.9, 0.5, 2.0), UNCLEAR, "tiny", id="tiny"),
    ],
)
def test_the_strongest_rule_says_why(features, conclusion, word):
    found = read_features(features)
    assert found.conclusion == conclusion
    assert word in found.fired[0].text
    assert found.fired[0].text.endswith(").")


def test_the_score_is_the_weighted_mean_of_the_rules():
    """By hand: enhancement halfway (0.125), the rest clear; 0.5 of the rules for each side fire."""
    found = read_features(TumourFeatures(10, 0.125, 0.0, 0.0))
    assert found.score == pytest.approx(0.5 * 0.05 + 0.5 * 0.65)
    assert [rule.degree for rule in found.fired] == [pytest.approx(0.5)] * 2


def test_a_ring_is_measured_by_its_volumes():
    labels = ball(12, inner=7, oedema=4)
    found = measure_features(labels, voxel_ml=0.008)
    core, rim = (labels == 1).sum(), (labels == 3).sum()
    assert found.volume_ml == pytest.approx((labels > 0).sum() * 0.008)
    assert found.enhancing_ratio == pytest.approx(rim / (rim + core))
    assert found.necrosis_share == pytest.approx(core / (rim + core))
    assert found.oedema_ratio == pytest.approx((labels == 2).sum() / (rim + core))


def test_a_ring_with_a_gap_still_encloses_and_a_patch_does_not():
    whole, gap = (measure_features(ball(12, inner=7, gap=each), 0.008) for each in (False, True))
    assert gap.necrosis_share > 0.8 * whole.necrosis_share
    patch = ball(12, inner=12.5)
    patch[15:18, 20, 20] = 3
    assert measure_features(patch, 0.008).necrosis_share == 0


def test_nothing_outlined_has_no_reading_and_oedema_alone_has_finite_ratios():
    assert measure_features(np.zeros((4, 4, 4), np.uint8), 0.008) is None
    alone = measure_features(np.where(ball(8) > 0, 2, 0).astype(np.uint8), 0.008)
    assert (alone.enhancing_ratio, alone.necrosis_share) == (0, 0)
    assert read_features(alone).conclusion == LOW
    assert np.isfinite(alone.oedema_ratio)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(ValueError, match="oedema_ratio"):
        read_features(TumourFeatures(1, 0, 0, value))
