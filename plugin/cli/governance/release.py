"""`qfl governance release|override|halt|resume|status`: whether a model may be used, signed by officers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained, site_services
from plugin.cli.governance.passphrases import passphrase_options, read_passphrases
from plugin.cli.rows import tell


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    argument = click.argument("model", required=False)
    current = click.option("--current", is_flag=True, help="The model that this site runs (QFL_MODEL_DIR).")
    return argument(current(command))


def _signer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    by = click.option("--by", metavar="OFFICER", required=True, help="Who signs it.")
    return by(passphrase_options(command))


def _audit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    audit = click.option("--audit", metavar="DIGEST", help="Under this audit.  [default: the model's newest]")
    shipped = click.option("--shipped", is_flag=True, help="Take the audit that ships with the model first.")
    return audit(shipped(command))


_reason = click.option("--reason", required=True, help="Why, for the record and for radiologists; names no patient.")


@click.command()
@_model_options
@_audit_options
@_signer_options
@explained
def release(model: str | None, current: bool, audit: str | None, shipped: bool, by: str, **passphrase: Any) -> None:
    """Sign that MODEL may be used, under an audit that passed; studies that waited for it are analysed."""
    from plugin.services.governance import release as models

    services, version = _begin(model, current, shipped)
    signer = _signer(by, **passphrase)
    _told(models.release(services, model_version=version, by=signer, audit_digest=audit), "released")


@click.command()
@_model_options
@_audit_options
@_signer_options
@_reason
@explained
def override(
    model: str | None, current: bool, audit: str | None, shipped: bool, by: str, reason: str, **passphrase: Any
) -> None:
    """Sign that MODEL may be used although its audit failed or is too old. It takes two officers at least."""
    from plugin.services.governance import release as models

    services, version = _begin(model, current, shipped)
    signer = _signer(by, **passphrase)
    done = models.override(services, model_version=version, by=signer, reason=reason, audit_digest=audit)
    _told(done, "released by override")


@click.command()
@_model_options
@_signer_options
@_reason
@explained
def halt(model: str | None, current: bool, by: str, reason: str, **passphrase: Any) -> None:
    """Stop MODEL: studies wait, not analysed, until officers let it run again."""
    from plugin.services.governance import release as models

    services, version = _begin(model, current)
    _told(models.halt(services, model_version=version, by=_signer(by, **passphrase), reason=reason), "halted")


@click.command()
@_model_options
@_signer_options
@_reason
@explained
def resume(model: str | None, current: bool, by: str, reason: str, **passphrase: Any) -> None:
    """Sign that a halted MODEL goes on; studies that waited for it are analysed."""
    from plugin.services.governance import release as models

    services, version = _begin(model, current)
    _told(models.resume(services, model_version=version, by=_signer(by, **passphrase), reason=reason), "resumed")


@click.command()
@_model_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def status(model: str | None, current: bool, as_json: bool) -> None:
    """Show whether MODEL is in use, what that rests on, and what more officers must sign."""
    from plugin.services.governance import release as models

    services, version = _begin(model, current or model is None)
    found = models.status(services.governance, version)
    audit, newest = found.audit, found.newest_audit
    values = {
        "model": version,
        "state": found.status.state,
        "in_use": not found.why_not,
        "why_not": found.why_not,
        "reason_code": found.status.reason_code,
        "reason": found.status.reason,
        "since": found.status.since,
        "until": found.until,
        "audit": audit.digest if audit else None,
        "outcome": audit.outcome if audit else None,
        "newest_audit": newest.digest if newest else None,
        "newest_outcome": newest.outcome if newest else None,
        "pending": [{**vars(each), "officers": list(each.officers)} for each in found.pending],
    }
    tell(values, as_json=as_json, text=_story(values))


def _begin(model: str | None, current: bool, shipped: bool = False) -> tuple[Any, str]:
    from plugin.services.governance.shipped_audit import current_model, take_shipped_audit
    from plugin.settings import load_settings

    if (model is None) != current:
        raise click.UsageError("Give either MODEL or --current.")
    services, folder = site_services(), load_settings().model_dir
    version = current_model(folder) if model is None else model
    if shipped:
        record = take_shipped_audit(services.governance, folder)
        click.echo(f"Audit {record.digest[:12]} of model {record.model_version[:12]}: {record.outcome}.")
    return services, version


def _signer(by: str, *, passphrase_stdin: bool, passphrase_file: Path | None) -> Any:
    from plugin.services.governance.officers import Signer

    (passphrase,) = read_passphrases([by], stdin=passphrase_stdin, file=passphrase_file)
    return Signer(by, passphrase)


def _told(done: Any, what: str) -> None:
    model = done.status.model_version[:12]
    if not done.is_done:
        more = done.needed - done.given
        click.echo(f"Model {model}: signed by {done.given} of {done.needed} officers; {more} more must sign.")
        return
    waited = f" {len(done.queued)} studies that waited are queued." if done.queued else ""
    click.echo(f"Model {model}: {what}, signed by {done.given} of {done.needed} officers.{waited}")


def _story(values: dict[str, Any]) -> str:
    lines = [
        f"Model {values['model']}: {values['state']} since {values['since']:%Y-%m-%d %H:%M %Z}. {values['reason']}"
    ]
    if not values["in_use"]:
        lines.append(f"  not in use: {values['why_not']}")
    if values["audit"]:
        lines.append(f"  rests on audit {values['audit'][:12]}: {values['outcome']}")
    if values["until"]:
        lines.append(f"  holds until {values['until']:%Y-%m-%d}")
    if values["newest_audit"] and values["newest_audit"] != values["audit"]:
        lines.append(f"  newest audit {values['newest_audit'][:12]}: {values['newest_outcome']}")
    for each in values["pending"]:
        signed = ", ".join(each["officers"])
        lines.append(
            f"  {each['act']} under audit {each['audit_digest'][:12]}: signed by {signed}; takes {each['needed']}"
        )
    return "\n".join(lines)


COMMANDS = (release, override, halt, resume, status)
