"""How a federation comes together: keys, signing requests and kits."""

import json
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained

FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@FOLDER
@click.option("--name", required=True, help="Of the federation.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="H",
    help="DNS name or IP address of the coordinator; repeatable, the best first.  [default: localhost]",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Of the coordinator's gateway.  [default: 9443]")
@explained
def init(folder: Path, name: str, hosts: tuple[str, ...], port: int | None) -> None:
    """Make the coordinator's folder: its keys, TLS certificates and an empty roster.

    Run again, it keeps the keys, and renews the TLS certificate when that ends soon or the hosts are others.
    """
    from plugin.services.federation_kits import init_federation, key_fingerprint

    found = init_federation(folder, name=name, hosts=hosts, port=port)
    click.echo(f"{found.federation} at {found.address}, {len(found.roster.sites)} sites.")
    click.echo(f"Fingerprint of the coordinator's key: {key_fingerprint(found.roster)}")


@click.command()
@FOLDER
@click.option("--site", required=True, metavar="NAME", help="The site's name: a-z, 0-9 and '-'.")
@explained
def request(folder: Path, site: str) -> None:
    """Make this site's keys and its signing request for the coordinator. The private keys stay in FOLDER."""
    from plugin.services.federation_kits import describe_folder, make_request

    path = make_request(folder, site=site)
    click.echo(f"Send {path} to the coordinator; it holds public keys only.")
    click.echo(f"Tell the coordinator, on another way, this fingerprint: {describe_folder(folder)['fingerprint']}")


@click.command()
@FOLDER
@click.argument("requests", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="The fingerprints have been compared: do not ask.")
@explained
def admit(folder: Path, requests: tuple[Path, ...], yes: bool) -> None:
    """Add the sites of these signing requests to the coordinator's roster, and write every site's kit."""
    from plugin.services import federation_kits

    asked = {path: federation_kits.read_bytes(path) for path in requests}
    for data in asked.values():
        site, digits = federation_kits.fingerprint_of_request(data)
        click.echo(f"{site}: {digits}")
    if not yes:
        click.confirm("Are these the fingerprints that the sites told you, on another way?", abort=True)
    for site, kit in federation_kits.admit(folder, asked.values()).items():
        click.echo(f"Kit of {site}: {kit}")


@click.command()
@FOLDER
@click.argument("sites", nargs=-1, required=True)
@explained
def remove(folder: Path, sites: tuple[str, ...]) -> None:
    """Take sites out of the coordinator's roster, and write the kits of those that stay."""
    from plugin.services import federation_kits

    found = federation_kits.remove(folder, sites)
    click.echo(f"{found.federation} has {len(found.roster.sites)} sites; send each its new kit.")


@click.command()
@FOLDER
@click.argument("kit", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--fingerprint", metavar="DIGITS", help="Of the coordinator's key, as the coordinator told it.")
@click.option("--renewed", multiple=True, metavar="SITE", help="Another site known to have made new keys; repeatable.")
@explained
def join(folder: Path, kit: Path, fingerprint: str | None, renewed: tuple[str, ...]) -> None:
    """Check a kit and install it in this site's folder. The first time, it pins the coordinator's key."""
    from plugin.services import federation_kits

    data = federation_kits.read_bytes(kit)
    if fingerprint is None and not federation_kits.is_pinned(folder):
        federation, fingerprint = federation_kits.fingerprint_of_kit(data)
        click.echo(f"Kit of {federation}; its coordinator's key: {fingerprint}")
        click.confirm("Is this the fingerprint that the coordinator told you, on another way?", abort=True)
    site = federation_kits.join(folder, data, fingerprint=fingerprint, renewed=renewed)
    click.echo(f"{site.name} has joined {site.federation} at {site.address}, with {len(site.roster.sites)} sites.")
    click.echo(f"What it allows stands in {site.policy_file}: read it before the first round.")


@click.command()
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def show(folder: Path, as_json: bool) -> None:
    """Show a coordinator's or a site's folder: fingerprints, sites, and when certificates end."""
    from plugin.services.federation_kits import describe_folder

    found = describe_folder(folder)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["role"] == "site":
        lines += [f"Site         {found['site']}", f"  its key    {found['fingerprint']}"]
        if not found["joined"]:
            return [*lines, "Has not joined a federation yet."]
    lines += [
        f"Federation   {found['federation']}, roster version {found['version']}",
        f"  at         {found['address']}",
        f"  its key    {found['coordinator']}",
    ]
    for name, certificate in found["certificates"].items():
        state = "EXPIRED" if certificate["days_left"] < 0 else f"{certificate['days_left']} days left"
        lines.append(f"  {name:<10} until {certificate['expires'][:10]}, {state}")
    lines.append(f"Sites        {len(found['sites'])}")
    return lines + [f"  {site['name']:<10} {site['fingerprint']}" for site in found["sites"]]
