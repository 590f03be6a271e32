"""Who lies: a site to the coordinator, a coordinator to a site, and the network to both."""

import json
import struct
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from federated.rounds.envelope import open_reply, open_request, seal_reply, sign_request, terms_piece
from federated.rounds.messages import Stage, State
from federated.rounds.questions import question
from federated.rounds.run_folder import RunFolder
from federated.rounds.terms import TERMS_PURPOSE, Aggregation, parse_terms
from governance.signatures import SigningKey
from tests.fakes.whole_federation import START, Federation, expected_weights

OPEN = Aggregation(rule="mean")


def remember_questions(federation):
    """Every question that a site got, opened, in order."""
    asked = []
    coordinator = federation.keys.signing.verifying_key
    federation.transport.before = lambda site, message: asked.append(open_request(message, coordinator, site))
    return asked


def tamper(federation, name, stage, change, signing=None):
    """Have a site answer a stage with something else than its software would."""
    asked = remember_questions(federation)
    keys = federation.keys

    def changed(site, answer):
        asking = asked[-1]
        if site != name or asking.stage is not stage:
            return answer
        reply = open_reply(answer, asking, keys.roster.identity(site), keys.sealing, federation="test")
        if reply.state is not State.DONE:
            return answer
        key = signing or federation.sites[site].signing
        return seal_reply(change(reply), asking, key, keys.roster.sealing, federation="test")

    federation.transport.change = changed


def with_update(data):
    return lambda reply: replace(reply, pieces={**reply.pieces, "update": data})


def with_header(**values):
    return lambda reply: replace(reply, header={**reply.header, **values})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(with_update(struct.pack("<7f", *[np.nan] * 7)), "finite numbers", id="nan"),
        pytest.param(with_update(struct.pack("<7f", *[np.inf] * 7)), "finite numbers", id="infinite"),
        pytest.param(with_update(bytes(4 * 7_000)), "an update of 28 bytes, got 28000", id="oversized"),
        pytest.param(with_update(b""), "an update of 28 bytes, got 0", id="empty"),
        pytest.param(lambda reply: replace(reply, pieces={}), "the piece 'update'", id="no-update"),
        pytest.param(with_header(examples=0), "the number of its cases", id="no-cases"),
        pytest.param(with_header(examples=10**9), "the number of its cases", id="a-billion-cases"),
        pytest.param(with_header(examples=True), "the number of its cases", id="cases-that-are-no-number"),
        pytest.param(with_header(epsilon=-1.0), "epsilon as a number", id="negative-epsilon"),
        pytest.param(with_header(figures=[1]), "figures as an object", id="figures-that-are-a-list"),
        pytest.param(with_header(figures={"loss": "low"}), "loss as a number", id="loss-in-words"),
    ],
)
def test_an_update_that_cannot_be_right_is_refused_by_name_and_the_others_go_on(tmp_path, change, reason):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    tamper(federation, "site-02", Stage.TRAIN, change)
    federation.run()
    told = next(event for event in federation.told("site") if event["state"] == "refused")
    assert told["site"] == "site-02"
    assert reason in told["reason"]
    check_without(federation, "site-02")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_update(bytes(4)), id="short"),
        pytest.param(with_update(bytes(10_000)), id="oversized"),
        pytest.param(with_update(bytes(36)), id="another-vector-than-it-signed"),
        pytest.param(lambda reply: replace(reply, pieces={"update": reply.pieces["update"]}), id="no-statement"),
    ],
)
def test_a_masked_update_that_cannot_be_right_is_refused_and_the_sum_opens_without_it(tmp_path, change):
    federation = Federation(tmp_path / "run", count=4, rounds=1)
    tamper(federation, "site-02", Stage.TRAIN, change)
    federation.run()
    check_without(federation, "site-02")


def check_without(federation, name):
    event = federation.finished()[0]
    assert event["dropped"] == [name]
    found, expected = RunFolder(federation.folder).latest("run-1").state.weights, expected_weights(federation, [event])
    for tensor in expected:
        np.testing.assert_allclose(found[tensor], expected[tensor], atol=1e-5)


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param({"dice": {"whole-tumour": 1.5}}, id="dice-above-1"),
        pytest.param({"dice": {}, "personal": {"dice": "<script>"}}, id="text"),
        pytest.param({"dice": {}, "a\x1b[2J": 1.0}, id="control-characters"),
        pytest.param({"dice": {}, "deep": {"a": {"b": {"c": {"d": {}}}}}}, id="deep"),
        pytest.param({"dice": {}, "cases": -1}, id="negative-count"),
    ],
)
def test_figures_that_cannot_be_right_are_not_told(tmp_path, figures):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    tamper(federation, "site-02", Stage.EVALUATE, with_header(figures=figures))
    federation.run()
    event = federation.finished()[0]
    assert event["sites"]["site-02"]["dice"] == {}
    assert set(event["sites"]["site-01"]["dice"]) == {"whole-tumour"}


def test_an_answer_that_another_key_signed_is_not_the_sites(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    tamper(federation, "site-02", Stage.TRAIN, lambda reply: reply, signing=SigningKey.generate())
    federation.run()
    told = next(event for event in federation.told("site") if event["state"] == "lost")
    assert told["site"] == "site-02"
    assert "site-02 signed as qfl/round-reply" in told["reason"]
    check_without(federation, "site-02")


def test_a_stranger_who_answers_changes_nothing(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    answers = federation.transport.answers
    federation.transport.answers = lambda: {**answers(), "site-99": b"let me in", "site-01x": b""}
    federation.run()
    assert federation.finished()[0]["dropped"] == []


def in_the_middle(tmp_path, stage, **plan):
    """A federation whose coordinator was killed when the first site had answered a stage; site-01's questions."""
    federation = Federation(tmp_path / "run", rounds=2, **plan)
    asked = remember_questions(federation)
    federation.run_until(lambda event: event.get("stage") == stage and event.get("state") == "done")
    federation.transport.before = lambda site, message: None
    return federation, [each for each in asked if each.site == "site-01"]


def hand(federation, asking):
    """A question signed by the coordinator, to site-01; its answer, opened."""
    return open_answer(federation, asking, federation.sites["site-01"].answer(sign(federation, asking)))


def sign(federation, asking):
    return sign_request(asking, federation.keys.signing)


def open_answer(federation, asking, answer):
    keys = federation.keys
    return open_reply(answer, asking, keys.roster.identity(asking.site), keys.sealing, federation="test")


def last(asked, stage):
    return next(each for each in reversed(asked) if each.stage is stage and each.pieces)


def join_with(federation, terms, signing=None):
    brief = terms_piece(terms)
    signature = (signing or federation.keys.signing).sign(brief, purpose=TERMS_PURPOSE)
    return question(terms, "site-01", Stage.JOIN, {"terms": brief, "signature": signature})


def terms_of(asked):
    return parse_terms(json.loads(last(asked, Stage.JOIN).pieces["terms"]))


def test_a_second_unmasking_for_other_survivors_is_refused(tmp_path):
    federation, asked = in_the_middle(tmp_path, "unmask")
    asking = last(asked, Stage.UNMASK)
    fewer = {name: statement for name, statement in asking.pieces.items() if not name.endswith("site-03")}
    reply = hand(federation, replace(asking, pieces=fewer))
    assert reply.state is State.REFUSED
    assert "was asked with other content before" in reply.reason


def test_a_second_attempt_of_a_round_whose_sum_was_opened_is_refused(tmp_path):
    federation, asked = in_the_middle(tmp_path, "unmask")
    terms = replace(terms_of(asked), deadline=federation.clock() + timedelta(hours=1))
    reply = hand(federation, join_with(federation, terms))
    assert reply.state is State.REFUSED
    assert "a second sum would tell more" in reply.reason


def test_a_second_masking_against_other_shares_is_refused(tmp_path):
    federation, asked = in_the_middle(tmp_path, "train")
    asking = last(asked, Stage.TRAIN)
    fewer = {name: piece for name, piece in asking.pieces.items() if name != "share/site-03"}
    assert hand(federation, replace(asking, pieces=fewer)).state is State.REFUSED


def test_another_model_than_the_terms_name_is_not_trained_on(tmp_path):
    federation, asked = in_the_middle(tmp_path, "share")
    site = federation.sites["site-01"]
    federation.run_until(lambda event: event.get("stage") == "train" and event.get("state") == "asked")
    weights = {"weights": b"other", "extra/counted": b"0"}
    fresh = Federation(tmp_path / "fresh", rounds=1, run="run-9", aggregation=OPEN)
    fresh.sites, fresh.transport.sites, fresh.clock = federation.sites, federation.sites, federation.clock
    fresh.transport.clock = federation.clock
    asked = remember_questions(fresh)
    fresh.run_until(lambda event: event.get("stage") == "join" and event.get("state") == "done")
    terms = terms_of([each for each in asked if each.site == "site-01"])
    reply = hand(federation, question(terms, "site-01", Stage.TRAIN, weights, {"names": ["a", "b.c"]}))
    assert reply.state is State.REFUSED
    assert "expected the model" in reply.reason.lower()
    assert site.worker.times == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"app": "b" * 64}, "the installed app", id="unknown-app"),
        pytest.param({"federation": "other"}, "terms of the federation test", id="another-federation"),
        pytest.param({"participants": ("site-01", "site-02", "stranger")}, "'stranger'", id="stranger"),
        pytest.param({"deadline": START - timedelta(hours=1)}, "ended at", id="deadline-passed"),
        pytest.param({"deadline": START + timedelta(days=100)}, "at most 60 days", id="deadline-in-a-year"),
        pytest.param({"participants": ("site-02", "site-03")}, "takes part in", id="not-for-this-site"),
    ],
)
def test_terms_that_are_not_for_this_site_are_refused(tmp_path, change, reason):
    federation = Federation(tmp_path / "run", aggregation=OPEN)
    terms = federation.plan.terms(1, federation.plan.sites, model="", layout="", network={}, now=federation.clock())
    terms = replace(terms, **change, run="run-2")
    reply = hand(federation, join_with(federation, terms))
    assert reply.state is State.REFUSED
    assert reason in reply.reason
    assert federation.sites["site-01"].records.departures == []


def test_terms_that_the_coordinator_did_not_sign_as_terms_are_refused(tmp_path):
    federation = Federation(tmp_path / "run")
    terms = federation.plan.terms(1, federation.plan.sites, model="", layout="", network={}, now=federation.clock())
    reply = hand(federation, join_with(federation, terms, signing=SigningKey.generate()))
    assert reply.state is State.REFUSED
    assert "terms that the coordinator signed" in reply.reason


def test_a_question_of_an_earlier_round_or_attempt_is_out_of_date(tmp_path):
    federation = Federation(tmp_path / "run", rounds=2)
    asked = remember_questions(federation)
    federation.run()
    federation.transport.before = lambda site, message: None
    mine = [each for each in asked if each.site == "site-01"]
    first = next(each for each in mine if each.stage is Stage.JOIN)
    assert "out of date" in hand(federation, first).reason
    for stage in (Stage.SHARE, Stage.TRAIN, Stage.UNMASK):
        assert hand(federation, next(each for each in mine if each.stage is stage)).state is State.REFUSED
    again = hand(federation, last(mine, Stage.TRAIN))
    assert "is over, its new model was evaluated" in again.reason
    assert len(federation.sites["site-01"].records.charges) == 2


def test_bytes_that_are_not_the_coordinators_get_no_answer(tmp_path):
    federation = Federation(tmp_path / "run")
    terms = federation.plan.terms(1, federation.plan.sites, model="", layout="", network={}, now=federation.clock())
    asking = join_with(federation, terms)
    site = federation.sites["site-01"]
    for message in (
        b"",
        b"QFL1",
        bytes(10_000),
        sign_request(asking, SigningKey.generate()),
        sign(federation, replace(asking, site="site-02")),
    ):
        assert site.answer(message) in {b"", None}
    assert site.records.kept == {}


def test_the_same_question_gets_the_same_answer(tmp_path):
    federation, asked = in_the_middle(tmp_path, "unmask")
    for stage in (Stage.JOIN, Stage.SHARE, Stage.TRAIN, Stage.UNMASK):
        one, other = (hand(federation, last(asked, stage)) for _ in range(2))
        assert one.state is State.DONE
        assert (one.pieces, one.header) == (other.pieces, other.header)
    left = [each[2] for each in federation.sites["site-01"].records.departures]
    assert left == [Stage.JOIN, Stage.SHARE, Stage.TRAIN, Stage.UNMASK]


def test_nothing_leaves_when_the_budget_would_be_passed(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    site = federation.sites["site-01"]
    site.worker.epsilon, site.records.budget = 3.0, 1.0
    federation.run()
    assert federation.finished()[0]["dropped"] == ["site-01"]
    assert Stage.TRAIN not in [left[2] for left in site.records.departures]
    assert site.records.charges == {}


def test_nothing_leaves_when_the_hospital_pauses_in_the_middle(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    site = federation.sites["site-01"]

    def pause(event):
        if event.get("stage") == "train" and event["state"] == "asked":
            site.rules.refusals = ["paused"]

    federation.on_event = pause
    federation.run()
    assert federation.finished()[0]["dropped"] == ["site-01"]
    assert Stage.TRAIN not in [left[2] for left in site.records.departures]
    assert site.records.refusals == [(1, ["paused"])]
    assert site.records.charged == 0


def test_a_training_that_cost_more_than_the_terms_allow_does_not_leave(tmp_path):
    from federated.rounds.terms import Privacy

    privacy = Privacy(record_noise=1.0, record_epsilon=0.5)
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN, privacy=privacy)
    for name, epsilon in (("site-01", 0.4), ("site-02", 0.6), ("site-03", 0.5)):
        federation.sites[name].worker.epsilon = epsilon
    federation.run()
    assert federation.finished()[0]["dropped"] == ["site-02"]


def test_statistics_of_subgroups_leave_only_when_they_are_noised_and_paid_for(tmp_path):
    federation = Federation(tmp_path / "run", rounds=1, aggregation=OPEN)
    site = federation.sites["site-01"]
    work = site.worker.work

    def noised(terms, stage, weights, extras):
        found = work(terms, stage, weights, extras)
        return replace(found, figures={**found.figures, "groups_epsilon": 0.125}) if found.figures else found

    site.worker.work = noised
    federation.run()
    sites = federation.finished()[0]["sites"]
    assert sites["site-01"]["groups"] == {"sex": {"female": 0.4}}
    assert sites["site-02"]["groups"] == {}
    assert site.records.charges[("run-1", 1, "statistics")] == 0.125
