"""The benchmark of automatic halts: its arrays say what the product says, and its oracles what textbooks say."""

import json
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.auto_halt import false_halts, main
from benchmarks.auto_halt_runs import Scenario, draw, halts, power_calculation, wald_bound
from governance.decisions import Outcome
from governance.monitoring.cases import Case, build_stream
from governance.monitoring.judging import BIAS, REJECTIONS, judge
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from tests.fakes.watched_cases import NOW, START

POLICY = parse_policy_text(default_policy_text())


def cases_of(hospitals, run, number):
    return [
        Case(
            groups={name: f"group {codes[run, place]}" for name, codes in hospitals.groups.items()},
            confidence=float(hospitals.confidence[run, place]),
            at=START + timedelta(minutes=place),
            accepted=not hospitals.rejected[run, place],
            reviewed_at=START + timedelta(minutes=place),
        )
        for place in range(number)
    ]


@pytest.mark.parametrize("scenario", [Scenario(0.3, 0.05, 0.6, 150, 3, 1), Scenario(0.4, 0.6, 0.6, 150, 2, 2)])
def test_arrays_and_product_halt_at_the_same_case(scenario):
    (hospitals,) = draw(scenario)
    when = halts(hospitals, POLICY)
    for run in range(scenario.runs):
        first = int(when["any"][run])
        assert first > 0
        for number, halted in ((first - 1, False), (first, True)):
            stream = build_stream(cases_of(hospitals, run, number), since=START, now=NOW)
            found = judge(stream, (), POLICY, with_drift=False)
            rules = {each.rule for each in found.decisions if each.outcome is Outcome.HALT}
            assert bool(rules) is halted
            assert (BIAS in rules) is (halted and int(when["bias"][run]) == first)
            assert (REJECTIONS in rules) is (halted and int(when["rejections"][run]) == first)


def test_the_power_calculation_has_its_power():
    scenario = Scenario(0.3, 0.05, 0.35, 1, 1, 0)
    cases = power_calculation(scenario, 0.1, 0.05, 0.8)
    rng = np.random.default_rng(1)
    one = rng.binomial(round(0.3 * cases), 0.35, 20_000) / round(0.3 * cases)
    two = rng.binomial(cases - round(0.3 * cases), 0.05, 20_000) / (cases - round(0.3 * cases))
    spread = np.sqrt(0.35 * 0.65 / (0.3 * cases) + 0.05 * 0.95 / (0.7 * cases))
    assert ((one - two - 0.1) / spread > 1.645).mean() == pytest.approx(0.8, abs=0.03)


def test_a_wider_gap_takes_fewer_cases():
    near, far = Scenario(0.3, 0.05, 0.3, 1, 1, 0), Scenario(0.3, 0.05, 0.6, 1, 1, 0)
    assert wald_bound(far, 0.1, 0.05) < wald_bound(near, 0.1, 0.05)
    assert wald_bound(near, 0.1, 0.001) > wald_bound(near, 0.1, 0.05)


def test_a_model_that_rejects_everything_is_counted():
    found = false_halts(Scenario(0.3, 0.9, 0.9, 60, 5, 3), POLICY)
    assert found["halted"] == 5
    assert found["by_rule"]["rejections"] == 5


def test_the_command_writes_figures_and_a_plot(tmp_path, capsys):
    out = tmp_path / "auto-halt.json"
    assert main(["--runs", "2", "--unbiased", "2", "--cases", "60", "--out", str(out), "--commit", "none"]) in {0, 1}
    found = json.loads(out.read_text())
    assert len(found["planted_bias"]) == 5
    assert out.with_suffix(".png").stat().st_size > 10_000
    capsys.readouterr()
