"""Events folded into a view: the same however they are cut, whatever is told twice, and whatever rubbish is between."""

import json
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.rounds.progress import fold
from federated.rounds.run_view import RunState, RunView, describe_view
from tests.fakes.run_events import LOST, REFUSED, run_events

EVENTS = run_events()
FINISHED = [event for event in EVENTS if event["event"] == "round-finished"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KINDS = ["run-started", "round-started", "site", "round-finished", "round-failed", "run-finished", "another"]
FIELDS = [*{name for event in EVENTS for name in event}, "reason"]


@given(st.integers(0, len(EVENTS)))
def test_events_may_come_in_any_pieces(cut):
    assert fold(EVENTS[cut:], fold(EVENTS[:cut])) == fold(EVENTS)


@given(st.sampled_from(FINISHED))
def test_a_round_that_is_told_again_counts_once(again):
    once, twice = fold(EVENTS), fold([*EVENTS, again])
    assert twice.history == once.history
    assert twice.bytes == once.bytes
    assert twice.sites == once.sites


def rubbish(names):
    return st.fixed_dictionaries(
        {"event": st.sampled_from(KINDS)}, optional=dict.fromkeys(sorted(set(names) - {"event"}), JSON)
    )


@given(st.lists(rubbish(FIELDS), max_size=5), st.integers(0, len(EVENTS)))
def test_what_has_another_form_breaks_nothing(strange, cut):
    view = fold(EVENTS[cut:], fold(strange, fold(EVENTS[:cut])))
    text = json.dumps(describe_view(view), allow_nan=False)
    assert text.encode()


@given(st.integers(0, len(EVENTS)))
def test_totals_are_those_of_the_rounds_that_are_finished(cut):
    done = [event for event in EVENTS[:cut] if event["event"] == "round-finished"]
    view = fold(EVENTS[:cut])
    assert [each.number for each in view.history] == [event["round"] for event in done]
    assert (view.bytes or 0) == sum(event["bytes_sent"] + event["bytes_received"] for event in done)
    assert (view.seconds or 0) == pytest.approx(sum(event["seconds"] for event in done))
    told = [site["joules"] for event in done for site in event["sites"].values() if "joules" in site]
    assert (view.joules or 0) == pytest.approx(sum(told))


def test_the_worst_site_is_first_and_a_site_keeps_what_it_told_last():
    view = fold(EVENTS)
    last = {}
    for event in FINISHED:
        last |= {name: told["dice"]["whole-tumour"] for name, told in event["sites"].items() if told["dice"]}
    assert [site.name for site in view.sites] == sorted(last, key=last.get)
    assert view.worst_site == min(last, key=last.get)
    assert view.dice == pytest.approx(fmean(last.values()))


def test_a_site_without_a_figure_is_last_and_no_worst_one():
    view = fold(EVENTS[:1])
    assert [site.name for site in view.sites] == EVENTS[0]["sites"]
    assert (view.worst_site, view.dice, view.epsilon) == (None, None, None)


def test_who_dropped_out_is_kept_with_the_reason():
    view = fold(EVENTS)
    assert [(each.round, each.site, each.state, each.reason) for each in view.troubles] == [
        (2, "site-05", "lost", LOST),
        (3, "site-01", "refused", REFUSED),
    ]
    assert (view.counted("site-05"), view.counted("site-02")) == (3, 4)


def test_epsilon_is_the_most_of_any_site_beside_its_limit():
    view = fold(EVENTS)
    spent = max(told["epsilon_spent"] for event in FINISHED for told in event["sites"].values())
    assert view.epsilon == pytest.approx(spent)
    assert view.epsilon <= view.epsilon_limit == pytest.approx(3.6)


def test_without_noise_there_is_no_epsilon_rather_than_a_perfect_one():
    view = fold(run_events(private=False))
    assert (view.epsilon, view.epsilon_limit) == (None, None)
    assert {site.epsilon for site in view.sites} == {None}


def test_in_a_round_sites_show_where_they_are():
    view = fold(run_events(finished=2))
    first = view.current["site-01"]
    assert (view.state, view.round, len(view.participants)) == (RunState.RUNNING, 3, 5)
    assert (first.stage, first.state, first.step, first.steps) == ("train", "working", 3, 8)
    assert view.current["site-02"].state == "", "what it was in the round before is over"


def test_progress_stays_until_the_next_stage():
    base = run_events(finished=2)
    told = {"event": "site", "round": 3, "site": "site-01", "stage": "train", "state": "done", "step": 0, "steps": 0}
    assert fold([*base, told]).current["site-01"].step == 3
    assert fold([*base, told | {"stage": "unmask", "state": "asked"}]).current["site-01"].step == 0


@pytest.mark.parametrize(
    ("reason", "state", "told"),
    [
        pytest.param("done", RunState.DONE, "", id="done"),
        pytest.param("stopped", RunState.STOPPED, "", id="stopped"),
        pytest.param("Expected 3 sites, got 1.", RunState.FAILED, "Expected 3 sites, got 1.", id="failed"),
    ],
)
def test_how_a_run_ended(reason, state, told):
    view = fold([*EVENTS[:-1], {"event": "run-finished", "run": "run-1", "reason": reason}])
    assert (view.state, view.reason, view.state.is_over) == (state, told, True)


def test_a_run_that_goes_on_is_running_again_with_its_history():
    stopped = [*run_events(finished=2), {"event": "run-finished", "reason": "stopped"}]
    again = fold([*stopped, EVENTS[0] | {"resumed_at_round": 2}, FINISHED[1]])
    assert (again.state, [each.number for each in again.history]) == (RunState.RUNNING, [1, 2])
    assert again.started_at == fold(stopped).started_at


def test_a_failed_round_is_told_and_no_round_is_under_way():
    view = fold([*run_events(finished=2), {"event": "round-failed", "round": 3, "reason": "too few"}])
    assert (view.round, view.troubles[-1].site, view.troubles[-1].reason) == (None, None, "too few")


def test_nothing_is_a_view_too():
    assert fold([]) == RunView()
    assert describe_view(RunView())["state"] == "waiting"
