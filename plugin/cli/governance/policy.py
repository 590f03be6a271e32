"""`qfl governance policy`: what is in force, whether a file could be, and putting it in force."""

from pathlib import Path

import click

from plugin.cli.common import explained, site_services
from plugin.cli.governance.passphrases import passphrase_options, read_passphrases
from plugin.cli.rows import tell

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--show", is_flag=True, help="Print the policy in force, as YAML: copy it to change it.")
@click.option("--check", metavar="FILE", type=_FILE, help="Only check a file; needs no database.")
@click.option("--set", "put", metavar="FILE", type=_FILE, help="Sign that this policy is to be in force.")
@click.option("--by", metavar="OFFICER", help="Who signs it.")
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def policy(
    show: bool,
    check: Path | None,
    put: Path | None,
    by: str | None,
    passphrase_stdin: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """The governance policy: thresholds, intervals, and who may do what. Without an option, which one is in force.

    Each officer gives the same policy with --set; with enough signatures it is in force. A policy that is empty,
    incomplete or contradicts itself is refused.
    """
    if check is not None:
        _check(check, as_json)
    elif put is not None:
        _set(put, by, passphrase_stdin, passphrase_file)
    else:
        _show(show, as_json)


def _check(file: Path, as_json: bool) -> None:
    from plugin.services.governance.policy_text import parse_policy_text

    found = parse_policy_text(_read(file))
    text = f"{file}: usable. {found.name}, digest {found.digest}"
    tell({"name": found.name, "digest": found.digest}, as_json=as_json, text=text)


def _set(file: Path, by: str | None, stdin: bool, passphrase_file: Path | None) -> None:
    from plugin.services.governance.officers import Signer
    from plugin.services.governance.policy_change import change_policy

    if by is None:
        raise click.UsageError("--set takes --by OFFICER.")
    text = _read(file)
    (passphrase,) = read_passphrases([by], stdin=stdin, file=passphrase_file)
    done = change_policy(site_services(), text=text, by=Signer(by, passphrase))
    signed = f"signed by {done.given} of {done.needed} officers"
    outcome = "It is in force now." if done.is_done else f"{done.needed - done.given} more must sign the same policy."
    click.echo(f"Policy {done.policy.digest[:12]} ({done.policy.name}): {signed}. {outcome}")


def _show(whole: bool, as_json: bool) -> None:
    from governance.policy import to_canonical
    from plugin.services.governance.policy_text import default_policy_text

    desk = site_services().governance
    own = desk.store.policy_text()
    if whole and not as_json:
        click.echo(own or default_policy_text(), nl=False)
        return
    found = desk.policy()
    origin = "set by officers" if own else "as shipped"
    values = {"digest": found.digest, "origin": origin, "policy": to_canonical(found)}
    tell(values, as_json=as_json, text=f"{found.name} ({origin}), digest {found.digest}")


def _read(file: Path) -> str:
    from governance.errors import PolicyError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise PolicyError(f"{file}: cannot be read as text.") from fault


COMMANDS = (policy,)
