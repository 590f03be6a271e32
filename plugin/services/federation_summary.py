"""A federated run in numbers: from the events that its coordinator wrote, and from what its sites recorded."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from federated.privacy.budget import Spending
from federated.rounds.events import EVENTS_FILE
from federated.rounds.summary import RunSummary, summarise_run
from plugin.services.event_tail import EventTail
from plugin.services.round_records import Departure, RoundRecords, cost_of


def read_events(run_folder: Path) -> list[dict[str, Any]]:
    """The events of a run; a line that is half written is left out."""
    return EventTail(run_folder / EVENTS_FILE).read()


def finished_rounds(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The "round-finished" events, one a round, in order."""
    by_round = {event["round"]: event for event in events if event["event"] == "round-finished"}
    return [by_round[number] for number in sorted(by_round)]


def summarise(events: Sequence[Mapping[str, Any]]) -> RunSummary:
    """What a run came to, or has come to until now."""
    started, ended, rounds = _last(events, "run-started"), _last(events, "run-finished"), finished_rounds(events)
    return summarise_run(
        rounds,
        run=str(started.get("run", "")),
        model=str(rounds[-1]["model"]) if rounds else "",
        sites=list(started.get("sites", ())),
        secure_aggregation=bool(started.get("secure_aggregation")),
        reason=str(ended.get("reason", "not finished")),
    )


def describe_departures(departures: Sequence[Departure]) -> dict[str, Any]:
    """What left a site, added up: times and bytes by kind."""
    found: dict[str, dict[str, int]] = {}
    for departure in departures:
        kind = found.setdefault(departure.what, {"times": 0, "bytes": 0})
        kind["times"] += 1
        kind["bytes"] += departure.size
    return {"bytes": sum(kind["bytes"] for kind in found.values()), "kinds": dict(sorted(found.items()))}


def spent_epsilon(records: RoundRecords, run: str, delta: float) -> float | None:
    """What a run cost each patient of a site, by the site's own accountant; None where nothing was charged."""
    spendings: list[Spending] = [row.spending for row in records.charges() if row.spending.run == run]
    return cost_of(spendings, delta).epsilon if spendings else None


def _last(events: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    empty: Mapping[str, Any] = {}
    return next((event for event in reversed(events) if event["event"] == kind), empty)
