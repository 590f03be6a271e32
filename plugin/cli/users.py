"""The people who may sign in."""

import sys

import click

from plugin.cli.common import explained, site_services


@click.group()
def users() -> None:
    """The people who may sign in."""


@users.command()
@click.argument("username")
@click.option("--name", default="", help="As shown on pages and in the EHR.")
@click.option(
    "--role",
    type=click.Choice(["radiologist", "administrator", "ethics-officer", "data-steward", "auditor"]),
    default="radiologist",
    show_default=True,
)
@click.option("--practitioner", metavar="Practitioner/ID", help="The person's resource in the EHR.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@explained
def add(username: str, name: str, role: str, practitioner: str | None, password_stdin: bool) -> None:
    """Add a user, or give one a new password."""
    from plugin.services import accounts
    from plugin.services.values import Role

    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = accounts.add_user(
        site_services(),
        username=username,
        display_name=name,
        role=Role(role),
        password=password,
        practitioner_reference=practitioner,
    )
    click.echo(f"{user.username} may sign in as {user.role}.")


@users.command()
@click.argument("username")
@explained
def token(username: str) -> None:
    """Print a new API token of a user. It is shown once: only its digest is kept."""
    from plugin.services import accounts

    click.echo(accounts.issue_token(site_services(), username=username))
