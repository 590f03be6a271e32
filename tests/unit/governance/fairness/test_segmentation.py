import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.errors import AuditDataError
from governance.fairness.bias import bias_score
from governance.fairness.groups import GroupedCase
from governance.fairness.segmentation import equity_scaled, equity_scaled_by, size_normalised_dice, worst_group


def cases_of(groups):
    return [
        GroupedCase(f"{name}-{n}", {"site": name}, {"dice": float(v)})
        for name, vs in groups.items()
        for n, v in enumerate(vs)
    ]


def test_the_equity_scaled_mean_by_hand():
    # Means 0.9 and 0.7, over all cases 0.8; deviation of the two means 0.1.
    assert equity_scaled({"a": [0.8, 1.0], "b": [0.6, 0.8]}) == pytest.approx(0.8 / 1.1)


def test_even_groups_keep_their_mean():
    assert equity_scaled({"a": [0.6, 0.8], "b": [0.7]}) == pytest.approx(0.7)


def test_the_equity_scaled_mean_needs_two_groups():
    found = equity_scaled_by(cases_of({"a": [0.5] * 6, "b": [0.5]}), "dice", "site", minimum_group=5, confidence=0.95)
    assert found.figure is None


def test_the_worst_group_is_corrected_for_the_choice():
    rng = np.random.default_rng(0)
    groups = {f"g{n}": rng.beta(8, 2, 12) for n in range(10)}
    score = bias_score(cases_of(groups), ["dice"], ["site"], minimum_group=5, confidence=0.95, deals=99)
    worst = worst_group(score.gaps, confidence=0.95)
    name = min(groups, key=lambda each: groups[each].mean())
    assert worst.group == name
    own = next(each for each in score.gaps[0].groups if each.group == name)
    assert worst.figure.low <= own.low
    assert worst.figure.high > own.high


def test_the_worst_groups_interval_holds_the_truth():
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(80):
        groups = {f"g{n}": rng.beta(8, 2, 15) for n in range(6)}
        score = bias_score(cases_of(groups), ["dice"], ["site"], minimum_group=5, confidence=0.95, deals=9)
        figure = worst_group(score.gaps, confidence=0.95).figure
        inside += figure.low <= 0.8 <= figure.high
    assert inside >= 74


def test_no_group_of_a_sufficient_size_has_no_worst():
    score = bias_score(cases_of({"a": [0.5]}), ["dice"], ["site"], minimum_group=5, confidence=0.95, deals=9)
    assert worst_group(score.gaps, confidence=0.95) is None


def test_at_the_reference_size_the_normalised_dice_is_dice():
    right, wrong, missed = 80, 20, 20
    rest = 1000 - right - wrong - missed
    assert size_normalised_dice(right, wrong, missed, rest, reference_share=0.1) == pytest.approx(160 / 200)


def test_size_alone_does_not_change_the_normalised_dice():
    # The same rates: a fifth missed, 2 % of the rest found wrongly.
    large = size_normalised_dice(800, 180, 200, 8820, reference_share=0.05)
    small = size_normalised_dice(80, 198, 20, 9702, reference_share=0.05)
    assert large == pytest.approx(small)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 1000))
def test_the_normalised_dice_is_a_share(right, wrong, missed, rest):
    assert 0 <= size_normalised_dice(right, wrong, missed, rest, reference_share=0.03) <= 1


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_refuses_a_reference_that_is_no_share(share):
    with pytest.raises(AuditDataError, match="reference share"):
        size_normalised_dice(1, 1, 1, 1, reference_share=share)
