"""Whole runs in memory: what the coordinator ends up with is what the sites' updates come to, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federated.errors import QuorumError
from federated.rounds.run_folder import RunFolder
from federated.rounds.summary import describe_summary
from federated.rounds.terms import Aggregation, Learning, Privacy
from tests.fakes.whole_federation import QUICK, WEIGHTS, Federation, expected_weights, vector_of

MASKED_ERROR = 1e-5
"""Of a sum of a few numbers in a ring of 32 bits, at weights from 0.1 on."""
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def weights_of(federation):
    return RunFolder(federation.folder).latest("run-1").state.weights


def check_weights(federation, tolerance=MASKED_ERROR):
    found, expected = weights_of(federation), expected_weights(federation, federation.finished())
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance)


@pytest.mark.parametrize(
    "aggregation",
    [
        pytest.param(Aggregation(), id="masked-by-cases"),
        pytest.param(Aggregation(weighting="equal"), id="masked-equal"),
        pytest.param(Aggregation(rule="mean", threshold=1), id="mean"),
        pytest.param(Aggregation(rule="mean", weighting="equal"), id="mean-equal"),
    ],
)
def test_the_model_moves_by_the_weighted_mean_of_the_updates(tmp_path, aggregation):
    federation = Federation(tmp_path / "run", aggregation=aggregation)
    summary = federation.run()
    check_weights(federation)
    assert summary.rounds_finished == 2
    assert summary.secure_aggregation is (aggregation.rule == "masked")
    assert np.array_equal(weights_of(federation)["frozen"], WEIGHTS["frozen"])


def test_groups_are_summed_apart_and_a_liar_in_one_is_trimmed(tmp_path):
    aggregation = Aggregation(rule="grouped-masked", group_size=3, threshold=5, tolerated=1, weighting="equal")
    federation = Federation(tmp_path / "run", 9, rounds=1, quorum=9, aggregation=aggregation)
    federation.sites["site-04"].worker.spoil = lambda update: np.full_like(update, 3.0)
    federation.run()
    moved = weights_of(federation)["a"] - WEIGHTS["a"]
    assert np.abs(moved).max() < 1.0  # one of three groups is trimmed away; plain averaging would move it by 1/3 more
    assert federation.finished()[0]["dropped"] == []


@pytest.mark.parametrize(
    ("rule", "compression"),
    [
        pytest.param("masked", "quantised", id="masked-quantised"),
        pytest.param("masked", "sparse", id="masked-sparse"),
        pytest.param("mean", "quantised", id="open-quantised"),
        pytest.param("mean", "sparse", id="open-sparse"),
    ],
)
def test_what_compression_leaves_over_arrives_in_later_rounds(tmp_path, rule, compression):
    aggregation = Aggregation(rule=rule, compression=compression, bits=6, kept=0.5, weighting="equal", value_range=20.0)
    federation = Federation(tmp_path / "run", rounds=3, aggregation=aggregation)
    federation.run()
    layout = RunFolder(federation.folder).latest("run-1").state.layout
    found, expected = weights_of(federation), expected_weights(federation, federation.finished())
    left = [np.frombuffer(_kept(site, "residual-000003"), "<f4") for site in federation.sites.values()]
    moved = layout.flatten(found) + np.mean(left, axis=0)
    np.testing.assert_allclose(moved, layout.flatten(expected), atol=MASKED_ERROR)
    assert np.abs(np.mean(left, axis=0)).max() > 0.05, "a coarse code leaves something over"


def _kept(site, name):
    return next(data for key, data in site.records.kept.items() if key.endswith(name))


def test_scaffold_sends_its_control_variate_masked_too(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, learning=Learning(strategy="scaffold"))
    federation.run()
    state = RunFolder(federation.folder).latest("run-1").state
    weights = np.array([10, 20, 30]) / 60
    mean = sum(weight * vector_of(name, 1, 2) for weight, name in zip(weights, sorted(federation.sites), strict=True))
    np.testing.assert_allclose(state.control, mean[7:], atol=MASKED_ERROR)
    np.testing.assert_allclose(state.weights["a"], WEIGHTS["a"] + mean[:3], atol=MASKED_ERROR)


def test_site_level_noise_is_in_the_sum_and_each_site_is_clipped(tmp_path):
    privacy = Privacy(site_clip=0.5, site_noise=2.0)
    federation = Federation(tmp_path / "run", rounds=1, privacy=privacy, aggregation=Aggregation(weighting="equal"))
    federation.run()
    layout = RunFolder(federation.folder).latest("run-1").state.layout
    moved = layout.flatten(weights_of(federation)) - layout.flatten(WEIGHTS)
    # Three shares of 2 * 0.5 / sqrt(2) over three sites: 0.41 a number.
    assert 0.15 < np.std(moved) < 0.9
    figures = federation.finished()[0]["sites"]["site-01"]
    assert figures["loss"] is None, "the loss of the training cases would be told without noise"


@few
@given(
    seed=st.integers(0, 10_000),
    victims=st.dictionaries(st.integers(1, 4), st.integers(1, 14), max_size=3),
    rule=st.sampled_from(["masked", "mean"]),
)
def test_any_dropouts_leave_the_mean_of_the_others_or_fail_loudly(tmp_path_factory, seed, victims, rule):
    """Each victim dies for good before it gets its n-th message, at whatever stage that is."""
    aggregation = Aggregation(rule=rule, threshold=2)
    federation = Federation(
        tmp_path_factory.mktemp("run"), 4, seed, loss=0.05, double=0.1, delay_s=0.4, rounds=2, aggregation=aggregation
    )
    left = {f"site-{number:02d}": messages for number, messages in victims.items()}

    def before(site, _message):
        if site in left:
            left[site] -= 1
            federation.sites[site].is_dead |= left[site] <= 0

    federation.transport.before = before
    try:
        federation.run()
    except QuorumError:
        assert len(victims) >= 2, "one of four sites may be lost at any time"
        assert federation.told("round-failed")
        assert federation.told("run-finished")[-1]["reason"] != "done"
    check_weights(federation)
    for site in federation.sites.values():
        assert all(count == 1 for count in [site.records.charged - len(site.records.charges) + 1])


def test_who_is_not_needed_to_open_the_sum_is_not_called_lost(tmp_path):
    aggregation = Aggregation(threshold=2)
    federation = Federation(tmp_path / "run", 5, rounds=3, quorum=5, delay_s=0.4, aggregation=aggregation)
    federation.run()
    gone = [event for event in federation.told("site") if event["state"] not in {"asked", "working", "done"}]
    assert {(event["stage"], event["state"], event["reason"]) for event in gone} == {
        ("unmask", "spared", "enough others had answered")
    }
    assert [event["dropped"] for event in federation.finished()] == [[], [], []]


@few
@given(seed=st.integers(0, 10_000))
def test_lost_doubled_and_overtaking_messages_change_nothing(tmp_path_factory, seed):
    patience = replace(QUICK, silence_s=60, stage_s=120)
    lossy = {"loss": 0.15, "double": 0.3, "delay_s": 1.5}
    federation = Federation(tmp_path_factory.mktemp("run"), seed=seed, **lossy, rounds=1, patience=patience)
    federation.run()
    assert federation.finished()[0]["dropped"] == []
    check_weights(federation)


def test_a_site_that_refuses_is_left_out_before_anyone_trains(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1)
    federation.sites["site-02"].rules.refusals = ["working-hours"]
    federation.run()
    event = federation.finished()[0]
    assert event["dropped"] == ["site-02"]
    assert federation.told("round-started")[-1]["participants"] == ["site-01", "site-03"]
    assert federation.sites["site-02"].records.refusals == [(1, ["working-hours"])]
    assert "working-hours: not here" in next(
        each["reason"] for each in federation.told("site") if each["state"] == "refused"
    )
    check_weights(federation)


def test_too_few_sites_end_the_run_and_never_wait_for_ever(tmp_path):
    federation = Federation(tmp_path / "run")
    for name in ("site-02", "site-03"):
        federation.sites[name].is_dead = True
    with pytest.raises(QuorumError, match="expected 2 connected sites within 20 s, got 1: site-01"):
        federation.run()
    assert federation.clock.seconds < 2 * QUICK.sites_s + 5
    assert len(federation.told("round-failed")) == 2


def test_a_round_that_fails_is_tried_again_with_terms_of_its_own(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1)
    workers = [site.worker for site in federation.sites.values()]
    for worker in workers:
        worker.failure = "out of memory"

    def recover(event):
        if event["event"] == "round-failed":
            for worker in workers:
                worker.failure = ""

    federation.on_event = recover
    federation.run()
    started = federation.told("round-started")
    assert len(started) == 2
    assert started[0]["deadline"] < started[1]["deadline"]
    check_weights(federation)


def test_a_masked_site_that_is_late_is_refused_and_the_round_goes_on(tmp_path):
    federation = Federation(tmp_path / "run", count=4, rounds=1)
    federation.sites["site-03"].worker.is_stuck = True
    federation.run()
    assert federation.finished()[0]["dropped"] == ["site-03"]
    assert federation.finished()[0]["sites"]["site-03"]["state"] == "late"
    check_weights(federation)


def test_a_late_update_is_merged_by_its_age_where_the_terms_say_so(tmp_path):
    aggregation = Aggregation(rule="mean", late="merge", weighting="equal")
    federation = Federation(tmp_path / "run", rounds=3, aggregation=aggregation)
    slow = federation.sites["site-03"].worker
    slow.is_stuck = True

    def speed_up(event):
        slow.is_stuck = slow.is_stuck and event["event"] != "round-finished"

    federation.on_event = speed_up
    federation.run()
    rounds = federation.finished()
    assert rounds[0]["sites"]["site-03"]["state"] == "late"
    assert "site-03" not in federation.told("round-started")[1]["participants"]
    merged = next(event for event in rounds[1:] if "site-03" not in event["dropped"])
    age = merged["round"] - 1
    moved, layout = np.zeros(7), RunFolder(federation.folder).latest("run-1").state.layout
    for event in rounds:
        terms = [(1.0, vector_of(name, event["round"])) for name in event["sites"] if name not in event["dropped"]]
        if event is merged:
            terms = [(1.0, vector_of(name, event["round"])) for name in ("site-01", "site-02")]
            terms.append(((1 + age) ** -0.5, vector_of("site-03", 1)))
        moved += np.average([vector for _, vector in terms], axis=0, weights=[weight for weight, _ in terms])
    np.testing.assert_allclose(
        layout.flatten(weights_of(federation)), layout.flatten(WEIGHTS) + moved, atol=MASKED_ERROR
    )


def test_a_run_of_sites_drawn_anew_each_round(tmp_path):
    federation = Federation(tmp_path / "run", 5, rounds=3, sites_per_round=3)
    federation.run()
    asked = [tuple(event["participants"]) for event in federation.told("round-started")]
    assert all(len(each) == 3 for each in asked)
    assert len(set(asked)) > 1
    check_weights(federation)


def test_the_summary_is_what_the_issue_of_a_run_asks_for(tmp_path):
    federation = Federation(tmp_path / "run", privacy=Privacy(record_noise=1.0, record_epsilon=1.0))
    for number, site in enumerate(federation.sites.values()):
        site.worker.epsilon, site.worker.dice = 0.25, 0.5 - number / 10
    told = json.loads(json.dumps(describe_summary(federation.run())))
    assert told["rounds_finished"] == 2
    assert told["sites"] == 3
    assert told["secure_aggregation"] is True
    assert told["epsilon"] == 0.5
    assert list(told["dice"]) == ["site-03", "site-02", "site-01"]
    assert told["worst_site"] == "site-03"
    for name in ("bytes_per_round", "seconds_per_round", "engine_overhead_s"):
        assert told[name] >= 0
    assert all(site.records.charged == 2 for site in federation.sites.values())


def test_a_model_travels_once_a_stage_however_often_it_is_asked_for(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1)
    for site in federation.sites.values():
        site.worker.asks = 30
    federation.run()
    sizes = [size for name, size in federation.transport.asked if name == "site-01"]
    shortest = min(sizes)
    assert len(sizes) > 40
    assert sum(size > shortest + 500 for size in sizes) <= 10


def test_stops_between_two_rounds_when_told_to(tmp_path):
    federation = Federation(tmp_path / "run", rounds=3)
    summary = federation.run(should_stop=lambda: len(federation.told("round-finished")) == 1)
    assert (summary.rounds_finished, summary.reason) == (1, "stopped")
    assert federation.run().rounds_finished == 3
    assert [event["round"] for event in federation.finished()] == [1, 2, 3]
    check_weights(federation)
