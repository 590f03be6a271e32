"""The subscriptions by which the EHR announces studies."""

import sys
from typing import Any

import click

from plugin.cli.common import explained, site_services


@click.group()
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
@explained
def register(name: str, topic: str | None, filters: tuple[str, ...], criteria: str | None, payload: str | None) -> None:
    """Have the EHR announce studies to this plugin, under a NAME of your choice."""
    from plugin.services import subscriptions as service

    if topic and criteria:
        raise click.UsageError("Give either --topic (with --filter) or --criteria, not both.")
    record = service.register_subscription(
        site_services(),
        name=name,
        kind=service.TOPIC if topic else service.QUERY,
        criteria=topic or criteria or service.DEFAULT_CRITERIA,
        payload=payload or ("id-only" if topic else "empty"),
        filters=filters,
    )
    click.echo(f"{record.name}: {record.fhir_reference} is {record.status} at the EHR.")


@subscriptions.command("list")
@explained
def list_subscriptions() -> None:
    """Show what is registered and when it was last heard of."""
    _print_subscriptions(site_services().store.list_subscriptions())


@subscriptions.command()
@explained
def check() -> None:
    """Ask the EHR about each subscription, and re-activate those it gave up; exits 1 if one is not active."""
    from plugin.services import subscriptions as service

    services = site_services()
    service.check_subscriptions(services)
    records = services.store.list_subscriptions()
    _print_subscriptions(records)
    sys.exit(0 if all(record.status == "active" for record in records) else 1)


@subscriptions.command()
@click.argument("name")
@explained
def remove(name: str) -> None:
    """Delete a subscription at the EHR and here."""
    from plugin.services import subscriptions as service

    service.remove_subscription(site_services(), name=name)
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
