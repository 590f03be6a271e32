"""Federated runs for programs and for the pages' own scripts: as JSON, and as a feed of Server-Sent Events.

A feed holds a thread of the web process, so there are only few, each ends after a while, and a reader goes on where it
was: an event's id is the offset after its line in the run's file.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, cast

from flask import Blueprint, Response, abort, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState

from federated.rounds.events import EVENTS_FILE
from federated.rounds.run_view import describe_view
from plugin.errors import TooManyWatchersError
from plugin.services.event_tail import EventTail
from plugin.services.federation_runs import RunViews, find_run
from plugin.web import api
from plugin.web.context import current_services

MOST_FEEDS: Final = 3
"""Of one web process, which answers 8 requests at once where nobody says otherwise."""
FEED_S: Final = 60.0
"""A feed's life; its reader comes back by itself, and is asked again who it is."""
_HEARTBEAT_S: Final = 10.0
_RETRY_MS: Final = 1000
_LOOK_S: Final = 0.5
_PLACES: Final = "qfl_federation_feeds"

blueprint = Blueprint("federation_feed", __name__, url_prefix="/api/federation/runs")
blueprint.before_request(api.authenticate)


@blueprint.record_once
def _make_places(state: BlueprintSetupState) -> None:
    state.app.extensions[_PLACES] = threading.BoundedSemaphore(MOST_FEEDS)


@blueprint.get("")
def list_runs() -> Response:
    """The coordinator's runs, the newest first."""
    runs = _coordinated()
    found = [(name, runs.view(name)[0]) for name in runs.names()]
    return jsonify(
        runs=[
            {
                "run": name,
                "state": view.state,
                "rounds": view.rounds,
                "rounds_finished": len(view.history),
                "worst_site": view.worst_site,
                "dice": view.dice,
            }
            for name, view in found
        ]
    )


@blueprint.get("/<run>")
def get_run(run: str) -> Response:
    """A run's view; "offset" is where a feed goes on from it."""
    view, offset = _coordinated().view(run)
    return jsonify(describe_view(view) | {"offset": offset})


@blueprint.get("/<run>/events")
def feed(run: str) -> Response:
    """The events of a run as they come, from the beginning, after an offset, or after the last one that was received.

    Raises:
        RunNotFoundError: There is no such run.
        TooManyWatchersError: All places are taken; ask for the run itself once in a while.
    """
    runs = _coordinated()
    tail = EventTail(find_run(runs.coordinator, run) / EVENTS_FILE, after=_after())
    places = cast("threading.BoundedSemaphore", current_app.extensions[_PLACES])
    with ExitStack() as stack:
        if not places.acquire(blocking=False):
            raise TooManyWatchersError(f"Expected at most {MOST_FEEDS} live feeds at once; there are as many already.")
        stack.callback(places.release)
        answer = Response(_follow(tail, lambda: runs.view(run)[0].state.is_over), mimetype="text/event-stream")
        # Also where the reader has gone before the first event. The stack gives a place back once.
        answer.call_on_close(stack.pop_all().close)
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _coordinated() -> RunViews:
    found = current_services().federation.runs
    if found is None:
        abort(404, description="This installation coordinates no federation.")
    return found


def _after() -> int:
    wanted = request.headers.get("Last-Event-ID") or request.args.get("after", "0")
    return int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 16 else 0


def _follow(tail: EventTail, is_over: Callable[[], bool]) -> Iterator[str]:
    yield f"retry: {_RETRY_MS}\n\n"
    ends, spoke = time.monotonic() + FEED_S, time.monotonic()
    while time.monotonic() < ends:
        events = tail.lines()
        for offset, event in events:
            yield f"id: {offset}\ndata: {json.dumps(event)}\n\n"
            spoke = time.monotonic()
        if events:
            continue
        if is_over():
            # Without it the reader would come back for ever.
            yield "event: end\ndata: {}\n\n"
            return
        if time.monotonic() - spoke >= _HEARTBEAT_S:
            # A comment: it finds out whether somebody still reads.
            yield ": still here\n\n"
            spoke = time.monotonic()
        time.sleep(_LOOK_S)
