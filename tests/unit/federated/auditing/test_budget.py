import pytest

from federated.auditing.budget import budget_for
from federated.errors import EvaluationError


def test_finer_grids_are_attacked_in_patches_and_with_no_more_cases():
    coarse, fine = budget_for(4.0), budget_for(2.0)
    assert coarse.attacks.patch is None
    assert fine.attacks.patch is not None
    assert fine.boundary_cases <= coarse.boundary_cases


def test_enough_cases_for_the_shipped_policys_smallest_group():
    assert budget_for(2.0).boundary_cases >= 10


@pytest.mark.parametrize("spacing_mm", [0.0, float("nan")])
def test_refuses_a_spacing_that_is_none(spacing_mm):
    with pytest.raises(EvaluationError, match="above 0 mm"):
        budget_for(spacing_mm)
