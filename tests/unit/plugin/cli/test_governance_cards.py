"""`qfl governance card`: of a model's folder, of a federated run, with and without a site's records."""

import html
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugin.adapters import sql_engine
from plugin.bootstrap.governance import build_governance
from plugin.cli import main
from plugin.services.governance.cards import card_html, read_cards
from plugin.settings import PACKAGED_MODEL, load_settings
from tests.fakes.run_events import run_events

SHIPPED = json.loads((PACKAGED_MODEL / "segmenter.json").read_text())


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("QFL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("segmenter.json", "segmenter.safetensors"):
        shutil.copy(PACKAGED_MODEL / name, folder)
    return folder


def card(*words):
    return CliRunner().invoke(main, ["governance", "card", *map(str, words)], catch_exceptions=False)


def test_the_installed_model_has_a_card_without_any_site(tmp_path):
    found = card("--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)["card"]
    assert document["version"] == SHIPPED["version"]
    assert document["release"]["state"].startswith("not known")
    assert "No site is configured" in found.stderr


@pytest.mark.parametrize("form", ["html", "json", "markdown", "xml"])
def test_files_are_written_in_every_format(model, tmp_path, form):
    found = card("--model", model, "--out", tmp_path / "cards", "--format", form)
    assert found.exit_code == 0
    (path,) = (tmp_path / "cards").iterdir()
    assert SHIPPED["version"][:12] in path.name
    text = html.unescape(path.read_text())
    assert SHIPPED["version"] in text
    assert "Research use only" in text
    assert str(path) in found.stdout


def test_a_changed_model_gets_no_card(model):
    weights = bytearray((model / "segmenter.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "segmenter.safetensors").write_bytes(weights)
    found = card("--model", model)
    assert found.exit_code == 65
    assert "the files were changed" in found.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("segmenter.json", "[]", id="no object"),
        pytest.param("segmenter.json", "{", id="no JSON"),
        pytest.param("segmenter.json", "{}", id="empty"),
        pytest.param("segmenter-evaluation.json", "[1]", id="evaluation of another kind"),
        pytest.param("segmenter-audit.json", "{}", id="damaged audit"),
    ],
)
def test_damaged_files_are_one_line(model, name, content):
    (model / name).write_text(content)
    found = card("--model", model)
    assert found.exit_code == 65
    assert len([line for line in found.stderr.splitlines() if line.startswith("qfl: ")]) == 1


def test_a_folder_with_neither_is_refused(tmp_path):
    found = card("--model", tmp_path)
    assert found.exit_code == 65
    assert "found neither" in found.stderr


def test_each_round_of_a_federated_run_has_a_card(tmp_path):
    run = tmp_path / "run-1"
    run.mkdir()
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in run_events(rounds=3)))
    found = card("--model", run, "--out", tmp_path / "cards", "--format", "json", "--json")
    written = json.loads(found.stdout)
    models = [event["model"] for event in run_events(rounds=3) if event["event"] == "round-finished"]
    assert [each["version"] for each in written] == models
    assert "epsilon" in json.loads(Path(written[-1]["file"]).read_text())["card"]["privacy"]
    assert card("--model", run).stdout.count("round 3") >= 1


def test_a_run_without_a_finished_round_has_no_card(tmp_path):
    (tmp_path / "events.jsonl").write_text(json.dumps(run_events(rounds=2, finished=0)[0]) + "\n")
    assert "no round of this run is finished" in card("--model", tmp_path).stderr


def test_a_site_tells_the_state_of_release_and_the_html_escapes(tmp_path, monkeypatch, model):
    from plugin.services.governance.values import ModelState, ModelStatus

    for name, value in {
        "QFL_DATA_DIR": str(tmp_path / "site"),
        "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
        "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
        "QFL_MODEL_DIR": str(model),
    }.items():
        monkeypatch.setenv(name, value)
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/site/qfl.db")
    sql_engine.migrate(engine)
    engine.dispose()
    desk = build_governance(load_settings())
    status = ModelStatus(
        SHIPPED["version"], ModelState.HALTED, "bias", "Bias <b>0.2</b>.", None, datetime(2026, 11, 30, tzinfo=UTC)
    )
    desk.store.set_model_status(status, was=None, entries=[])
    (made,) = read_cards(model, desk)
    assert (made.release.state, made.release.since) == ("halted", "2026-11-30")
    page = card_html(desk, model)
    assert "Bias &lt;b&gt;0.2&lt;/b&gt;." in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "halted since 2026-11-30" in card("--format", "markdown").stdout


def test_a_card_needs_no_torch(model):
    """The web process shows it."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from plugin.services.governance.cards import read_cards, render;"
        "render(read_cards(Path(sys.argv[1]))[0], 'html'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(model)], check=False, timeout=60).returncode == 0
