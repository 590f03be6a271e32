import numpy as np
import pytest

from benchmarks.federated_learning import LIARS, Benchmark, Job, _parse, describe
from benchmarks.federated_runs import Rounds, run_rounds
from benchmarks.federated_summary import compare_arms, summarise
from federated.initial_weights import fresh_weights
from federated.metrics import REGIONS
from federated.presets import PRESETS, Preset
from federated.rounds.layout import write_weights
from federated.rounds.terms import Aggregation, Learning
from federated.sampling import Split
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import tiny_example, tiny_settings

COHORTS = {"north": Split(synthetic=[tiny_example(0)]), "south": Split(synthetic=[tiny_example(1)])}


def run(*rows):
    """A run whose cases have this Dice for every region; the AUC of the second one is not there."""
    scores = [
        {
            "site": site,
            "case": f"{site}-{index}",
            "dice": dict.fromkeys(REGIONS, dice),
            "auc": dict.fromkeys(REGIONS, None if index == 1 else dice),
        }
        for index, (site, dice) in enumerate(rows)
    ]
    return {"scores": scores, "cpu_seconds": 1.0}


def test_sites_stand_from_the_worst():
    found = summarise([run(("a", 0.9), ("b", 0.4), ("b", 0.6)), run(("a", 0.7), ("b", 0.4), ("b", 0.6))])
    assert found["dice_by_site"] == {"b": 0.5, "a": 0.8}
    assert found["worst_site"] == "b"
    assert found["dice"]["mean"] == pytest.approx(0.6, abs=1e-4)
    assert found["dice"]["by_seed"] == [0.6333, 0.5667]
    assert found["auc"]["mean"] == pytest.approx(0.7)


def test_a_run_that_diverged_has_no_figures():
    assert summarise([{"scores": [], "cpu_seconds": 1.0}])["dice"] is None


def test_differences_are_over_the_same_cases():
    found = compare_arms([run(("a", 0.9), ("b", 0.5))], [run(("a", 0.8), ("b", 0.5))])
    assert found["dice"]["mean"] == pytest.approx(0.05)
    assert (found["dice"]["wins"], found["dice"]["losses"]) == (1, 0)
    assert found["auc"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize("compression", ["none", "quantised"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, monkeypatch, compression):
    monkeypatch.setitem(PRESETS, "unit", Preset("for tests", tiny_settings()))
    learning = Learning(preset="unit", strategy="scaffold", steps=1, batch=1)
    plan = Rounds(3, learning, Aggregation(rule="mean", threshold=1, compression=compression))
    start = fresh_weights(TINY_NETWORK, 0)

    def stopping(site, result):
        if site == "south" and (tmp_path / "stopped/server.bin").exists():
            raise KeyboardInterrupt
        return result

    whole = run_rounds(plan, TINY_NETWORK, start, COHORTS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_rounds(plan, TINY_NETWORK, start, COHORTS, tmp_path / "stopped", stopping)
    rest = run_rounds(plan, TINY_NETWORK, start, COHORTS, tmp_path / "stopped")
    assert write_weights(rest.weights) == write_weights(whole.weights)
    assert rest.loss == whole.loss
    assert not list((tmp_path / "whole").glob("*/round-*"))


def test_finished_runs_are_not_done_again_and_are_told_of(tmp_path, monkeypatch):
    done = []

    def fake(self, job):
        done.append(job)
        return run(("site-01", 0.5 + 0.1 * (job.arm == "together")), ("site-02", 0.5))

    monkeypatch.setattr(Benchmark, "_transfer", fake)
    monkeypatch.setattr(Benchmark, "_elsewhere", fake)
    monkeypatch.setattr("benchmarks.federated_learning.load", lambda limit: _Nothing())
    options = _parse(["--quick", "--part", "transfer", "--work", str(tmp_path)])
    benchmark = Benchmark(options)
    assert not benchmark.attempt(Job("transfer", "together", 0))
    for job in benchmark.jobs * 2:
        benchmark.attempt(job)
    assert [job.arm for job in done] == ["released", "together", "alone"]
    results = benchmark.results([], "0" * 40)
    assert results["transfer"]["differences"]["together minus alone"]["dice"]["mean"] == pytest.approx(0.05)
    assert any("together minus alone: +0.050" in line for line in describe(results))


def test_liars_are_of_the_federation():
    assert set(LIARS) < {f"site-{number:02d}" for number in range(1, 11)}


class _Nothing:
    training = dict.fromkeys([f"site-{number:02d}" for number in range(1, 11)], ())
    test = elsewhere = ()


def test_scores_are_read_by_the_case_whatever_their_order():
    one = run(("a", 0.9), ("b", 0.4))
    other = {**one, "scores": one["scores"][::-1]}
    assert np.isclose(compare_arms([one], [other])["dice"]["mean"], 0)
