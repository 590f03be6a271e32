"""`qfl governance card`: what a model version is, reaches, and must not be used for."""

import json
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained


@click.command()
@click.option(
    "--model",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A model's folder, or that of a federated run.  [default: the site's model]",
)
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Write files instead of printing."
)
@click.option(
    "--format",
    "form",
    default="markdown",
    show_default=True,
    type=click.Choice(["html", "json", "markdown", "xml"]),
    help="xml is the CHAI Applied Model Card, markdown the Hugging Face one.",
)
@click.option("--json", "as_json", is_flag=True, help="Say what was written as JSON; without --out, the card as JSON.")
@explained
def card(model: Path | None, out: Path | None, form: str, as_json: bool) -> None:
    """Write the model card of a version, from its files, its audit and its state of release.

    A federated run has a model, and a card, for each finished round; printed is the last one, --out writes them all.
    What is not on record is said to be missing.
    """
    from plugin.services.governance import cards as service
    from plugin.settings import PACKAGED_MODEL

    desk, installed = _site()
    found = service.read_cards(model or installed or PACKAGED_MODEL, desk)
    if out is None:
        click.echo(service.render(found[-1], "json" if as_json else form), nl=False)
        return
    written = service.write_cards(found, out, form)
    if as_json:
        click.echo(json.dumps([{"version": each.version, "file": str(path)} for each, path in _pairs(found, written)]))
        return
    for each, path in _pairs(found, written):
        click.echo(f"{path}: {each.name}, version {each.version[:12]}")


def _pairs(cards: Any, paths: Any) -> Any:
    return zip(cards, paths, strict=True)


def _site() -> tuple[Any, Path | None]:
    """The site's records and its model's folder; neither where no site is configured here, which is said."""
    from plugin.bootstrap.services import build_services
    from plugin.errors import SettingsError
    from plugin.settings import load_settings

    try:
        settings = load_settings()
    except SettingsError as fault:
        click.echo(f"No site is configured here, so its audits and releases are not told. {fault}", err=True)
        return None, None
    services = build_services(settings)
    if not services.store.is_alive():
        click.echo("The site's database does not answer: its audits and releases are not told.", err=True)
        return None, settings.model_dir
    return services.governance, settings.model_dir


COMMANDS = (card,)
