"""`qfl governance report|reports|attest|bundle`: what is shown to people outside, and how they check it."""

from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.governance.passphrases import passphrase_options, read_passphrases
from plugin.cli.rows import print_rows

_FILE = click.Path(path_type=Path, dir_okay=False)
_SHORT = 12


@click.command()
@click.option("--period", help="2026-11, 2026-H2 or 2026-07-01..2026-09-30.  [default: the present half-year]")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where report.html and report.pdf go.  [default: here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report's document as JSON; writes no file.")
@explained
def report(period: str | None, out: Path, as_json: bool) -> None:
    """Check every control over a period, and issue the report: stored, and recorded in the log.

    The controls answer to ISO 31700-1, ISO/IEC 42001, NIST AI RMF, the EU AI Act, GDPR and HIPAA. The report is no
    certification.
    """
    import json

    from governance.compliance.periods import parse_period
    from plugin.services.governance.reports import issue_report, present_period

    asked = parse_period(period) if period is not None else None
    desk = _desk()
    issued = issue_report(desk, asked or present_period(desk))
    if as_json:
        click.echo(json.dumps(dict(issued.summary)))
        return
    written = _write(out, issued)
    share = issued.summary["share"]
    click.echo(f"{issued.period}: {share['passed']} of {share['applicable']} controls that apply passed.")
    for row in issued.summary["controls"]:
        if row["status"] not in {"passed", "not-applicable"}:
            click.echo(f"  {row['id']:<7} {row['status']:<22} {row['title']}: {row['reason']}")
    click.echo(f"{', '.join(map(str, written))}. Digest {issued.digest[:_SHORT]}.")


@click.command()
@click.option("--last", default=20, show_default=True, metavar="N", type=click.IntRange(1), help="How many reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@explained
def reports(last: int, as_json: bool) -> None:
    """List the reports that were issued, the newest first."""
    import json

    found = _desk().governance.store.reports(limit=last)
    if as_json:
        for each in found:
            row = {"digest": each.digest, "kind": each.kind, "period": each.period, "at": each.at.isoformat()}
            click.echo(json.dumps({**row, "share": each.summary["share"]}))
        return
    rows = [(each.at, each.period, each.kind, _share(each.summary["share"]), each.digest[:_SHORT]) for each in found]
    empty = "No report was issued. `qfl governance report` issues one."
    print_rows((), ("issued", "period", "kind", "passed", "digest"), rows, empty, as_json=False)


@click.command()
@click.argument("control")
@click.option("--file", "document", metavar="FILE", type=_FILE, required=True, help="The document that shows it.")
@click.option("--days", default=365, show_default=True, help="How long it holds.")
@click.option("--officer", metavar="USER", required=True, help="Who attests it.")
@passphrase_options
@explained
def attest(
    control: str, document: Path, days: int, officer: str, passphrase_stdin: bool, passphrase_file: Path | None
) -> None:
    """Sign that an organisational CONTROL, such as ORG-3, is fulfilled; only the document's digest is recorded."""
    from plugin.cli.common import site_services
    from plugin.services.governance.attestations import attest as sign
    from plugin.services.governance.officers import Signer

    content = _read(document)
    (passphrase,) = read_passphrases([officer], stdin=passphrase_stdin, file=passphrase_file)
    services = site_services()
    sign(services, control_id=control, document=content, days=days, by=Signer(officer, passphrase))
    services.governance.ledger.sign()
    click.echo(f"{control} is attested for {days} days.")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--report", "digest", metavar="DIGEST", help="Of which report, by its digest.  [default: the newest one]")
@click.option("--first", default=0, show_default=True, metavar="N", help="Take the log from entry N on; all without.")
@click.option("--verifier", metavar="FILE", type=_FILE, help="Write the verifier beside it as well.")
@explained
def bundle(file: Path, digest: str | None, first: int, verifier: Path | None) -> None:
    """Write a report, its evidence and proofs, the policy, audits and acts into one signed FILE for an external audit.

    Whoever gets it checks it offline: `qfl governance verify --bundle FILE --first-key KEY`, or by the verifier in it.
    """
    from governance.evidence.zipapp import build_verifier
    from plugin.services.governance.evidence_bundle import build_bundle

    content = build_bundle(_desk(), digest=digest, first=first)
    _put(file, content)
    if verifier is not None:
        _put(verifier, build_verifier())
    click.echo(
        f"{file}: {len(content):,} bytes. Check it with `qfl governance verify --bundle {file} --first-key KEY`."
    )


def _desk() -> Any:
    from plugin.bootstrap.governance import build_reporting
    from plugin.bootstrap.services import build_services
    from plugin.settings import load_settings

    settings = load_settings()
    return build_reporting(settings, build_services(settings))


def _share(share: Any) -> str:
    return f"{share['passed']} of {share['applicable']}"


def _write(folder: Path, issued: Any) -> list[Path]:
    paths = [folder / f"governance-report-{issued.period}.{ending}" for ending in ("html", "pdf")]
    for path, content in zip(paths, (issued.html, issued.pdf), strict=True):
        _put(path, content)
    return paths


def _put(path: Path, content: bytes) -> None:
    from plugin.errors import OutputFolderError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as fault:
        raise OutputFolderError(f"{path}: cannot be written ({fault.strerror}).") from fault


def _read(path: Path) -> bytes:
    from governance.errors import ReportError

    try:
        return path.read_bytes()
    except OSError as fault:
        raise ReportError(f"{path}: cannot be read ({fault.strerror}).") from fault


COMMANDS = (report, reports, attest, bundle)
