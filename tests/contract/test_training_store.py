"""What every TrainingStore does; the folder on disk is the real one."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from federated.training_request import TrainingRequest
from plugin.adapters.training_folder import TrainingFolder
from plugin.errors import TrainingRunError
from plugin.services.training_runs import RunState, TrainingRun
from tests.fakes.training_store import InMemoryTrainingStore

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def run(run_id="abc", **changes):
    request = TrainingRequest("tiny", steps=4, held_out=("a", "b"))
    return replace(TrainingRun(run_id, request, created_at=NOW, updated_at=NOW), **changes)


@pytest.fixture(params=[TrainingFolder, InMemoryTrainingStore], ids=["folder", "memory"])
def store(request, tmp_path):
    return request.param(tmp_path)


def test_gives_back_what_was_put(store):
    full = run(
        state=RunState.FAILED,
        reason="The loss went away: é.",
        step=3,
        steps=4,
        loss=1 / 3,
        learning_rate=1e-3,
        dice={"whole-tumour": 0.5},
        remaining_s=2.5,
        model_version="f" * 64,
        hinted_at=NOW,
    )
    for each in (run(), full):
        store.put(each)
        assert store.get("abc") == each


def test_knows_no_other_run(store):
    assert store.get("abc") is None


def test_lists_the_open_runs_oldest_first(store):
    store.put(run("new", created_at=NOW + timedelta(hours=1), state=RunState.RUNNING))
    store.put(run("old"))
    for state in (RunState.DONE, RunState.FAILED, RunState.STOPPED):
        store.put(run(state, state=state))
    assert [each.id for each in store.list_open()] == ["old", "new"]


def test_a_run_is_held_once_at_a_time(store):
    with store.hold("abc") as first, store.hold("abc") as second, store.hold("other") as other:
        assert (first, second, other) == (True, False, True)
    with store.hold("abc") as again:
        assert again


def test_each_run_has_a_folder_of_its_own(store):
    (store.folder("abc") / "file").write_text("x")
    assert not list(store.folder("other").iterdir())


class TestFolder:
    def test_a_process_that_is_killed_holds_nothing(self, tmp_path):
        script = (
            "import pathlib, sys, time\n"
            "from plugin.adapters.training_folder import TrainingFolder\n"
            f"with TrainingFolder(pathlib.Path({str(tmp_path)!r})).hold('abc') as held:\n"
            "    print(held, flush=True)\n"
            "    time.sleep(99)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        store = TrainingFolder(tmp_path)
        with store.hold("abc") as held:
            assert not held
        process.kill()
        process.wait(20)
        process.stdout.close()
        with store.hold("abc") as held:
            assert held

    @pytest.mark.parametrize("run_id", ["", ".", "..", "a/b", "../abc", "/etc"])
    def test_an_id_is_no_way_to_another_folder(self, tmp_path, run_id):
        with pytest.raises(TrainingRunError, match="Expected the id of a training"):
            TrainingFolder(tmp_path).get(run_id)

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda _: "", id="empty"),
            pytest.param(lambda _: "[]", id="no object"),
            pytest.param(lambda text: text[:50], id="cut short"),
            pytest.param(lambda text: text.replace('"queued"', '"asleep"'), id="unknown state"),
            pytest.param(lambda text: text.replace('"steps": 4', '"steps": "four"', 1), id="request"),
            pytest.param(lambda text: json.dumps({**json.loads(text), "extra": 1}), id="unknown field"),
        ],
    )
    def test_a_damaged_record_is_told_and_does_not_hide_the_others(self, tmp_path, damage):
        store = TrainingFolder(tmp_path)
        store.put(run())
        store.put(run("good"))
        path = tmp_path / "abc" / "run.json"
        path.write_text(damage(path.read_text()))
        with pytest.raises(TrainingRunError, match="is not the record of a training"):
            store.get("abc")
        assert [each.id for each in store.list_open()] == ["good"]

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(TrainingRunError, match="cannot be made"):
            TrainingFolder(tmp_path / "file").folder("abc")
