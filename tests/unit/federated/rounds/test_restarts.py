"""Kills at any moment: no finished round is lost, no budget is charged twice, no update exists in two versions."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from federated.errors import QuorumError
from federated.rounds.messages import Stage
from federated.rounds.run_folder import RunFolder
from federated.rounds.terms import Aggregation, Privacy
from tests.fakes.whole_federation import Federation, Fuse, KilledError, expected_weights

PRIVATE = Privacy(record_noise=1.0, record_epsilon=1.0)
few = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def private_federation(folder, **plan):
    federation = Federation(folder, privacy=PRIVATE, **plan)
    for site in federation.sites.values():
        site.worker.epsilon = 0.25
    return federation


def check(federation, rounds):
    found = RunFolder(federation.folder).latest("run-1")
    assert [event["round"] for event in found.history] == list(range(1, rounds + 1))
    expected = expected_weights(federation, found.history)
    for name in expected:
        np.testing.assert_allclose(found.state.weights[name], expected[name], atol=1e-5)
    for site in federation.sites.values():
        assert site.records.charged == rounds, "each round is charged once"
        assert not [key for key in site.records.kept if key.endswith(("session", "update"))], "no secrets are left"


@few
@example(moment=1)
@example(moment=60)
@given(moment=st.integers(2, 75))
def test_a_coordinator_killed_at_any_moment_goes_on_with_the_same_run(tmp_path_factory, moment):
    """A moment is any event, record or question of two rounds."""
    federation = private_federation(tmp_path_factory.mktemp("run"))
    with pytest.raises(KilledError):
        federation.run(Fuse(moment))
    before = len(federation.finished())
    federation.transport.heap.clear()
    summary = federation.run()
    assert summary.rounds_finished == 2
    assert federation.told("run-started")[-1]["resumed_at_round"] >= before
    check(federation, 2)


@few
@given(moment=st.integers(0, 40), rule=st.sampled_from(["masked", "mean"]))
def test_a_site_killed_between_any_two_writes_stays_in_the_round(tmp_path_factory, moment, rule):
    aggregation = Aggregation(rule=rule)
    federation = private_federation(tmp_path_factory.mktemp("run"), rounds=2, aggregation=aggregation)
    federation.sites["site-02"].records.fuse = Fuse(moment)
    federation.run()
    assert [event["dropped"] for event in federation.finished()] == [[], []]
    check(federation, 2)


def test_an_update_that_has_left_is_sent_again_and_never_made_again(tmp_path):
    federation = private_federation(tmp_path / "run", rounds=1, aggregation=Aggregation(rule="mean"))
    site = federation.sites["site-01"]
    site.worker.spoil = lambda update: update + np.random.default_rng().normal(size=update.shape).astype(np.float32)
    federation.run_until(lambda event: event.get("stage") == "train" and event.get("state") == "done")
    first = [left for left in site.records.departures if left[2] is Stage.TRAIN]
    federation.run()
    assert [left for left in site.records.departures if left[2] is Stage.TRAIN] == first
    assert len(federation.told("round-started")) == 2
    assert site.records.charged == 1


def test_the_sum_of_a_round_opens_after_the_coordinator_died_while_it_was_opened(tmp_path):
    federation = private_federation(tmp_path / "run", rounds=1)
    federation.run_until(lambda event: event.get("stage") == "unmask" and event.get("state") == "done")
    federation.run()
    assert len(federation.told("round-started")) == 1, "there is no second attempt of a round that sites helped to open"
    check(federation, 1)


def test_a_sum_that_too_few_help_to_open_opens_when_they_are_back(tmp_path):
    federation = private_federation(tmp_path / "run", rounds=1)

    def kill_two(event):
        if event.get("stage") == "unmask" and event["state"] == "asked":
            federation.sites["site-01"].is_dead = federation.sites["site-02"].is_dead = True

    federation.on_event = kill_two
    with pytest.raises(QuorumError, match=r"Round 1 of run run-1 failed 2 times.*site-01 \(lost\): it did not answer"):
        federation.run()
    federation.on_event = lambda event: None
    for site in federation.sites.values():
        site.is_dead = False
    assert federation.run().rounds_finished == 1
    check(federation, 1)


def test_a_new_run_leaves_nothing_of_the_old_one_but_what_protects_it(tmp_path):
    federation = private_federation(tmp_path / "old", rounds=1)
    federation.run_until(lambda event: event.get("stage") == "train" and event.get("state") == "done")
    old = Federation(tmp_path / "new", rounds=1, run="run-2")
    old.sites, old.transport.sites, old.clock = federation.sites, federation.sites, federation.clock
    old.transport.clock = federation.clock
    old.run()
    for site in federation.sites.values():
        assert len([key for key in site.records.kept if key.startswith("run/")]) == 2
        assert not [key for key in site.records.kept if key.endswith(("session", "update"))]
    with pytest.raises(QuorumError, match="its update of that round has left and is not kept any more"):
        federation.run()
