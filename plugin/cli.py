"""The command line: parse, call one service, print."""

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def _explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one line and an exit code; anything else is a bug and shows where."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from dicom_ingest.errors import DicomIngestError
        from federated.errors import FederatedError
        from fhir_adapter.errors import FhirAdapterError
        from plugin.errors import PluginError, remedy

        try:
            return command(*args, **kwargs)
        except (PluginError, FhirAdapterError, DicomIngestError, FederatedError) as error:
            click.echo(f"qfl: {error}", err=True)
            sys.exit(remedy(error).exit_code)

    return run


def _services() -> Any:
    from plugin.bootstrap import build_services
    from plugin.settings import load_settings

    return build_services(load_settings())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="qfl-hospital-plugin")
def main() -> None:
    """Brain-tumour segmentation inside the hospital: FHIR in, DICOM SEG and SR and a FHIR report out.

    Research use only; not a medical device. The settings come from the environment (docs/configuration.md).
    """


@main.command()
@_explained
def migrate() -> None:
    """Bring the database to this version's schema."""
    from plugin.bootstrap import migrate_database
    from plugin.settings import load_settings

    migrate_database(load_settings())
    click.echo("The database is up to date.")


@main.command()
@click.option("--threads", default=8, show_default=True, help="Requests that are answered at once.")
@_explained
def web(threads: int) -> None:
    """Run the web process: FHIR hooks, pages, API, health and metrics."""
    from plugin.settings import load_settings

    settings = load_settings()
    address = f"{settings.web.host}:{settings.web.port}"
    # One process: its metrics and its rate limits are whole. More replicas, not more processes, carry more load.
    options = ["--workers", "1", "--threads", str(threads), "--bind", address]
    # No control socket: it would lie in the user's home, where two installations meet.
    options += ["--timeout", "60", "--graceful-timeout", "20", "--no-control-socket"]
    # Without the query, which may hold the name that somebody searched for.
    options += ["--access-logfile", "-", "--access-logformat", "%(t)s %(h)s %(m)s %(U)s %(s)s %(b)s bytes %(M)s ms"]
    _become("gunicorn", *options, "plugin.app:create_app_from_environment()")


@main.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice(["inference", "delivery"]),
    help="Serve only this queue; repeat for several. All by default.",
)
@click.option("--concurrency", default=2, show_default=True, help="Tasks that run at once.")
@_explained
def worker(queues: tuple[str, ...], concurrency: int) -> None:
    """Run a worker: analyses and deliveries."""
    served = ",".join(queues or ("inference", "delivery"))
    _become("celery", "-A", "plugin.celery_app", "worker", "-Q", served, "-c", str(concurrency), "-l", "INFO")


@main.command()
@_explained
def timer() -> None:
    """Run the timer: finds lost work, due deliveries and missed events. Exactly one a site."""
    _become("celery", "-A", "plugin.celery_app", "beat", "-l", "INFO")


def _become(module: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the server itself."""
    from plugin.settings import load_settings

    load_settings()  # a wrong setting is told here, in one line
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@main.command()
@click.argument("study_instance_uid")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Show the progress until the result is published."
)
@click.option("--timeout", default=900.0, show_default=True, help="Stop waiting after so many seconds.")
@_explained
def analyse(study_instance_uid: str, wait: bool, timeout: float) -> None:
    """Analyse one study now. Ctrl-C stops the waiting, not the analysis."""
    from plugin.services import intake

    services = _services()
    analysis_id = intake.request_analysis(
        services,
        study_instance_uid=study_instance_uid,
        requested_by=f"command line ({os.environ.get('USER', 'unknown')})",
    )
    click.echo(f"Analysis {analysis_id}")
    click.echo(f"{services.site.public_url}/analyses/{analysis_id}")
    if wait:
        sys.exit(_follow(services, analysis_id, timeout))


def _follow(services: Any, analysis_id: str, timeout_s: float) -> int:
    """Show the progress; 0 when the result is published, 1 when it ended otherwise, 75 when still running."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from plugin.services.values import AnalysisState, Step

    end = time.monotonic() + timeout_s
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("queued", total=len(Step))
        while time.monotonic() < end:
            analysis = services.store.get(analysis_id)
            done = list(Step).index(analysis.step) + analysis.progress if analysis.step else 0.0
            progress.update(bar, completed=done, description=f"{analysis.state}: {analysis.step or 'waiting'}")
            if not analysis.state.is_open:
                break
            time.sleep(0.5)
    click.echo(f"{analysis.state}: {analysis.reason or (analysis.result.findings if analysis.result else '')}")
    if analysis.state.is_open:
        return 75
    good = {AnalysisState.AWAITING_REVIEW, AnalysisState.ACCEPTED, AnalysisState.REJECTED, AnalysisState.DUPLICATE}
    return 0 if analysis.state in good else 1


@main.group()
def subscriptions() -> None:
    """The subscriptions by which the EHR announces studies."""


@subscriptions.command()
@click.argument("name", default="imaging-studies")
@click.option(
    "--topic", metavar="URL", help="A topic's canonical URL: Subscriptions Backport IG. Without: R4 rest-hook."
)
@click.option("--filter", "filters", multiple=True, metavar="SEARCH", help="Filter of a topic; repeat for several.")
@click.option("--criteria", help="R4 search of a rest-hook.  [default: ImagingStudy?status=available]")
@click.option(
    "--payload",
    type=click.Choice(["empty", "id-only", "full-resource"]),
    help="What a notification carries.  [default: id-only for a topic, else empty]",
)
@_explained
def register(name: str, topic: str | None, filters: tuple[str, ...], criteria: str | None, payload: str | None) -> None:
    """Have the EHR announce studies to this plugin, under a NAME of your choice."""
    from plugin.services import subscriptions as service

    if topic and criteria:
        raise click.UsageError("Give either --topic (with --filter) or --criteria, not both.")
    record = service.register_subscription(
        _services(),
        name=name,
        kind=service.TOPIC if topic else service.QUERY,
        criteria=topic or criteria or service.DEFAULT_CRITERIA,
        payload=payload or ("id-only" if topic else "empty"),
        filters=filters,
    )
    click.echo(f"{record.name}: {record.fhir_reference} is {record.status} at the EHR.")


@subscriptions.command("list")
@_explained
def list_subscriptions() -> None:
    """Show what is registered and when it was last heard of."""
    _print_subscriptions(_services().store.list_subscriptions())


@subscriptions.command()
@_explained
def check() -> None:
    """Ask the EHR about each subscription, and re-activate those it gave up; exits 1 if one is not active."""
    from plugin.services import subscriptions as service

    services = _services()
    service.check_subscriptions(services)
    records = services.store.list_subscriptions()
    _print_subscriptions(records)
    sys.exit(0 if all(record.status == "active" for record in records) else 1)


@subscriptions.command()
@click.argument("name")
@_explained
def remove(name: str) -> None:
    """Delete a subscription at the EHR and here."""
    from plugin.services import subscriptions as service

    service.remove_subscription(_services(), name=name)
    click.echo(f"{name} is removed.")


def _print_subscriptions(records: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    if not records:
        click.echo("No subscription is registered. Register one with: qfl subscriptions register")
        return
    table = Table("name", "kind", "criteria", "payload", "at the EHR", "status", "last heard", "last error")
    for record in records:
        heard = record.last_seen_at.isoformat(timespec="seconds") if record.last_seen_at else "never"
        table.add_row(
            record.name,
            record.kind,
            record.criteria,
            record.payload,
            record.fhir_reference or "-",
            record.status,
            heard,
            record.last_error or "",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@main.group()
def users() -> None:
    """The people who may sign in."""


@users.command()
@click.argument("username")
@click.option("--name", default="", help="As shown on pages and in the EHR.")
@click.option("--role", type=click.Choice(["radiologist", "administrator"]), default="radiologist", show_default=True)
@click.option("--practitioner", metavar="Practitioner/ID", help="The person's resource in the EHR.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@_explained
def add(username: str, name: str, role: str, practitioner: str | None, password_stdin: bool) -> None:
    """Add a user, or give one a new password."""
    from plugin.services import accounts
    from plugin.services.values import Role

    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = accounts.add_user(
        _services(),
        username=username,
        display_name=name,
        role=Role(role),
        password=password,
        practitioner_reference=practitioner,
    )
    click.echo(f"{user.username} may sign in as {user.role}.")


@users.command()
@click.argument("username")
@_explained
def token(username: str) -> None:
    """Print a new API token of a user. It is shown once: only its digest is kept."""
    from plugin.services import accounts

    click.echo(accounts.issue_token(_services(), username=username))


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Try it: a pretend EHR and PACS, a real patient's MRI, and the whole loop."""
    # The pretend hospital is a peer in its own processes; the plugin never imports it.
    os.execv(sys.executable, [sys.executable, "-m", "sandbox.demo", *arguments])
