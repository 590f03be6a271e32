"""The coordinator brings a run to its end, whatever dies on the way; and knows when it cannot."""

import json

import pytest

from federated.errors import EngineError, TermsError
from plugin.errors import FederationRunError
from plugin.services.federation import AppState, coordinate, ended, keep_plan, open_runs, read_plan, run_folder
from plugin.services.federation_plan import RunRequest, make_plan
from tests.fakes.round_terms import example_plan

PLAN = example_plan()
DONE = {"event": "run-finished", "reason": "done"}


class ScriptedEngine:
    """Each app that is submitted writes the next events of a script, and is over."""

    def __init__(self, run, *script):
        self.run, self.script, self.apps, self.admitted, self.ended = run, list(script), 0, [], []
        self.faults = 0

    def keep_running(self):
        return False

    def admit(self, node_keys):
        self.admitted.append(dict(node_keys))

    def submit(self, plan):
        assert plan == self.run / "plan.json"
        with (self.run / "events.jsonl").open("a") as file:
            for event in self.script[self.apps]:
                file.write(json.dumps(event) + "\n")
        self.apps += 1
        return self.apps

    def state(self, app):
        if self.faults:
            self.faults -= 1
            raise EngineError("The engine does not answer.")
        return AppState(is_over=True, details="killed")

    def end(self, app):
        self.ended.append(app)


def finished(number):
    return {"event": "round-finished", "round": number}


def bring_to_its_end(folder, *script, stops=lambda: False, keys=lambda: {"site-01": b"pem"}):
    engine = ScriptedEngine(run_folder(folder, "run-1"), *script)
    return engine, lambda: coordinate(engine, folder, PLAN, keys, stops, sleep=lambda _: None)


def test_a_run_goes_to_its_end(tmp_path):
    engine, run = bring_to_its_end(tmp_path, [finished(1), finished(2), DONE])
    assert run() == DONE
    assert engine.admitted == [{"site-01": b"pem"}]
    assert read_plan(tmp_path, "run-1") == PLAN


def test_an_app_that_died_is_started_again(tmp_path):
    engine, run = bring_to_its_end(tmp_path, [finished(1)], [finished(2), DONE])
    assert run() == DONE
    assert engine.apps == 2


def test_an_app_that_gets_no_further_is_given_up(tmp_path):
    _, run = bring_to_its_end(tmp_path, *[[]] * 7)
    with pytest.raises(FederationRunError, match="ended 6 times"):
        run()


def test_each_finished_round_gives_new_patience(tmp_path):
    script = [[], [], [], [], [finished(1)], [], [], [], [], [finished(2), DONE]]
    engine, run = bring_to_its_end(tmp_path, *script)
    assert run() == DONE
    assert engine.apps == len(script)


def test_an_engine_that_is_silent_for_a_while_is_waited_for(tmp_path):
    engine, run = bring_to_its_end(tmp_path, [DONE])
    engine.faults = 3
    assert run() == DONE


def test_a_run_that_is_done_is_not_begun_again(tmp_path):
    _, run = bring_to_its_end(tmp_path, [finished(1), DONE])
    run()
    engine, again = bring_to_its_end(tmp_path)
    assert again() == DONE
    assert engine.apps == 0
    assert open_runs(tmp_path) == []


def test_a_run_that_failed_can_be_gone_on_with(tmp_path):
    failed = {"event": "run-finished", "reason": "Expected 2 sites, got 1."}
    _, run = bring_to_its_end(tmp_path, [failed])
    assert run() == failed
    assert open_runs(tmp_path) == ["run-1"]
    _, again = bring_to_its_end(tmp_path, [{"event": "run-started"}, DONE])
    assert again() == DONE


def test_told_to_stop_it_ends_the_app_and_the_run_stays_open(tmp_path):
    engine, run = bring_to_its_end(tmp_path, [finished(1)], stops=lambda: True)
    assert run() is None
    assert engine.ended == [1]
    assert open_runs(tmp_path) == ["run-1"]
    assert ended(run_folder(tmp_path, "run-1")) is None


def test_sites_that_are_admitted_meanwhile_may_connect(tmp_path):
    rosters = iter([{"site-01": b"1"}, {"site-01": b"1", "site-02": b"2"}])
    engine, run = bring_to_its_end(tmp_path, [DONE], keys=lambda: next(rosters))
    run()
    assert engine.admitted[-1] == {"site-01": b"1", "site-02": b"2"}


def test_a_run_keeps_the_plan_that_it_began_with(tmp_path):
    keep_plan(tmp_path, PLAN)
    with pytest.raises(FederationRunError, match="another plan"):
        keep_plan(tmp_path, example_plan(rounds=3))


def test_a_run_that_nobody_planned_is_no_run(tmp_path):
    with pytest.raises(FederationRunError, match="there is none"):
        read_plan(tmp_path, "run-2")


class TestPlan:
    def make(self, sites=10, **wanted):
        names = [f"site-{number:02d}" for number in range(1, sites + 1)]
        return make_plan(RunRequest(**wanted), federation="test", run="run-1", sites=names, app="a" * 64)

    def test_more_than_half_of_the_sites_are_enough(self):
        plan = self.make()
        assert (plan.quorum, plan.aggregation.threshold) == (6, 6)

    def test_epsilon_of_run_and_round_are_within_what_policies_allow_first(self):
        from federated.privacy.accounting import epsilon

        for rounds in (1, 10):
            plan = self.make(rounds=rounds)
            rate = plan.learning.batch / plan.minimum_cases
            whole = epsilon(plan.privacy.record_noise, rate, plan.learning.steps * rounds, plan.privacy.delta)
            assert whole <= 8
            assert plan.privacy.record_epsilon <= 2

    def test_without_privacy_there_is_no_noise(self):
        assert self.make(epsilon=None).privacy.record_noise == 0

    @pytest.mark.parametrize(
        "wanted",
        [
            pytest.param({"strategy": "fedmagic"}, id="strategy"),
            pytest.param({"preset": "huge"}, id="preset"),
            pytest.param({"rule": "maskless"}, id="rule"),
            pytest.param({"rounds": 0}, id="rounds"),
        ],
    )
    def test_what_nobody_knows_is_refused(self, wanted):
        with pytest.raises(TermsError):
            self.make(epsilon=None, **wanted)
