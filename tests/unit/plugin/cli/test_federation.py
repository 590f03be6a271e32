"""`qfl federation`: what is asked for becomes a plan, and faults are one line with an exit code."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from federated.model_file import load_model
from federated.rounds.plan import parse_plan
from plugin.cli import main
from plugin.services.federation import keep_plan, run_folder
from plugin.services.federation_kits import make_all
from plugin.services.site_agent import Health
from plugin.settings import PACKAGED_STARTS
from tests.fakes.round_terms import example_plan

SITES = ["site-01", "site-02", "site-03"]


def run(*arguments):
    result = CliRunner().invoke(main, ["federation", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("federation"), SITES, name="north").coordinator


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("QFL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("QFL_FHIR_URL", "http://127.0.0.1:9/fhir")
    monkeypatch.setenv("QFL_ARCHIVE_URL", "http://127.0.0.1:9/dicom-web")
    return tmp_path


@pytest.mark.parametrize("command", ["up", "agent", "coordinator", "plan", "status", "health"])
def test_every_command_explains_itself(command):
    code, output = run(command, "--help")
    assert code == 0
    assert "Usage:" in output


def test_help_loads_neither_torch_nor_the_engine():
    script = (
        "import sys, plugin.cli.federation;"
        "print([m for m in ('torch', 'flwr', 'celery', 'sqlalchemy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


class TestPlan:
    def make(self, coordinator, *options):
        code, output = run("plan", coordinator, "--run", "spring", "--no-privacy", *options)
        assert code == 0, output
        return parse_plan(output)

    def test_all_sites_of_the_roster_take_part(self, coordinator):
        plan = self.make(coordinator)
        assert (plan.federation, plan.run, plan.sites) == ("north", "spring", tuple(SITES))

    def test_what_is_asked_for_is_in_it(self, coordinator):
        options = ["--rounds", "7", "--strategy", "fedprox", "--steps", "3", "--seed", "5", "--head-only"]
        plan = self.make(coordinator, *options, "--minimum-cases", "9", "--quorum", "3", "--compression", "quantised")
        assert (plan.rounds, plan.minimum_cases, plan.quorum) == (7, 9, 3)
        assert (plan.learning.strategy, plan.learning.steps, plan.learning.seed) == ("fedprox", 3, 5)
        assert (plan.learning.trainable, plan.aggregation.compression) == ("head", "quantised")

    def test_masking_is_on_unless_it_is_turned_off(self, coordinator):
        assert self.make(coordinator).aggregation.rule == "masked"
        assert self.make(coordinator, "--no-masking").aggregation.rule == "mean"
        assert self.make(coordinator, "--rule", "median").aggregation.rule == "median"

    def test_privacy_is_on_unless_it_is_turned_off(self, coordinator):
        code, output = run("plan", coordinator, "--run", "spring")
        assert code == 0
        assert parse_plan(output).privacy.record_noise > 0

    def test_with_noise_the_head_of_the_shipped_model_is_trained_unless_told(self, coordinator):
        def learns(*options):
            code, output = run("plan", coordinator, "--run", "spring", *options)
            assert code == 0, output
            plan = parse_plan(output)
            return plan.learning.trainable, plan.model

        assert learns() == ("head", str(PACKAGED_STARTS["tiny"]))
        load_model(PACKAGED_STARTS["tiny"])
        assert learns("--fresh") == ("all", "")
        assert learns("--no-privacy") == ("all", "")
        assert learns("--preset", "phantom") == ("all", "")
        assert learns("--model", "/models/own") == ("all", "/models/own")

    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            pytest.param(["--fresh", "--model", "x"], 2, "contradict", id="start"),
            pytest.param(["--no-privacy", "--strategy", "magic"], 65, "Expected one of fedavg", id="strategy"),
            pytest.param(["--no-privacy", "--epsilon", "3"], 2, "contradict", id="privacy"),
            pytest.param(["--no-privacy", "--quorum", "9"], 65, "Expected a quorum", id="quorum"),
            pytest.param(["--no-privacy", "--rounds", "0"], 2, "--rounds", id="rounds"),
        ],
    )
    def test_what_cannot_be_is_told_in_one_line(self, coordinator, options, code, message):
        found, output = run("plan", coordinator, "--run", "spring", *options)
        assert (found, message in output) == (code, True), output

    def test_a_folder_that_is_no_coordinator_s_is_refused(self, tmp_path):
        code, output = run("plan", tmp_path, "--run", "spring")
        assert code == 65
        assert output.startswith("qfl: ")


class TestStatus:
    def test_tells_each_run(self, tmp_path):
        keep_plan(tmp_path, example_plan())
        events = [{"event": "run-started", "run": "run-1", "sites": SITES, "secure_aggregation": True}]
        rounds = {
            "event": "round-finished",
            "round": 1,
            "model": "m",
            "sites": {},
            "bytes_sent": 1,
            "bytes_received": 2,
            "seconds": 3.0,
        }
        lines = [json.dumps(event) for event in [*events, {**rounds, "engine_overhead_s": 1.0}]]
        (run_folder(tmp_path, "run-1") / "events.jsonl").write_text("\n".join(lines) + "\n")
        code, output = run("status", tmp_path, "--json")
        found = json.loads(output)
        assert code == 0
        assert (found["run"], found["rounds_finished"], found["reason"]) == ("run-1", 1, "not finished")
        assert run("status", tmp_path)[1].startswith("run-1: 1 round")


class TestHealth:
    def test_an_agent_that_never_ran_is_not_well(self, site):
        code, output = run("health")
        assert (code, "does not live" in output) == (1, True)

    def test_a_living_agent_is_well(self, site):
        Health(site / "rounds" / "agent.json", lambda: datetime.now(UTC)).beat()
        assert run("health", "--json")[0] == 0

    def test_a_silent_agent_is_not(self, site):
        Health(site / "rounds" / "agent.json", lambda: datetime.now(UTC) - timedelta(minutes=5)).beat()
        code, output = run("health", "--json")
        assert (code, json.loads(output)["alive"]) == (1, False)


def test_an_agent_without_a_federation_says_what_to_do(site):
    code, output = run("agent")
    assert code == 65
    assert output.startswith("qfl: ")


def test_a_coordinator_without_a_run_says_what_to_do(coordinator):
    code, output = run("coordinator", "--folder", coordinator)
    assert (code, "--run" in output) == (69, True), output
