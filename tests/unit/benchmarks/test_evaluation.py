import json

import numpy as np
import pytest

from benchmarks.evaluation import main, to_json
from benchmarks.evaluation_card import conclude, say
from benchmarks.scores import compare, judge, read_runs, table
from federated.decision import Decision
from federated.errors import EvaluationError
from federated.metrics import REGIONS
from federated.model_file import Model, save_model
from federated.models import HybridConfig, build_network
from federated.preprocessing import Preprocessing

NETWORK = HybridConfig(filters=(4,), detail=4)
SUBJECTS = tuple(f"subject-{index}" for index in range(6))


def score(group, case, dice):
    figures = {"dice": dice, "hausdorff_95_mm": 8 * (1 - dice), "sensitivity": dice, "precision": dice, "ece": 0.01}
    return {"group": group, "case": case, "regions": dict.fromkeys(REGIONS, figures)}


def run(arm, seed, scores, parameters=100):
    return {"arm": arm, "seed": seed, "parameters": parameters, "scores": scores}


def phantom_run(arm, seed, mean, cases=40):
    """Cases of the same difficulty for every arm."""
    difficulty = np.random.default_rng(1).normal(0, 0.05, cases)
    luck = np.random.default_rng([seed, *arm.encode()]).normal(0, 0.003, cases)
    return run(
        arm,
        seed,
        [
            score("seen", f"case-{index:02}", round(float(mean + hard + lucky), 4))
            for index, (hard, lucky) in enumerate(zip(difficulty, luck, strict=True))
        ],
    )


def write(folder, runs):
    folder.mkdir()
    for index, each in enumerate(runs):
        (folder / f"{index}.json").write_text(json.dumps(each))
    return folder


def evaluate(tmp_path, runs):
    save_model(
        tmp_path / "model",
        Model("m", NETWORK, Preprocessing(), Decision(), build_network(NETWORK).state_dict(), {"subjects": ["a", "b"]}),
    )
    words = ["--runs", write(tmp_path / "runs", runs), "--model", tmp_path / "model", "--evaluates", "python -m train"]
    places = ["--out", tmp_path / "evaluation.json", "--card", tmp_path / "card.md", "--commit", "0" * 40]
    assert main([str(word) for word in (*words, *places)]) == 0
    return json.loads((tmp_path / "evaluation.json").read_text()), (tmp_path / "card.md").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    phantom = [
        phantom_run(arm, seed, mean)
        for arm, mean in (("identity", 0.820), ("hybrid", 0.821), ("mlp", 0.822), ("unet", 0.70))
        for seed in range(5)
    ]
    folds = [
        run(arm, seed, [score("real", subject, mean)])
        for arm, mean in (("hybrid", 0.87), ("unet", 0.86))
        for seed in (0, 1)
        for subject in SUBJECTS
    ]
    return evaluate(tmp_path_factory.mktemp("evaluation"), [*phantom, *folds])


def test_the_file_holds_every_score_of_every_case(written):
    evaluation, _ = written
    assert list(evaluation["arms"]) == ["hybrid", "mlp", "identity", "unet"], "the released arm comes first"
    hybrid = evaluation["arms"]["hybrid"]
    assert len(hybrid["cases"]["seen"]["case-07"]["tumour-core"]["hausdorff_95_mm"]) == 5
    assert hybrid["cases"]["real"]["subject-3"]["whole-tumour"]["dice"] == [0.87, 0.87], "folds are joined"
    assert evaluation["groups"]["real"]["cases"] == list(SUBJECTS)
    found = hybrid["summary"]["seen"]["whole-tumour"]["dice"]
    assert found["interval"][0] < found["mean"] < found["interval"][1]
    assert evaluation["commit"] == "0" * 40
    assert evaluation["scores_from"] == "python -m train"
    assert len(evaluation["released"]["version"]) == 64


def test_compares_the_released_arm_with_each_control_where_both_ran(written):
    comparisons = written[0]["comparisons"]
    assert {each["second"] for each in comparisons["seen"]} == {"identity", "mlp", "unet"}
    assert {each["second"] for each in comparisons["real"]} == {"unet"}
    verdicts = {each["second"]: each["verdict"] for each in comparisons["seen"] if each["region"] == "whole-tumour"}
    assert verdicts == {"identity": "equivalent", "mlp": "equivalent", "unet": "better"}


def test_says_which_goals_are_missed(written):
    evaluation, card = written
    reached = {(goal["group"], goal["region"]): goal["reached"] for goal in evaluation["goals"]}
    assert reached[("real", "whole-tumour")]
    assert reached[("seen", "whole-tumour")]
    assert "**not reached**" not in card


def test_the_card_says_what_the_quantum_layers_did_not_add(written):
    _, card = written
    assert "A network without them does as well." in card
    assert "Nothing can be said about the quantum layers: their controls were not run." in card, "for real subjects"
    assert "6 real subjects of one public collection: no claim beyond them." in card
    assert "subjects: a, b" in card
    assert "asked for 0.86, reached 0.870" in card


def test_without_controls_the_card_claims_nothing(tmp_path):
    _, card = evaluate(tmp_path, [phantom_run("hybrid", 0, 0.7)])
    assert "Nothing can be said about the quantum layers: no control was run." in card
    assert "asked for 0.80, reached 0.70" in card
    assert "**not reached**" in card
    assert "Not measured on real subjects." in card
    assert "so how much runs differ is hardly known" in card


@pytest.mark.parametrize(
    ("identity", "mlp", "expected"),
    [
        pytest.param(0.70, 0.75, "improved the segmentation against both controls.", id="better-than-both"),
        pytest.param(0.795, 0.795, "neither improved nor harmed", id="significant-but-too-small-to-matter"),
        pytest.param(0.80, 0.80, "neither improved nor harmed", id="equivalent"),
        pytest.param(0.90, 0.75, "cost accuracy: the network is worse than with its control (identity)", id="worse"),
        pytest.param(0.80, 0.75, "No advantage of the quantum layers is shown", id="better-than-one"),
    ],
)
def test_the_wording_follows_from_the_numbers(identity, mlp, expected):
    runs = [
        phantom_run(arm, seed, mean)
        for arm, mean in (("hybrid", 0.80), ("identity", identity), ("mlp", mlp))
        for seed in range(5)
    ]
    found = compare(runs, [("hybrid", "identity"), ("hybrid", "mlp")], ["seen"], ["whole-tumour"])
    assert expected in conclude(found)
    assert all(f"{each['mean']:+.3f}" in say(each) for each in found)


@pytest.mark.parametrize(
    ("interval", "p_holm", "expected"),
    [
        pytest.param((0.01, 0.05), 0.01, "better", id="better"),
        pytest.param((-0.05, -0.01), 0.01, "worse", id="worse"),
        pytest.param((0.01, 0.05), 0.06, "undecided", id="not-significant"),
        pytest.param((-0.001, 0.03), 0.001, "undecided", id="seeds-may-explain-it"),
        pytest.param((-0.019, 0.019), 0.5, "equivalent", id="equivalent"),
        pytest.param((-0.021, 0.019), 0.5, "undecided", id="too-wide"),
        pytest.param((0.001, 0.015), 1e-6, "equivalent", id="significant-but-too-small-to-matter"),
    ],
)
def test_a_verdict_needs_interval_and_test(interval, p_holm, expected):
    assert judge({"over_cases_and_seeds": interval, "p_holm": p_holm}) == expected


def test_refuses_scores_with_holes():
    runs = [phantom_run("hybrid", 0, 0.8), phantom_run("hybrid", 1, 0.8, cases=39)]
    with pytest.raises(EvaluationError, match="79 scores of 2 seeds and 40 cases"):
        table(runs, "hybrid", "seen", "whole-tumour", "dice")
    with pytest.raises(EvaluationError, match="case-00 is scored twice"):
        table([runs[0], runs[0]], "hybrid", "seen", "whole-tumour", "dice")


def test_refuses_what_is_no_run_file(tmp_path):
    (tmp_path / "run.json").write_text('{"arm": "hybrid"}')
    with pytest.raises(EvaluationError, match=r"run\.json: not a run file"):
        read_runs([tmp_path / "run.json"])


def test_refuses_a_released_arm_without_runs(tmp_path):
    with pytest.raises(EvaluationError, match="Expected runs of hybrid, got those of mlp"):
        evaluate(tmp_path, [phantom_run("mlp", 0, 0.8)])


def test_numbers_in_lists_stand_on_one_line():
    document = {"a": [1, 2.5, -3e-9], "b": {"c": ["x", "y"]}, "d": []}
    text = to_json(document)
    assert '"a": [1, 2.5, -3e-09]' in text
    assert json.loads(text) == document
