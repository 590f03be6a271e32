"""What a run came to, from its events alone; and what left a site."""

import json

import pytest

from plugin.services.federation_summary import describe_departures, read_events, summarise
from plugin.services.round_records import Departure
from tests.fakes.round_terms import NOW


def finished(number, **sites):
    return {
        "event": "round-finished",
        "round": number,
        "model": f"model-{number}",
        "seconds": 10.0 * number,
        "engine_overhead_s": 1.0,
        "bytes_sent": 100,
        "bytes_received": 50,
        "sites": sites,
        "dropped": [],
    }


def site(dice, epsilon=None):
    return {"dice": {"whole-tumour": dice, "tumour-core": 0.1}, "epsilon_spent": epsilon}


STARTED = {"event": "run-started", "run": "r", "sites": ["site-01", "site-02"], "rounds": 2, "secure_aggregation": True}
EVENTS = [
    STARTED,
    finished(1, **{"site-01": site(0.4, 0.5), "site-02": site(0.6, 0.25)}),
    {**STARTED, "resumed_at_round": 2},
    finished(2, **{"site-01": site(0.7, 1.0)}),
    {"event": "run-finished", "reason": "done"},
]


def test_a_run_in_numbers():
    found = summarise(EVENTS)
    assert (found.run, found.model, found.reason) == ("r", "model-2", "done")
    assert (found.rounds_finished, found.sites, found.secure_aggregation) == (2, ("site-01", "site-02"), True)
    assert found.dice == {"site-01": 0.7, "site-02": 0.6}
    assert (found.worst_site, found.epsilon) == ("site-02", 1.0)
    assert (found.bytes_per_round, found.seconds_per_round, found.engine_overhead_s) == (150, 15, 1)


def test_a_round_that_was_done_again_counts_once():
    again = finished(1, **{"site-01": site(0.5)})
    assert summarise([STARTED, finished(1, **{"site-01": site(0.4)}), again]).rounds_finished == 1


@pytest.mark.parametrize("events", [pytest.param([], id="nothing"), pytest.param([STARTED], id="started")])
def test_before_the_first_round_nothing_is_known(events):
    found = summarise(events)
    assert (found.rounds_finished, found.worst_site, found.seconds_per_round) == (0, None, None)
    assert found.reason == "not finished"


def test_a_line_that_is_half_written_is_left_out(tmp_path):
    lines = [json.dumps(EVENTS[0]), json.dumps(EVENTS[1])[:20]]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    assert read_events(tmp_path) == [STARTED]


def test_a_run_that_never_began_has_no_events(tmp_path):
    assert read_events(tmp_path) == []


def test_what_left_is_added_up_by_kind():
    left = [("masked update", 100), ("public keys", 10), ("masked update", 120)]
    departures = [Departure(NOW, "f", "r", 1, "train", what, "d" * 64, size, None) for what, size in left]
    assert describe_departures(departures) == {
        "bytes": 230,
        "kinds": {"masked update": {"times": 2, "bytes": 220}, "public keys": {"times": 1, "bytes": 10}},
    }
