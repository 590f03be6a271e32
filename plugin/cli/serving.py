"""The processes: web, worker, timer; and the demo that starts them all."""

import os
import sys

import click

from plugin.cli.common import explained


@click.command()
@explained
def migrate() -> None:
    """Bring the database to this version's schema."""
    from plugin.bootstrap.ledger import migrate_database
    from plugin.settings import load_settings

    migrate_database(load_settings())
    click.echo("The database is up to date.")


@click.command()
@click.option("--threads", default=8, show_default=True, help="Requests that are answered at once.")
@explained
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


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice(["inference", "delivery", "training"]),
    help="Serve only this queue; repeat for several.  [default: inference, delivery]",
)
@click.option("--concurrency", default=2, show_default=True, help="Tasks that run at once.")
@explained
def worker(queues: tuple[str, ...], concurrency: int) -> None:
    """Run a worker: analyses and deliveries, or trainings.

    A training takes hours: it has a worker of its own, so that no analysis waits for it.
    """
    served = ",".join(queues or ("inference", "delivery"))
    _become("celery", "-A", "plugin.celery_app", "worker", "-Q", served, "-c", str(concurrency), "-l", "INFO")


@click.command()
@explained
def timer() -> None:
    """Run the timer: finds lost work, due deliveries and missed events. Exactly one a site."""
    _become("celery", "-A", "plugin.celery_app", "beat", "-l", "INFO")


def _become(module: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the server itself."""
    from plugin.settings import load_settings

    load_settings()  # a wrong setting is told here, in one line
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Try it: a pretend EHR and PACS, a real patient's MRI, and the whole loop."""
    # The pretend hospital is a peer in its own processes; the plugin never imports it.
    os.execv(sys.executable, [sys.executable, "-m", "sandbox.demo", *arguments])
