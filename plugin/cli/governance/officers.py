"""`qfl governance officer enrol|revoke|list`: who has a key to sign with."""

from pathlib import Path

import click

from plugin.cli.common import explained, site_services
from plugin.cli.governance.passphrases import passphrase_options, read_passphrases
from plugin.cli.rows import print_rows


@click.group()
def officer() -> None:
    """The people who sign what is done with models, policies and patients' data."""


@officer.command()
@click.argument("username")
@click.option("--by", metavar="ADMINISTRATOR", help="Who signs it; left out by the very first administrator.")
@passphrase_options
@explained
def enrol(username: str, by: str | None, passphrase_stdin: bool, passphrase_file: Path | None) -> None:
    """Give a user a key under a passphrase of the user's own, or a new key instead of a lost one.

    The user chooses the passphrase (12 characters at least), then the administrator signs with the own one. Whoever
    gets another role is enrolled again.
    """
    from plugin.services.governance import officers

    people = [username] if by is None else [username, by]
    found = read_passphrases(people, new=[username], stdin=passphrase_stdin, file=passphrase_file)
    services = site_services()
    officers.enrol(
        services.governance,
        services.store,
        username=username,
        passphrase=found[0],
        by=None if by is None else officers.Signer(by, found[1]),
        at=services.clock(),
    )
    user = services.store.get_user(username)
    click.echo(f"{username} may sign as {user.role}.")


@officer.command()
@click.argument("username")
@click.option("--by", metavar="ADMINISTRATOR", required=True, help="Who signs it.")
@passphrase_options
@explained
def revoke(username: str, by: str, passphrase_stdin: bool, passphrase_file: Path | None) -> None:
    """Take an officer's key away: what it signed counts no more for anything that is not decided yet."""
    from plugin.services.governance import officers

    found = read_passphrases([by], stdin=passphrase_stdin, file=passphrase_file)
    services = site_services()
    signer = officers.Signer(by, found[0])
    officers.revoke(services.governance, services.store, username=username, by=signer, at=services.clock())
    click.echo(f"The key of {username} is revoked.")


@officer.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@explained
def list_officers(as_json: bool) -> None:
    """Show who has a key, and for which role."""
    from plugin.services.governance.officers import list_officers

    found = list_officers(site_services().governance)
    rows = [(each.username, each.role, each.enrolled_at, each.revoked_at, each.key[:12]) for each in found]
    heads = ("officer", "enrolled as", "enrolled", "revoked", "key")
    print_rows(found, heads, rows, "Nobody is enrolled: `qfl governance officer enrol`.", as_json=as_json)


COMMANDS = (officer,)
