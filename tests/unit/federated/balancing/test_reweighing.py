import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.balancing.cohort_table import CrossTable
from federated.balancing.dependence import measure_dependence
from federated.balancing.reweighing import reweigh
from federated.errors import BalanceDataError

cells = st.lists(st.integers(1, 12), min_size=4, max_size=12).filter(lambda counts: len(counts) % 2 == 0)


def listed(counts):
    groups, outcomes = [], []
    for place, count in enumerate(counts):
        groups += [f"group {place // 2}"] * count
        outcomes += [f"outcome {place % 2}"] * count
    return groups, outcomes


@pytest.mark.parametrize("shares", ["present", "equal"])
@given(counts=cells)
def test_takes_all_dependence_away(shares, counts):
    groups, outcomes = listed(counts)
    weights = np.array(reweigh(groups, outcomes, shares))
    found = np.zeros((len(counts) // 2, 2))
    for group, outcome, weight in zip(groups, outcomes, weights, strict=True):
        found[int(group[-1]), int(outcome[-1])] += weight
    after = measure_dependence(CrossTable(tuple(sorted(set(groups))), ("0", "1"), found))
    assert after.chi_squared == pytest.approx(0, abs=1e-20)
    assert weights.mean() == pytest.approx(1)
    of_groups = found.sum(1) / found.sum()
    present = np.array(counts).reshape(-1, 2).sum(1) / sum(counts)
    np.testing.assert_allclose(of_groups, present if shares == "present" else 1 / len(of_groups))


def test_gives_aif360s_weights():
    groups, outcomes = listed([14, 4, 16, 30])
    with warnings.catch_warnings():
        # AIF360 tells of each optional package that is not there.
        warnings.simplefilter("ignore")
        import pandas as pd
        from aif360.algorithms.preprocessing import Reweighing
        from aif360.datasets import BinaryLabelDataset

        frame = pd.DataFrame({"group": [float(g[-1]) for g in groups], "label": [float(o[-1]) for o in outcomes]})
        data = BinaryLabelDataset(df=frame, label_names=["label"], protected_attribute_names=["group"])
        expected = Reweighing([{"group": 0.0}], [{"group": 1.0}]).fit_transform(data).instance_weights
    np.testing.assert_allclose(reweigh(groups, outcomes), expected, rtol=1e-12)


@pytest.mark.parametrize(("groups", "outcomes"), [([], []), (["F"], ["a", "b"])])
def test_refuses_what_does_not_fit(groups, outcomes):
    with pytest.raises(BalanceDataError, match="a group and an outcome a case"):
        reweigh(groups, outcomes)
