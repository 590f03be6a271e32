import json

import pytest

from benchmarks.compare_arms import main
from benchmarks.scores import read_runs
from benchmarks.work_folder import WorkFolder

ARMS = ("hybrid", "mlp", "unet")
COMMON = ("--arms", *ARMS, "--steps", "1", "--batch", "1", "--limit", "1", "--commit", "0" * 40)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole comparison, on one case of each kind."""
    folder = tmp_path_factory.mktemp("arms")
    places = ("--work", str(folder / "work"), "--out", str(folder / "arms.json"))
    words = [*COMMON, *places, "--learning-rates", "0.001", "0.003", "--seeds", "0", "1"]
    assert main([*words, "--only", "mlp"]) == 3
    assert main(words) == 0
    return folder, words


def test_writes_every_score_with_its_origin(finished):
    folder, _ = finished
    results = json.loads((folder / "arms.json").read_text())
    assert list(results["arms"]) == list(ARMS)
    assert results["commit"] == "0" * 40
    assert "benchmarks.compare_arms" in results["command"]
    assert results["protocol"]["seeds"] == [0, 1]
    hybrid, mlp = results["arms"]["hybrid"], results["arms"]["mlp"]
    assert hybrid["round_bytes"] == 8 * hybrid["parameters"]
    assert abs(hybrid["parameters"] - mlp["parameters"]) < 20, "the control is matched in size"
    assert set(hybrid["summary"]) == {"seen", "unseen"}
    cases = json.loads((folder / "arms-cases.json").read_text())
    dice = cases["scores"]["unet"]["seen"]["whole-tumour"]["dice"]
    assert [len(row) for row in dice] == [len(cases["cases"]["seen"])] * 2
    assert results["arms"]["unet"]["summary"]["seen"]["whole-tumour"]["dice"]["by_seed"] == pytest.approx(
        [sum(row) / len(row) for row in dice], abs=1e-4
    )
    for name in ("arms.png", "arms-differences.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_compares_with_every_control_and_keeps_the_primary_pair_apart(finished):
    results = json.loads((finished[0] / "arms.json").read_text())
    primary, secondary = results["comparisons"]["primary"], results["comparisons"]["secondary"]
    assert [(each["second"], each["group"], each["region"]) for each in primary] == [("mlp", "seen", "whole-tumour")]
    assert {each["second"] for each in secondary} == {"mlp", "unet"}
    assert len(secondary) == 2 * 2 * 3


def test_takes_the_learning_rate_that_is_best_on_validation_for_each_arm(finished):
    results = json.loads((finished[0] / "arms.json").read_text())
    for arm in ARMS:
        found = results["arms"][arm]
        scores = {float(rate): score for rate, score in found["validation_by_learning_rate"].items()}
        assert len(scores) == 2, "the same effort for each arm"
        # The file has rounded scores, which can be equal.
        assert scores[found["learning_rate"]] == max(scores.values())


def test_tuning_never_looks_at_test_cases(finished):
    runs = read_runs((finished[0] / "work").glob("*.json"))
    assert len(runs) == len(ARMS) * (2 + 2)
    assert all(bool(run["scores"]) == (run["purpose"] == "final") for run in runs)
    assert not {run["seed"] for run in runs if run["purpose"] == "tuning"} & {0, 1}


def test_a_finished_run_is_not_done_again(finished, capsys):
    folder, words = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "work").glob("*.json")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "work").glob("*.json")} == before
    assert "hybrid minus mlp, whole-tumour, seen" in capsys.readouterr().out


def test_real_subjects_are_left_out_once_each(tmp_path):
    places = ("--work", str(tmp_path / "work"), "--out", str(tmp_path / "real.json"))
    words = [*COMMON, *places, "--real", "--learning-rates", "0.003", "--seeds", "0"]
    words[1:4] = ["unet"]
    words[words.index("--limit") + 1] = "2"
    assert main(words) == 0
    cases = json.loads((tmp_path / "real-cases.json").read_text())
    assert len(cases["cases"]["real"]) == 2
    assert {
        run["held_out"] for run in (run["settings"] for run in read_runs((tmp_path / "work").glob("*.json")))
    } == set(cases["cases"]["real"])


def test_a_seed_is_either_for_tuning_or_for_scoring(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*COMMON, "--work", str(tmp_path), "--seeds", "1", "--tuning-seeds", "1"])
    assert "no seed serves for tuning and for scoring" in capsys.readouterr().err


def test_a_run_belongs_to_one_process_at_a_time(tmp_path):
    first, second = WorkFolder(tmp_path), WorkFolder(tmp_path)
    with first.claim("run") as mine, second.claim("run") as theirs, second.claim("other") as another:
        assert (mine, theirs, another) == (True, False, True)
    with second.claim("run") as theirs:
        assert theirs, "a claim ends with its holder"


def test_a_result_of_other_settings_is_none(tmp_path):
    work = WorkFolder(tmp_path)
    work.save("run", {"steps": 2, "patch": (1, 2)}, {"score": 1.0})
    assert work.result("run", {"steps": 2, "patch": (1, 2)})["score"] == 1.0
    assert work.result("run", {"steps": 3, "patch": (1, 2)}) is None
    assert work.result("another", {}) is None
    assert [path.name for path in tmp_path.glob("*.part")] == []
