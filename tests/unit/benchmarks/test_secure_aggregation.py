import json
import subprocess
import sys

import pytest

from benchmarks import secure_aggregation
from benchmarks.masking_run import Run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "secure-aggregation.json"
    command = [sys.executable, "-m", "benchmarks.secure_aggregation", "--quick", "--repeats", "1", "--commit", "abc"]
    # In its own process: the engine's import warns, and its grid sets names for the whole process.
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, timeout=120)
    assert out.with_suffix(".png").stat().st_size > 10_000
    return json.loads(out.read_text())


def test_result_names_its_origin(results):
    assert results["commit"] == "abc"
    assert results["command"].startswith("python -m benchmarks.secure_aggregation --quick")
    assert {"flwr", "cryptography", "numpy"} <= set(results["software"])


@pytest.mark.parametrize("dropouts", ["0", "1"])
def test_both_protocols_give_the_mean_of_the_sites_that_stayed(results, dropouts):
    assert results["runs"]["ours"][dropouts]["error"] < 1e-7
    assert results["runs"]["ours-8-bit"][dropouts]["error"] < 1 / 127
    assert results["runs"]["flower"][dropouts]["error"] < 1e-5


def test_bytes_are_more_than_the_vector_alone(results):
    assert all(run["bytes_up"] > 4 * results["parameters"] for run in results["runs"]["ours"].values())


def test_judges_the_worst_number_of_dropouts():
    cheap = {"site_cpu_s": 0.1, "up_ratio": 1.1, "both_ways_ratio": 1.1}
    runs = {"ours": {"0": cheap, "3": {**cheap, "site_cpu_s": 2.1, "up_ratio": 1.3}}}
    assert secure_aggregation.judge(runs, [0, 3]) == {"site_cpu_s": False, "bytes_up": False, "bytes_both_ways": True}


def test_time_within_a_block_is_not_charged_to_the_block_around_it():
    run = Run()
    with run.charge("coordinator"), run.charge("site-00"):
        sum(range(2_000_000))
    assert run.cpu_s["site-00"] > 10 * run.cpu_s["coordinator"]


def test_costs_are_those_of_the_sites_that_stayed():
    run = Run(cpu_s={"a": 9.0, "b": 1.0, "coordinator": 2.0}, bytes_up={"a": 9, "b": 1}, bytes_down={"a": 9, "b": 1})
    costs = run.costs(["a"])
    assert (costs["site_cpu_s"], costs["bytes_up"], costs["coordinator_cpu_s"]) == (1.0, 1, 2.0)
