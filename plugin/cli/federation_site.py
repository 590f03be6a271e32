"""What a hospital decides about federated rounds, and what it can look up: policy, budget, what left."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.rows import plain, print_rows, shown, tell

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
LIMIT = click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest.")
FEDERATION = click.option("--federation", metavar="NAME", help="Where the site knows of more than one.")
REASON = click.option("--reason", default="", metavar="TEXT", help="For the site's own records.")
REFUSED = 77


@click.group()
def policy() -> None:
    """What this hospital allows federated rounds to do."""


@policy.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--terms", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Of a round, as JSON.")
@JSON
@explained
def check(file: Path | None, terms: Path | None, as_json: bool) -> None:
    """Check a policy file, the site's own by default; with --terms, say what it would answer to a round.

    Nothing is recorded and nothing leaves. Exits with 77 where a rule refuses the terms.
    """
    from plugin.services.site_policy import read_policy

    if terms is None:
        path = file or _policy_file()
        digest = read_policy(path).digest
        values = {"file": str(path), "sha256": digest, "usable": True}
        tell(values, as_json=as_json, text=f"{path}: can be used, SHA-256 {digest}.")
        return
    findings = _preview(file, terms)
    for finding in findings:
        mark = "allowed" if finding.allowed else "REFUSED"
        text = f"{mark}  {finding.rule}: {shown(finding.reason)}\n         ({shown(finding.inputs)})"
        tell(vars(finding), as_json=as_json, text=text)
    if not all(finding.allowed for finding in findings):
        sys.exit(REFUSED)


@policy.command()
@JSON
@explained
def show(as_json: bool) -> None:
    """Show the site's policy as it is in force."""
    from plugin.services.site_policy import describe_policy, read_policy

    path = _policy_file()
    described = describe_policy(read_policy(path))
    if as_json:
        click.echo(json.dumps({"file": str(path), **described}))
        return
    click.echo(f"# {path}")
    for part, values in described.items():
        rows = values.items() if isinstance(values, Mapping) else [("", values)]
        for name, value in rows:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"{part + ('.' if name else '') + name:<34} {text}")


@policy.command()
def example() -> None:
    """Print a policy to begin with, with comments."""
    from plugin.services.site_policy import default_policy_text

    click.echo(default_policy_text(), nl=False)


@click.command()
@click.option("--run", metavar="RUN", help="Of this run only.")
@LIMIT
@JSON
@explained
def departures(run: str | None, limit: int, as_json: bool) -> None:
    """Show everything that left this hospital for federated rounds: when, for what, how much, and at what epsilon."""
    found = _records().departures(limit=limit, run=run)
    rows = [(row.at, row.run, row.round, row.stage, row.what, row.size, row.digest[:12], row.epsilon) for row in found]
    heads = ("when", "run", "round", "stage", "what", "bytes", "SHA-256", "epsilon")
    print_rows(found, heads, rows, "Nothing has left this hospital.", as_json=as_json)


@click.command()
@LIMIT
@JSON
@explained
def rounds(limit: int, as_json: bool) -> None:
    """Show the rounds that this hospital was asked for, and why it took no part in some."""
    records = _records()
    found, refusals = records.rounds(limit=limit), records.refusals(limit=limit)
    rows = [
        (row.last_at, row.federation, row.run, row.round, row.outcome, row.rule, row.strategy, row.cases, row.left_out)
        for row in found
    ]
    heads = ("when", "federation", "run", "round", "outcome", "rule", "strategy", "cases", "left out")
    print_rows(found, heads, rows, "This hospital was asked for no round yet.", as_json=as_json)
    for refusal in refusals:
        place = f"{shown(refusal.run)}, round {refusal.round}, refused {refusal.count} times"
        reasons = (
            f"  {finding['rule']}: {shown(finding['reason'])} ({shown(finding['inputs'])})"
            for finding in refusal.findings
        )
        lines = "\n".join([f"{place} until {shown(refusal.last_at)}", *reasons])
        tell({"refusal": vars(refusal)}, as_json=as_json, text=f"\n{lines}")


@click.command()
@JSON
@explained
def budget(as_json: bool) -> None:
    """Show what federated rounds have cost this hospital's patients in epsilon, and what is left."""
    from plugin.services.site_budget import look

    found = look(_records(), _limits(), now=datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(plain(vars(found))))
        return
    limit, year = found.limits, found.year
    click.echo(f"In 365 days: epsilon {year.epsilon:.4g} of {limit.epsilon_per_year:g}, at delta {limit.delta:g}.")
    for name, cost in found.runs.items():
        click.echo(f"  {shown(name)}: epsilon {cost.epsilon:.4g} of {limit.epsilon_per_run:g}")
    if found.ahead:
        click.echo(f"{found.ahead} charges are dated in the future; they count. Was the clock put back?")


@click.command()
@FEDERATION
@REASON
@explained
def pause(federation: str | None, reason: str) -> None:
    """Take part in no round until `qfl federation resume`; what was sent already can still be used."""
    _say("paused", federation, reason)


@click.command()
@FEDERATION
@REASON
@click.option("--rejoin", is_flag=True, help="Also after the site had left, and was admitted again.")
@explained
def resume(federation: str | None, reason: str, rejoin: bool) -> None:
    """Take part again."""
    _say("active", federation, reason, rejoin=rejoin)


@click.command()
@FEDERATION
@REASON
@click.option("--yes", is_flag=True, help="Do not ask.")
@explained
def leave(federation: str | None, reason: str, yes: bool) -> None:
    """Leave a federation: nothing leaves this hospital any more, and the secrets of its rounds are deleted.

    The coordinator is told when it next asks. What this hospital sent before stays in the models that were made of it.
    """
    if not yes:
        click.confirm("Leave the federation, and delete the secrets of its rounds?", abort=True)
    _say("left", federation, reason)


def _say(state: str, named: str | None, reason: str, *, rejoin: bool = False) -> None:
    from plugin.services import site_participation
    from plugin.services.federation_folders import installed_kit
    from plugin.services.policy_model import ParticipationState

    settings, records, now = _settings(), _records(), datetime.now(UTC)
    kit = installed_kit(settings.federation.folder)
    federation = site_participation.choose_federation(records, kit.roster.federation if kit else None, named)
    wanted = ParticipationState(state)
    if rejoin and records.participation(federation).state is ParticipationState.LEFT:
        records.rejoin(federation, reason=reason, now=now)
    else:
        site_participation.say(records, federation, wanted, reason=reason, work=settings.federation.work, now=now)
    click.echo(f"{federation}: {wanted}, since {shown(now)}.")


def _settings() -> Any:
    from plugin.settings import load_settings

    return load_settings()


def _records() -> Any:
    from plugin.bootstrap.federation import build_site_records

    return build_site_records(_settings())


def _policy_file() -> Path:
    from plugin.bootstrap.federation import policy_file

    return policy_file(_settings())


def _limits() -> Any:
    from plugin.services.site_policy import read_policy

    return read_policy(_policy_file()).privacy


def _preview(file: Path | None, terms: Path) -> Sequence[Any]:
    from federated.errors import TermsError
    from federated.rounds.terms import parse_terms
    from plugin.bootstrap.federation import build_cohort_source, build_site_records, policy_file
    from plugin.bootstrap.services import build_services
    from plugin.services.site_rules import HospitalRules

    try:
        document = json.loads(terms.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise TermsError(f"{terms}: expected a round's terms as JSON ({type(fault).__name__}).") from fault
    settings = _settings()
    records = build_site_records(settings)
    cohort = build_cohort_source(settings, lambda: build_services(settings))
    path = file or policy_file(settings)
    rules = HospitalRules(path, records, cohort, device=settings.federation.device)
    findings: Sequence[Any] = rules.preview(parse_terms(document), now=datetime.now(UTC))
    return findings


COMMANDS = (policy, departures, rounds, budget, pause, resume, leave)
"""For the group of `qfl federation`."""
