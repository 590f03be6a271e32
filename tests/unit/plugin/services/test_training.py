"""Trainings: each ends in a state with a reason, none is trained twice at a time, none is forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from federated.augmentation import Augmentation
from federated.errors import TrainingDataError, TrainingSettingsError
from federated.inference import load_segmenter
from federated.presets import PRESETS, Phantoms, Preset
from federated.training import Started, Stepped
from federated.training_request import TrainingRequest
from federated.training_settings import TrainingSettings
from plugin.errors import TrainingBusyError, TrainingNotFoundError, TrainingRunError
from plugin.services import training
from plugin.services.training import NobodyWatches
from plugin.services.training_runs import RunState
from tests.fakes.training_store import InMemoryTrainingStore
from tests.fakes.whole_hospital import WholeHospital

REQUEST = TrainingRequest("quick", device="cpu")


@pytest.fixture(autouse=True)
def _quick_preset(monkeypatch):
    settings = TrainingSettings(
        steps=3,
        batch=1,
        patch=(24, 32, 24),
        validate_every=2,
        threads=1,
        augmentation=Augmentation(spacing_mm=8.0),
    )
    quick = Preset("for tests", settings, spacing_mm=8.0, narrowing=6, phantoms=Phantoms(training=1, validation=1))
    monkeypatch.setitem(PRESETS, "quick", quick)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hospital(tmp_path):
    hospital = WholeHospital()
    hospital.services = replace(hospital.services, trainings=InMemoryTrainingStore(tmp_path))
    return hospital


class StopsAt(NobodyWatches):
    """Presses Ctrl-C after a step."""

    def __init__(self, step):
        self._step = step

    def event(self, event):
        if isinstance(event, Stepped) and event.step == self._step:
            raise KeyboardInterrupt


class Remembers(NobodyWatches):
    def __init__(self):
        self.seen = []

    def gathered(self, ready, total):
        self.seen.append((ready, total))

    def event(self, event):
        self.seen.append(event)


def train_here(hospital, run_id="run", request=REQUEST, watcher=None):
    store = hospital.services.trainings
    return training.run_here(store, run_id, request, hospital.clock, watcher or NobodyWatches())


def test_a_run_makes_a_model_that_can_be_used(hospital):
    watcher = Remembers()
    run = train_here(hospital, watcher=watcher)
    assert (run.state, run.step, run.steps, run.reason) == (RunState.DONE, 3, 3, "")
    assert hospital.services.trainings.get("run") == run
    folder = hospital.services.trainings.folder("run")
    assert load_segmenter(folder).identity.version == run.model_version
    assert {path.name for path in folder.iterdir()} >= {"training-log.jsonl", "curves.png", "checkpoints"}
    assert watcher.seen[:3] == [(0, 2), (1, 2), (2, 2)]
    assert isinstance(watcher.seen[3], Started)


def test_a_stopped_run_goes_on_to_the_same_model(hospital):
    with pytest.raises(KeyboardInterrupt):
        train_here(hospital, "stopped", watcher=StopsAt(1))
    stopped = hospital.services.trainings.get("stopped")
    assert (stopped.state, stopped.reason) == (RunState.STOPPED, "Stopped by hand at step 1.")
    watcher = Remembers()
    resumed = train_here(hospital, "stopped", request=None, watcher=watcher)
    assert watcher.seen[3].step == 1
    assert resumed.model_version == train_here(hospital, "whole").model_version


def test_a_new_run_does_not_take_the_folder_of_another(hospital):
    train_here(hospital)
    with pytest.raises(TrainingRunError, match="holds a training that is done at step 3; go on with --resume"):
        train_here(hospital)


def test_there_must_be_something_to_go_on_with(hospital):
    with pytest.raises(TrainingNotFoundError, match="no training 'run'"):
        train_here(hospital, request=None)


def test_a_run_that_another_process_holds_is_left_alone(hospital):
    with hospital.services.trainings.hold("run"), pytest.raises(TrainingBusyError, match="another process"):
        train_here(hospital)


def test_a_failed_run_keeps_its_reason(hospital):
    with pytest.raises(TrainingDataError):
        train_here(hospital, request=replace(REQUEST, held_out=("nobody",)))
    run = hospital.services.trainings.get("run")
    assert run.state is RunState.FAILED
    assert "Expected a folder of cases" in run.reason


def test_an_unforeseen_fault_is_named_without_its_text(hospital, monkeypatch):
    def fall_over(*_):
        raise RuntimeError("Meier^Anna")

    monkeypatch.setattr("federated.presets.gather", fall_over)
    with pytest.raises(RuntimeError):
        train_here(hospital)
    run = hospital.services.trainings.get("run")
    assert run.state is RunState.FAILED
    assert "RuntimeError" in run.reason
    assert "Meier" not in run.reason


def work(hospital):
    """Be the worker of the training queue."""
    while hospital.queue.hints:
        _, run_id = hospital.queue.hints.popleft()
        training.continue_run(hospital.services, run_id)


def test_a_submitted_run_is_trained_by_a_worker(hospital):
    run_id = training.submit(hospital.services, REQUEST)
    assert training.get_run(hospital.services.trainings, run_id).state is RunState.QUEUED
    work(hospital)
    assert training.get_run(hospital.services.trainings, run_id).state is RunState.DONE


def test_a_message_that_comes_twice_is_harmless(hospital):
    run_id = training.submit(hospital.services, REQUEST)
    hospital.queue.train(run_id)
    with hospital.services.trainings.hold(run_id):
        training.continue_run(hospital.services, run_id)
        assert training.get_run(hospital.services.trainings, run_id).state is RunState.QUEUED, "another one is at it"
    work(hospital)
    done = training.get_run(hospital.services.trainings, run_id)
    training.continue_run(hospital.services, run_id)
    assert training.get_run(hospital.services.trainings, run_id) == done


def test_what_cannot_be_trained_is_refused_before_it_is_queued(hospital):
    with pytest.raises(TrainingSettingsError, match="Expected a preset"):
        training.submit(hospital.services, TrainingRequest("huge"))
    assert not hospital.queue.hints


def test_a_folder_that_is_named_from_here_is_found_by_the_worker(hospital, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_id = training.submit(hospital.services, replace(REQUEST, data="cases"))
    assert hospital.services.trainings.get(run_id).request.data == str(tmp_path / "cases")
    work(hospital)
    failed = hospital.services.trainings.get(run_id)
    assert failed.state is RunState.FAILED
    assert str(tmp_path / "cases") in failed.reason


def test_a_lost_message_is_found_by_the_timer(hospital):
    hospital.queue.lossy = True
    run_id = training.submit(hospital.services, REQUEST)
    assert training.find_stalled(hospital.services) == [], "it was hinted at a moment ago"
    hospital.clock.advance(timedelta(minutes=2))
    with hospital.services.trainings.hold(run_id):
        assert training.find_stalled(hospital.services) == [], "a living worker is at it"
    assert training.find_stalled(hospital.services) == [run_id]
    assert training.find_stalled(hospital.services) == []


def test_a_run_that_kills_its_workers_fails_at_last(hospital):
    store = hospital.services.trainings
    run_id = training.submit(hospital.services, REQUEST)
    limit = hospital.services.site.max_attempts
    # Each worker died after it had claimed the run, and none got further than the one before.
    store.put(replace(store.get(run_id), state=RunState.RUNNING, attempt=limit, step=2, reached=2))
    work(hospital)
    run = store.get(run_id)
    assert run.state is RunState.FAILED
    assert "lost 3 times at step 2" in run.reason


def test_a_run_that_gets_further_may_lose_any_number_of_workers(hospital):
    store = hospital.services.trainings
    run_id = training.submit(hospital.services, REQUEST)
    store.put(replace(store.get(run_id), state=RunState.RUNNING, attempt=99, step=2, reached=1))
    work(hospital)
    assert store.get(run_id).state is RunState.DONE
