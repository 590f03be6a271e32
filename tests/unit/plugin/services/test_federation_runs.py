"""Which runs a coordinator has, and where each is, kept up to date."""

import os

import pytest

from federated.rounds.progress import fold
from plugin.errors import RunNotFoundError
from plugin.services.federation_runs import RunViews, coordinator_folder, find_run
from tests.fakes.run_events import append, run_events, write_run


@pytest.fixture
def coordinator(tmp_path):
    for number in (1, 2):
        folder = write_run(tmp_path / "coordinator", run_events(run=f"run-{number}"), f"run-{number}")
        os.utime(folder / "plan.json", (number, number))
    return tmp_path / "coordinator"


def test_the_newest_run_is_first_and_meant_without_an_id(coordinator):
    assert RunViews(coordinator).names() == ["run-2", "run-1"]
    assert find_run(coordinator, None).name == "run-2"


def test_the_folder_of_a_federation_on_one_machine_will_do(coordinator):
    assert coordinator_folder(coordinator.parent) == coordinator
    assert coordinator_folder(coordinator) == coordinator


@pytest.mark.parametrize("run", ["run-3", "", "..", "../runs/run-1", "run-1/rounds", "run-1\0", "."])
def test_an_id_leads_nowhere_else(coordinator, run):
    with pytest.raises(RunNotFoundError):
        find_run(coordinator, run)
    with pytest.raises(RunNotFoundError):
        RunViews(coordinator).view(run)


def test_a_folder_without_runs_says_so(tmp_path):
    with pytest.raises(RunNotFoundError, match="it has: none"):
        find_run(tmp_path, None)


def test_a_view_follows_its_file(tmp_path):
    events = run_events(finished=2)
    folder = write_run(tmp_path, events[:20])
    runs = RunViews(tmp_path)
    assert runs.view("run-1")[0] == fold(events[:20])
    append(folder, events[20:])
    view, offset = runs.view("run-1")
    assert view == fold(events)
    assert offset == (folder / "events.jsonl").stat().st_size


@pytest.mark.parametrize("in_place", [True, False])
def test_another_file_of_the_same_name_is_read_from_its_beginning(tmp_path, in_place):
    folder = write_run(tmp_path, run_events())
    runs = RunViews(tmp_path)
    runs.view("run-1")
    if in_place:
        (folder / "events.jsonl").write_text("")
    else:
        (folder / "events.jsonl").rename(folder / "old.jsonl")
    append(folder, run_events(finished=1))
    assert runs.view("run-1")[0] == fold(run_events(finished=1))
