"""Watching a run from beside: live, and as a report when it is over."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from federated.rounds.events import Event
from plugin.cli.common import INTERRUPTED, explained, interruptible

if TYPE_CHECKING:
    from federated.rounds.run_view import RunState
    from plugin.services.event_tail import EventTail
    from plugin.services.federation_report import SiteSide
    from plugin.services.local_federation import LocalFederation

_LOOK_S = 0.5
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_RUN = click.option("--run", metavar="ID", help="Which run.  [default: the newest]")


@click.command()
@click.argument("folder", type=_FOLDER)
@_RUN
@click.option("--json", "as_json", is_flag=True, help="Print each event as a JSON object, one a line.")
@explained
def watch(folder: Path, run: str | None, as_json: bool) -> None:
    """Watch a run of the coordinator in FOLDER until it ends: sites, rounds, Dice, epsilon, bytes, seconds, energy.

    It may have begun before, and ended: then what it came to is shown. Exits with 1 where the run did not get done.
    """
    from federated.rounds.events import EVENTS_FILE
    from federated.rounds.run_view import RunState
    from plugin.cli.federation_view import RunDisplay
    from plugin.services.event_tail import EventTail
    from plugin.services.federation_runs import coordinator_folder, find_run

    tail = EventTail(find_run(coordinator_folder(folder), run) / EVENTS_FILE)
    with interruptible() as is_interrupted:
        if as_json:
            state = _follow(tail, _print_events, is_interrupted)
        else:
            with RunDisplay() as display:
                # What is old is no news to a person at a terminal; a log gets all of it.
                before = tail.read()
                display.show(before, is_news=not display.console.is_terminal)
                state = _follow(tail, display.show, is_interrupted, before)
    sys.exit(0 if state is RunState.DONE else 1)


def _print_events(events: Iterable[Event]) -> None:
    for event in events:
        click.echo(json.dumps(event))


def _follow(
    tail: "EventTail",
    take: Callable[[Sequence[Event]], None],
    is_interrupted: Callable[[], bool],
    before: Sequence[Event] = (),
) -> "RunState":
    from federated.rounds.progress import fold

    view = fold(before)
    while not view.state.is_over:
        events = tail.read()
        take(events)
        view = fold(events, view)
        if is_interrupted():
            sys.exit(INTERRUPTED)
        if not events:
            time.sleep(_LOOK_S)
    return view.state


@click.command()
@click.argument("folder", type=_FOLDER)
@_RUN
@click.option("--json", "as_json", is_flag=True, help="Print the run's view as JSON, and write no report.")
@explained
def report(folder: Path, run: str | None, as_json: bool) -> None:
    """Write the report of a run of the coordinator in FOLDER: report.html and its plots, in the run's folder."""
    from federated.rounds.progress import fold
    from federated.rounds.run_view import describe_view
    from plugin.services.federation_report import write_report
    from plugin.services.federation_runs import coordinator_folder, find_run
    from plugin.services.federation_summary import read_events

    place = find_run(coordinator_folder(folder), run)
    if as_json:
        click.echo(json.dumps(describe_view(fold(read_events(place)))))
        return
    local = _local(folder)
    click.echo(write_report(place, site_sides(local, place) if local else None))


def site_sides(local: "LocalFederation", run: Path) -> "dict[str, SiteSide]":
    """What the sites of a federation on this machine say themselves of a run, by name."""
    from plugin.bootstrap.federation import build_site_records
    from plugin.services.federation import read_plan
    from plugin.services.federation_report import SiteSide
    from plugin.services.federation_summary import spent_epsilon
    from plugin.settings import load_settings

    found, delta = {}, read_plan(local.coordinator, run.name).privacy.delta
    for site in local.sites:
        records = build_site_records(load_settings(local.site_environment(site)))
        departures = records.departures(limit=1_000_000, run=run.name)
        found[site] = SiteSide(spent_epsilon(records, run.name, delta), departures)
    return found


def _local(folder: Path) -> "LocalFederation | None":
    """The federation that `qfl federation up` made in a folder; None where it made none."""
    from plugin.services.federation_kits import Provisioned
    from plugin.services.federation_runs import coordinator_folder
    from plugin.services.local_federation import LocalFederation

    coordinator, sites = coordinator_folder(folder), folder / "sites"
    if coordinator == folder or not sites.is_dir():
        return None
    homes = {path.name: path.absolute() for path in sites.iterdir() if (path / "data").is_dir()}
    return LocalFederation(folder.absolute(), Provisioned(coordinator, homes), None, "")
