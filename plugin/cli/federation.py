"""Federated rounds between hospitals: the coordinator, a site's agent, and all of it on one machine to try it out."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from plugin.cli.common import INTERRUPTED, explained, interruptible
from plugin.cli.federation_kits import admit, init, join, remove, request, show
from plugin.cli.federation_options import run_options, run_request
from plugin.cli.federation_site import budget, departures, leave, pause, policy, resume, rounds
from plugin.cli.federation_watch import report, site_sides, watch

FOLDER = click.Path(file_okay=False, path_type=Path)
_SETTLE_S = 120.0
"""On one machine everybody starts at once, and slowly."""
_log = logging.getLogger("qfl.federation")


@click.group()
def federation() -> None:
    """Train together with other hospitals; images and reports never leave this one.

    To try it out: qfl federation up --sites 3 --rounds 2. Research use only; not a medical device.
    """


for _command in (init, request, admit, join, remove, show):
    federation.add_command(_command)
for _command in (policy, departures, rounds, budget, pause, resume, leave):
    federation.add_command(_command)
for _command in (watch, report):
    federation.add_command(_command)


@federation.command()
@click.option("--sites", default=3, show_default=True, type=click.IntRange(1), help="Phantom hospitals, up to 10.")
@run_options
@click.option("--cases", type=click.IntRange(1), help="Most cases that a site trains on.  [default: all it has]")
@click.option("--folder", type=FOLDER, help="For all of it.  [default: a new one below var/federation]")
@click.option("--broker", default="", metavar="URL", help="A Redis between agents and workers.  [default: folders]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@explained
def up(folder: Path | None, as_json: bool, **asked: Any) -> None:
    """Run a whole federation on this machine: coordinator, sites and workers as processes of their own.

    Each site is a phantom hospital with patients that never were. Masking and noise are on. Kill what you like: it is
    started again, and the round goes on. Ctrl-C stops everything; the same command, or no options but --folder, goes on
    after the last finished round.

    With 6 to 20 patients a hospital, the noise that protects each of them would drown a whole network: the run begins
    with the small model that is shipped and trains its head. --fresh and --no-privacy show what noise costs.
    """
    from plugin.bootstrap.federation import build_children, hold_folder
    from plugin.cli.federation_view import LocalView
    from plugin.services.local_federation import choose_folder, keep_options, kept_options
    from plugin.services.local_run import see_through

    folder = (folder or choose_folder(Path("var/federation"))).absolute()
    with hold_folder(folder), interruptible() as is_interrupted:
        if not _is_said(asked) and (kept := kept_options(folder)) is not None:
            asked = {**asked, **{name: value for name, value in kept.items() if name in asked}}
        keep_options(folder, asked)
        local, plan, path = _prepare(folder, asked)
        with LocalView(plan, folder, quiet=as_json) as view:
            end = see_through(local, path, build_children(folder), view.show, is_interrupted)
    if end is None:
        click.echo(f"Stopped. Go on with: qfl federation up --folder {folder}", err=True)
        sys.exit(INTERRUPTED)
    found = _describe(local, path.parent)
    if as_json:
        click.echo(json.dumps(found))
    else:
        view.conclude(found)
    if end.get("reason") != "done":
        sys.exit(1)


@federation.command()
@click.option("--folder", required=True, type=FOLDER, help="Of the coordinator, as `qfl federation init` made it.")
@click.option(
    "--run",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Plan of the run, as `qfl federation plan` printed it.  [default: the oldest run that has no end]",
)
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Of the door for sites.")
@explained
def coordinator(folder: Path, plan_file: Path | None, listen: str) -> None:
    """Run the coordinator: the engine, the door for sites, and one run to its end.

    Whatever dies on the way is started again, and a run that was stopped goes on after its last finished round.
    """
    from federated.rounds.plan import parse_plan
    from plugin.bootstrap.federation import build_engine, hold_folder
    from plugin.errors import FederationRunError
    from plugin.services import federation as service
    from plugin.services.federation_folders import load_coordinator

    _log_to_standard_error()
    folder = folder.absolute()
    found = load_coordinator(folder)
    with interruptible() as is_interrupted, hold_folder(folder / service.RUNS):
        if plan_file is not None:
            plan = parse_plan(plan_file.read_bytes())
        elif runs := service.open_runs(folder):
            plan = service.read_plan(folder, runs[0])
        else:
            raise FederationRunError(f"{folder}: has no run without an end; give the plan of a new one with --run.")
        with build_engine(folder, found, listen) as engine:
            _log.info("The door for sites is at %s:%d; sites call it %s.", listen, found.port, found.address)
            end = service.coordinate(engine, folder, plan, service.RosterKeys(folder), is_interrupted)
    if end is None:
        sys.exit(INTERRUPTED)
    _log.info("Run %s has ended: %s", plan.run, end.get("reason"))
    sys.exit(0 if end.get("reason") == "done" else 75)


@federation.command()
@click.argument("folder", type=FOLDER)
@click.option("--run", required=True, metavar="ID", help="Of the new run: a-z, 0-9 and '-'.")
@click.option("--site", "sites", multiple=True, metavar="NAME", help="Who may take part; repeatable.  [default: all]")
@click.option("--minimum-cases", default=5, show_default=True, type=click.IntRange(1), help="Of a site.")
@click.option("--quorum", type=click.IntRange(1), help="Sites that a round begins with.  [default: more than half]")
@run_options
@explained
def plan(folder: Path, run: str, sites: tuple[str, ...], minimum_cases: int, quorum: int | None, **wanted: Any) -> None:
    """Print the plan of a new run of the coordinator in FOLDER, for `qfl federation coordinator --run`."""
    from dataclasses import replace

    from federated.rounds.plan import describe_plan
    from plugin.bootstrap.federation import app_digest
    from plugin.services.federation_folders import load_coordinator
    from plugin.services.federation_plan import make_plan

    found = load_coordinator(folder)
    asked = replace(run_request(wanted, fewest=minimum_cases), quorum=quorum)
    names = sites or tuple(found.roster.sites)
    made = make_plan(asked, federation=found.federation, run=run, sites=names, app=app_digest())
    click.echo(describe_plan(made), nl=False)


@federation.command()
@click.option("--folder", type=FOLDER, help="Of the site.  [default: QFL_FEDERATION_DIR]")
@explained
def agent(folder: Path | None) -> None:
    """Run this hospital's agent: it answers the coordinator's questions, by the hospital's policy.

    It only ever calls out, and runs no code from outside. Training is done by a worker: qfl worker --queue training.
    """
    from dataclasses import replace

    from plugin.bootstrap.federation import hold_folder
    from plugin.bootstrap.processes import build_agent
    from plugin.settings import load_settings

    _log_to_standard_error()
    settings = load_settings()
    if folder is not None:
        settings = replace(settings, federation=replace(settings.federation, folder=folder.absolute()))
    with interruptible() as is_interrupted, hold_folder(settings.federation.work):
        serve = build_agent(settings, is_interrupted)
        _log.info("The agent of %s runs.", settings.federation.folder.name)
        serve()
    _log.info("The agent has stopped.")


@federation.command()
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def status(folder: Path, as_json: bool) -> None:
    """Show how the runs of the coordinator in FOLDER do."""
    from federated.rounds.summary import describe_summary
    from plugin.services import federation as service
    from plugin.services.federation_summary import read_events, summarise

    for path in sorted((folder / service.RUNS).glob(f"*/{service.PLAN}")):
        found = describe_summary(summarise(read_events(path.parent)))
        found["run"] = path.parent.name
        if as_json:
            click.echo(json.dumps(found))
            continue
        dice = f", worst site {found['worst_site']}" if found["worst_site"] else ""
        click.echo(f"{found['run']}: {found['rounds_finished']} rounds finished, {found['reason']}{dice}")


@federation.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def health(as_json: bool) -> None:
    """Say whether this hospital's agent lives; exits with 1 where it does not."""
    from plugin.services.site_agent import HEALTH_FILE, read_health
    from plugin.settings import load_settings

    found = read_health(load_settings().federation.work / HEALTH_FILE, datetime.now(UTC))
    is_alive = bool(found and found["alive"])
    if as_json:
        click.echo(json.dumps(found or {"alive": False}))
    else:
        said = f"; last heard of at {found['at']}" if found else ""
        click.echo(f"The agent {'lives' if is_alive else 'does not live'}{said}.")
    sys.exit(0 if is_alive else 1)


def _is_said(asked: Mapping[str, Any]) -> bool:
    """Whether the person said anything of the run."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in asked)


def _prepare(folder: Path, asked: Mapping[str, Any]) -> tuple[Any, Any, Path]:
    """Keys, policies and databases of a federation, and the plan of its run: a new one, or that without an end."""
    from plugin.bootstrap.federation import app_digest
    from plugin.services import federation as service
    from plugin.services.federation_plan import FEWEST_CASES, make_plan
    from plugin.services.local_federation import NAME, allow, provision

    cases = asked["cases"]
    request = run_request(asked, fewest=min(cases or FEWEST_CASES, FEWEST_CASES), settle_s=_SETTLE_S)
    local = provision(folder, asked["sites"], cases=cases, broker=asked["broker"])
    run = next(iter(service.open_runs(local.coordinator)), None) or service.next_run(local.coordinator)
    plan = make_plan(request, federation=NAME, run=run, sites=local.sites, app=app_digest())
    path = service.keep_plan(local.coordinator, plan)
    allow(local, plan)
    _migrate(local)
    return local, plan, path


def _migrate(local: Any) -> None:
    from plugin.bootstrap.ledger import migrate_database
    from plugin.settings import load_settings

    for site in local.sites:
        migrate_database(load_settings(local.site_environment(site)))


def _describe(local: Any, run: Path) -> dict[str, Any]:
    """The run in numbers, with what its sites say themselves of privacy and of what left them."""
    from federated.rounds.summary import describe_summary
    from plugin.services.federation_report import write_report
    from plugin.services.federation_summary import describe_departures, read_events, summarise

    summary, sides = summarise(read_events(run)), site_sides(local, run)
    known = [side.epsilon for side in sides.values() if side.epsilon is not None]
    return {
        **describe_summary(summary),
        "epsilon": round(max(known), 4) if known else None,
        "epsilon_by_site": {site: side.epsilon for site, side in sides.items()},
        "left": {site: describe_departures(side.departures) for site, side in sides.items()},
        "folder": str(local.folder),
        "report": str(write_report(run, sides)) if summary.rounds_finished else None,
    }


def _log_to_standard_error() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatter in ("httpx", "httpcore"):
        # They log whole URLs at INFO, one for each look for a question.
        logging.getLogger(chatter).setLevel(logging.WARNING)
