import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from federated.errors import TermsError
from federated.rounds.plan import Patience, RunPlan, describe_plan, parse_plan
from federated.rounds.terms import Aggregation, Learning, Privacy

PLAN = RunPlan("Test", "run-1", ("a", "b", "c", "d", "e"), 3, "f" * 64, learning=Learning(learning_rate=0.1))
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_plan_comes_back_from_its_json():
    plan = replace(PLAN, patience=Patience(train_s=0.5), privacy=Privacy(site_clip=0.25))
    assert parse_plan(describe_plan(plan)) == plan


@pytest.mark.parametrize(
    ("rule", "participants", "threshold"),
    [
        pytest.param("masked", "abcde", 4, id="masked-needs-more-than-two-thirds"),
        pytest.param("masked", "abc", 3, id="of-those-that-take-part"),
        pytest.param("mean", "abcde", 2, id="open-updates-need-none"),
    ],
)
def test_the_threshold_of_a_round_follows_its_participants(rule, participants, threshold):
    plan = replace(PLAN, aggregation=Aggregation(rule=rule))
    terms = plan.terms(1, tuple(participants), model="m", layout="l", network={}, now=NOW)
    assert terms.aggregation.threshold == threshold
    assert terms.deadline - NOW == timedelta(seconds=3 * 60 + 1800 + 600)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"run": "../x"}, "a run's id", id="run-that-is-a-path"),
        pytest.param({"run": ""}, "a run's id", id="no-run"),
        pytest.param({"quorum": 6}, "a quorum from the threshold, 2, to the 5 sites, got 6", id="quorum-above-sites"),
        pytest.param({"quorum": 1}, "a quorum", id="quorum-below-threshold"),
        pytest.param({"sites": ("b", "a")}, "sorted", id="sites-unsorted"),
        pytest.param({"sites_per_round": 1}, "sites a round", id="fewer-a-round-than-the-quorum"),
        pytest.param({"patience": Patience(train_s=-1)}, "train_s from 0", id="negative-patience"),
        pytest.param({"patience": Patience(train_s=float("nan"))}, "train_s from 0", id="patience-that-is-no-number"),
        pytest.param({"rounds": 0}, "rounds from 1", id="no-rounds"),
        pytest.param({"privacy": Privacy(site_clip=1, site_noise=1)}, "equal weights", id="noise-with-weights"),
        pytest.param(
            {"aggregation": Aggregation(rule="grouped-masked", group_size=2)}, "at least 3 sites", id="groups-of-two"
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused_when_it_is_made(change, message):
    with pytest.raises(TermsError, match=message):
        replace(PLAN, **change)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("x" * 2_000_000, id="large"),
        pytest.param(json.dumps({**json.loads(describe_plan(PLAN)), "shell": "rm"}), id="unknown-field"),
        pytest.param(json.dumps({**json.loads(describe_plan(PLAN)), "sites": [1]}), id="site-that-is-a-number"),
        pytest.param(json.dumps({**json.loads(describe_plan(PLAN)), "rounds": True}), id="rounds-that-are-a-truth"),
    ],
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(TermsError, match="run's plan"):
        parse_plan(text)
