"""`qfl train` as a person sees it."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from federated.augmentation import Augmentation
from federated.balancing.balance_settings import BalanceSettings
from federated.presets import PRESETS, Phantoms, Preset
from federated.training_settings import TrainingSettings
from plugin.cli import main


@pytest.fixture(autouse=True)
def _without_settings(monkeypatch, tmp_path):
    for name in ("QFL_FHIR_URL", "QFL_ARCHIVE_URL", "QFL_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    settings = TrainingSettings(
        steps=2, batch=1, patch=(24, 32, 24), validate_every=1, threads=1, augmentation=Augmentation(spacing_mm=8.0)
    )
    tiny = Preset("for tests", settings, spacing_mm=8.0, narrowing=6, phantoms=Phantoms(training=1, validation=1))
    monkeypatch.setitem(PRESETS, "tiny", tiny)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("QFL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("QFL_FHIR_URL", "http://127.0.0.1:9/fhir")
    monkeypatch.setenv("QFL_ARCHIVE_URL", "http://127.0.0.1:9/dicom-web")


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_trains_without_any_setting_and_says_how_to_use_the_model(tmp_path):
    result = run("--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "out" / "segmenter.json").read_text())
    assert card["version"] in result.stdout
    assert f"qfl predict INPUT --output DIR --model {tmp_path / 'out'}" in result.stdout
    assert "Validation Dice  whole tumour 0." in result.stdout
    assert "2 cases are ready" in result.stderr
    assert "step 2: loss " in result.stderr
    assert card["training"]["cases"] == {"real": 0, "synthetic": 1, "held_out": 1}
    assert card["name"] == "QFL segmenter (hybrid)"


def test_tells_a_program_each_step(tmp_path):
    result = run("--output", tmp_path / "out", "--json", "--arm", "mlp")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["started", "step", "validation", "step", "validation", "model"]
    assert lines[-1]["folder"] == str(tmp_path / "out")
    assert set(lines[-1]["dice"]) == {"whole-tumour", "tumour-core", "enhancing"}


def test_goes_on_only_when_asked(tmp_path):
    first = run("--output", tmp_path / "out")
    again = run("--output", tmp_path / "out")
    assert (again.exit_code, "go on with --resume" in again.output) == (73, True)
    resumed = run("--output", tmp_path / "out", "--resume")
    assert resumed.stdout == first.stdout
    assert "goes on after step 2" in resumed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        pytest.param(("--preset", "huge"), 64, "Expected a preset of tiny, phantom, real", id="preset"),
        pytest.param(("--arm", "rnn"), 64, "Expected an arm of hybrid", id="arm"),
        pytest.param(("--steps", "0"), 64, "Expected steps as whole numbers", id="steps"),
        pytest.param(("--device", "tpu"), 64, "Expected the device auto, cpu or cuda", id="device"),
        pytest.param(("--data", "empty"), 65, "empty", id="folder without cases"),
        pytest.param(("--held-out", "a"), 65, "Expected a folder of cases", id="nothing to hold out of"),
        pytest.param(("--resume", "--output", "new"), 66, "There is no training 'new'", id="nothing to resume"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(tmp_path, arguments, code, told):
    (tmp_path / "empty").mkdir()
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("qfl: ")
    assert len(result.stderr.splitlines()) == 1
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("--resume",), "Give the folder", id="resume nowhere"),
        pytest.param(("--resume", "--output", "x", "--learning-rate", "1"), "leave out --learning-rate", id="changed"),
        pytest.param(("--queue", "--output", "x"), "no --output", id="queued elsewhere"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, told):
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.usefixtures("settings")
def test_a_queued_training_waits_in_the_data_folder_and_tells_its_status(tmp_path):
    queued = json.loads(run("--queue", "--json", "--seed", "5").stdout)
    assert queued["folder"].startswith(str(tmp_path / "data" / "training"))
    assert list((tmp_path / "data" / "queue" / "messages").iterdir()), "a worker was told"
    status = run("--status", queued["id"])
    assert status.stdout == f"queued\n{queued['folder']}\n"
    told = json.loads(run("--status", queued["id"], "--json").stdout)
    assert (told["state"], told["model_version"]) == ("queued", None)


@pytest.mark.usefixtures("settings")
def test_the_status_of_nothing_is_refused():
    result = run("--status", "nothing")
    assert (result.exit_code, "There is no training" in result.stderr) == (66, True)


def test_cases_that_cannot_be_balanced_are_not_trained_on(tmp_path):
    result = run("--output", tmp_path / "out", "--arm", "mlp", "--balance", "sex, age")
    assert result.exit_code == 65
    assert "Insufficient evidence: expected two groups of 10 training cases or more by sex or age" in result.output
    assert not (tmp_path / "out" / "segmenter.json").exists()


def test_balance_asks_for_known_names(tmp_path):
    result = run("--output", tmp_path / "out", "--balance", "income")
    assert result.exit_code == 64
    assert "of sex, age, ethnicity, site, got income" in result.output


def test_a_balanced_model_says_so_on_its_card(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], phantoms=Phantoms(training=8, validation=1)))
    monkeypatch.setattr("federated.presets.BalanceSettings", partial(BalanceSettings, minimum_group=2))
    how = ("--balance", "sex", "--balance-solver", "reweighing", "--max-gap", "0.1")
    result = run("--output", tmp_path / "out", "--arm", "mlp", *how)
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "out" / "segmenter.json").read_text())["training"]
    assert card["operating_point"] == {"attribute": "sex", "bound": 0.1, "outcome": "insufficient evidence"}
    balance = card["balance"]
    assert balance["settings"]["solver"] == "reweighing"
    assert balance["cases"] == 8
    assert balance["attributes"]["sex"]["after"]["cramers_v"] < 1e-6
