import json

import numpy as np
import pytest

from benchmarks.bias_correction import _against, _gap, main
from benchmarks.bias_plots import draw_bias
from benchmarks.bias_runs import weights_name
from benchmarks.bias_solvers import compare_solvers, problems
from tests.fakes.balance_cohorts import cohort

SEXES = np.array(["F"] * 30 + ["M"] * 50)


def scores(women, men, seeds=3, spread=0.05):
    rng = np.random.default_rng(0)
    found = rng.normal(0, spread, (seeds, len(SEXES)))
    return found + np.where(SEXES == "F", women, men)


def test_the_gap_is_mens_mean_less_womens_with_its_interval():
    gap = _gap(scores(0.5, 0.6), SEXES)
    assert gap["mean"] == pytest.approx(0.1, abs=0.02)
    low, high = gap["interval"]
    assert low < gap["mean"] < high
    assert low > 0


def test_a_change_of_the_gap_is_paired_by_cases():
    rng = np.random.default_rng(1)
    hardness = rng.normal(0, 0.2, len(SEXES))
    before = scores(0.5, 0.6, spread=0.001) + hardness
    after = scores(0.54, 0.6, spread=0.001) + hardness
    found = _against(after, before, SEXES)
    assert found["gap_change"]["mean"] == pytest.approx(-0.04, abs=0.002)
    low, high = found["gap_change"]["interval"]
    assert -0.045 < low < high < -0.035, "the cases' hardness cancels"
    assert found["women_change"] == pytest.approx(0.04, abs=0.002)


def test_the_same_networks_do_not_differ():
    same = scores(0.5, 0.6)
    assert _against(same, same, SEXES, same_networks=True)["gap_change"] == {"mean": 0, "interval": [0, 0]}


def test_arms_that_chose_alike_share_their_trainings():
    assert weights_name((1.0, 2.0)) == weights_name([1.0, 2.0]) != weights_name((2.0, 1.0))
    assert weights_name(None) == "bare"


def test_solvers_are_compared_and_drawn(tmp_path):
    rows = compare_solvers(problems(cohort(), [4]), budgets=[4, 16], seeds=range(2))
    assert [(row["solver"], row["budget"]) for row in rows[:2]] == [("exact", None), ("random", 4)]
    assert rows[0]["success"] == 1
    assert all(row["gap"] >= -1e-9 for row in rows)
    assert all(row["evaluations"] <= (row["budget"] or 16) for row in rows)
    figures = {"mean": 0.5, "interval": [0.4, 0.6], "by_seed": [0.5]}
    arm = {"dice_by_group": {"F": figures, "M": figures}, "gap": figures, "against_bare": None}
    draw_bias({"arms": {"none": arm}, "solvers": rows}, tmp_path / "bias.png")
    assert (tmp_path / "bias.png").stat().st_size > 10_000


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--budget"])
    assert "usage" in json.dumps(capsys.readouterr().err)
