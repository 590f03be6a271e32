"""One machine's federation: everything is started, kept running, and ended; the run's end is the end."""

import json
from pathlib import Path

import pytest

from plugin.errors import FederationProcessError, FederationRunError, SettingsError
from plugin.services.federation_kits import Provisioned
from plugin.services.federation_plan import RunRequest, make_plan
from plugin.services.local_federation import (
    COORDINATOR,
    LocalFederation,
    allow,
    choose_folder,
    fitting_policy,
    keep_options,
    kept_options,
    provision,
)
from plugin.services.local_run import Death, see_through
from plugin.services.site_policy import parse_policy


class ScriptedChildren:
    """Children whose deaths a test says, one list a look."""

    def __init__(self, folder, *deaths):
        self.folder, self.deaths, self.started, self.is_stopped = folder, list(deaths), [], False

    def start(self, process):
        self.started.append(process)
        return len(self.started)

    def tend(self):
        found = self.deaths.pop(0) if self.deaths else []
        for death in found:
            if isinstance(death, dict):
                with (self.folder / "run" / "events.jsonl").open("a") as file:
                    file.write(json.dumps(death) + "\n")
        return [death for death in found if isinstance(death, Death)]

    def pid(self, name):
        return 7

    def log(self, name):
        return self.folder / f"{name}.log"

    def stop(self):
        self.is_stopped = True


@pytest.fixture
def federation(tmp_path):
    (tmp_path / "run").mkdir()

    sites = {name: tmp_path / name for name in ("site-01", "site-02")}
    return LocalFederation(tmp_path, Provisioned(tmp_path / "coordinator", sites), None, "")


@pytest.fixture
def run(federation, monkeypatch):
    monkeypatch.setattr("plugin.services.local_run._LOOK_S", 0)

    def start(*deaths, stops=lambda: False):
        children, sights = ScriptedChildren(federation.folder, *deaths), []
        plan = federation.folder / "run" / "plan.json"
        return children, sights, lambda: see_through(federation, plan, children, sights.append, stops)

    return start


DONE = {"event": "run-finished", "reason": "done"}


def gone(name=COORDINATOR, code=0):
    return Death(name, 7, code, 0.5)


def test_the_end_of_the_run_is_the_end_of_everything(run):
    children, sights, go = run([], [DONE, gone()])
    assert go() == DONE
    assert children.is_stopped
    names = [process.name for process in children.started]
    assert names == ["coordinator", "agent-site-01", "agent-site-02", "worker-site-01", "worker-site-02"]
    assert [event for sight in sights for event in sight.events] == [DONE]


def test_a_killed_site_is_seen_and_the_run_goes_on(run):
    _, sights, go = run([gone("worker-site-01", -9)], [DONE, gone()])
    assert go() == DONE
    assert sights[0].deaths == [gone("worker-site-01", -9)]


def test_a_killed_coordinator_is_no_end(run):
    _, _, go = run([gone(code=-9)], [DONE, gone()])
    assert go() == DONE


def test_a_coordinator_that_gives_up_is_told_with_its_log(run, federation):
    (federation.folder / "coordinator.log").write_text("qfl: Expected 2 sites, got 1.\n")
    children, _, go = run([gone(code=75)])
    with pytest.raises(FederationProcessError, match="Expected 2 sites"):
        go()
    assert children.is_stopped


def test_told_to_stop_it_ends_everything(run):
    children, _, go = run(stops=lambda: True)
    assert go() is None
    assert children.is_stopped


def test_each_site_has_its_own_environment(federation, monkeypatch):
    monkeypatch.setenv("QFL_FHIR_URL", "https://ehr.hospital.example/fhir")
    environment = federation.site_environment("site-02")
    assert environment["QFL_FEDERATION_COHORT"] == "phantom:site-02"
    assert environment["QFL_DATA_DIR"] == str(federation.folder / "site-02" / "data")
    assert "hospital.example" not in environment["QFL_FHIR_URL"], "nothing of a real installation leaks in"


def test_sites_on_one_redis_do_not_share_a_database(federation):
    both = LocalFederation(federation.folder, federation.provisioned, 4, "redis://127.0.0.1:6379/")
    assert [both.site_environment(site)["QFL_BROKER_URL"] for site in both.sites] == [
        "redis://127.0.0.1:6379/0",
        "redis://127.0.0.1:6379/1",
    ]
    assert both.site_environment("site-01")["QFL_FEDERATION_COHORT"] == "phantom:site-01:4"


@pytest.mark.parametrize(
    ("sites", "broker", "error"),
    [
        pytest.param(11, "", FederationRunError, id="too-many-sites"),
        pytest.param(0, "", FederationRunError, id="no-site"),
        pytest.param(3, "amqp://127.0.0.1", SettingsError, id="other-broker"),
        pytest.param(3, "redis://127.0.0.1/2", SettingsError, id="one-database"),
    ],
)
def test_what_cannot_be_provisioned_is_refused(tmp_path, sites, broker, error):
    with pytest.raises(error):
        provision(tmp_path, sites, cases=None, broker=broker)
    assert not list(Path(tmp_path).iterdir())


class TestFolder:
    def begun(self, folder):
        (folder / "coordinator" / "runs" / "run-1").mkdir(parents=True)
        (folder / "coordinator" / "runs" / "run-1" / "plan.json").write_text("{}")
        return folder

    def test_a_run_without_an_end_is_gone_on_with(self, tmp_path):
        assert choose_folder(tmp_path) == tmp_path / "trial-1"
        folder = self.begun(tmp_path / "trial-1")
        assert choose_folder(tmp_path) == folder

    def test_after_a_run_that_ended_there_are_new_sites(self, tmp_path):
        folder = self.begun(tmp_path / "trial-9")
        (folder / "coordinator" / "runs" / "run-1" / "events.jsonl").write_text(json.dumps(DONE) + "\n")
        assert choose_folder(tmp_path) == tmp_path / "trial-10"

    def test_what_was_asked_for_is_known_as_long_as_the_run_goes_on(self, tmp_path):
        keep_options(tmp_path, {"sites": 3, "cases": None})
        assert kept_options(tmp_path) is None
        self.begun(tmp_path)
        assert kept_options(tmp_path) == {"sites": 3, "cases": None}


class TestPolicy:
    def plan(self, sites=3, **wanted):
        names = [f"site-{number:02d}" for number in range(1, sites + 1)]
        request = RunRequest(rounds=2, **wanted)
        return make_plan(request, federation="local", run="run-1", sites=names, app="a" * 64)

    def test_masking_and_privacy_stay_required(self):
        policy = parse_policy(fitting_policy(self.plan()).encode())
        assert policy.privacy.required
        assert policy.rounds.aggregation == {"masked", "grouped-masked"}

    def test_what_the_plan_lacks_is_not_asked_for(self):
        policy = parse_policy(fitting_policy(self.plan(sites=2, rule="mean", epsilon=None, cases=3)).encode())
        assert not policy.privacy.required
        assert "mean" in policy.rounds.aggregation
        assert (policy.rounds.minimum_participants, policy.cohort.minimum_cases) == (2, 3)

    def test_a_policy_that_somebody_changed_stays(self, federation):
        for home in federation.provisioned.sites.values():
            home.mkdir()
        mine, other = (home / "policy.yaml" for home in federation.provisioned.sites.values())
        allow(federation, self.plan(sites=2, rule="mean"))
        mine.write_text(mine.read_text().replace("longest_hours: 24", "longest_hours: 1"))
        allow(federation, self.plan(sites=2, rule="median"))
        assert "[masked, grouped-masked, mean]" in mine.read_text()
        assert "[masked, grouped-masked, median]" in other.read_text()
