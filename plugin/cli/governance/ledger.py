"""`qfl governance verify|log|checkpoint|export|...`: what was recorded, and whether it is still what was recorded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.rows import print_rows, tell

_FILE = click.Path(path_type=Path, dir_okay=False)
_SOMETHING_WRONG = 1


def _ledger_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--coordinator",
        metavar="FOLDER",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Look at the ledger of a federation's coordinator instead of this site's.",
    )(command)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--bundle", metavar="FILE", type=_FILE, help="Check an exported part instead; needs no database.")
@click.option("--first-key", metavar="FILE", type=_FILE, help="For a bundle: the log's first key, from its owner.")
@click.option("--witnesses", metavar="FILE", type=_FILE, help="For a bundle: witnesses' keys, one a line.")
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    type=_FILE,
    multiple=True,
    help="A checkpoint that somebody else kept.",
)
@click.option("--quorum", default=0, show_default=True, help="Witnesses that must have cosigned.")
@_ledger_option
@_as_json
@explained
def verify(
    bundle: Path | None,
    first_key: Path | None,
    witnesses: Path | None,
    checkpoints: tuple[Path, ...],
    quorum: int,
    coordinator: Path | None,
    as_json: bool,
) -> None:
    """Check every entry, hash, signature and key; says exactly what is wrong and where.

    The site's own ledger is also compared with the database: each transaction is an entry, and each entry's row is
    there and unchanged.

    Exit code 0: intact; 1: something is wrong.
    """
    coverage = None
    if bundle is not None:
        report = _verify_bundle(bundle, first_key, witnesses, quorum)
    else:
        from plugin.services.ledger import read_checkpoint_file

        outside = [read_checkpoint_file(str(path), _read(path).decode("utf-8", "replace")) for path in checkpoints]
        report = _ledger(coordinator).verify(outside=outside, quorum=quorum)
        coverage = _coverage() if coordinator is None else None
    told = report.to_json() if coverage is None else {**report.to_json(), "coverage": coverage.to_json()}
    tell(told, as_json=as_json, text=report.story() if hasattr(report, "story") else _story(report, coverage))
    if not (report.is_intact and (coverage is None or coverage.is_complete)):
        sys.exit(_SOMETHING_WRONG)


@click.command()
@click.option("--last", default=20, show_default=True, metavar="N", type=click.IntRange(1), help="How many entries.")
@click.option("--kind", help="Only of this kind.")
@_ledger_option
@_as_json
@explained
def log(last: int, kind: str | None, coordinator: Path | None, as_json: bool) -> None:
    """Show the last entries; nothing is verified here."""
    import json

    found = _ledger(coordinator).last(last, kind)
    if as_json:
        for place, entry in found:
            document = {"index": place, "kind": entry.kind, "at": entry.at.isoformat(), "facts": entry.facts}
            click.echo(json.dumps({**document, "key": entry.key} if entry.key else document, default=str))
        return
    rows = [(place, entry.at, entry.kind, _facts(entry.facts)) for place, entry in found]
    print_rows((), ("entry", "at", "kind", "facts"), rows, "The ledger has no entries.", as_json=False)


@click.command()
@click.option("--rotate-key", is_flag=True, help="Replace the log's key first; do so when somebody may have read it.")
@click.option("--add", metavar="FILE", type=_FILE, help="Add the cosignatures that witnesses answered.")
@_ledger_option
@explained
def checkpoint(rotate_key: bool, add: Path | None, coordinator: Path | None) -> None:
    """Sign the ledger as it is now, and print the signed checkpoint; opens a new ledger.

    It signs nothing that contradicts what was signed before. Give the checkpoint to others: who holds it can tell a
    ledger that was put back or rewritten.
    """
    ledger = _ledger(coordinator)
    if add is not None:
        signed = ledger.add_cosignatures(_read(add).decode("utf-8", "replace"))
    else:
        signed = ledger.rotate_key() if rotate_key else ledger.sign()
    click.echo(signed.text(), nl=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--first", default=0, show_default=True, metavar="N", help="Index of the first entry.")
@click.option("--last", metavar="N", type=int, help="Index of the last one.  [default: the last signed one]")
@click.option("--entry", metavar="N", type=int, help="Only this entry, as a C2SP tlog-proof.")
@_ledger_option
@explained
def export(file: Path, first: int, last: int | None, entry: int | None, coordinator: Path | None) -> None:
    """Write entries, their proofs, the checkpoint and the log's keys into one FILE that is verified offline."""
    ledger = _ledger(coordinator)
    if entry is not None:
        _write(file, ledger.prove(entry).text().encode())
        click.echo(f"{file}: the proof of entry {entry}. Any verifier of c2sp.org/tlog-proof reads it.")
        return
    bundle = ledger.export(first, None if last is None else last + 1)
    _write(file, bundle.write())
    click.echo(
        f"{file}: entries {bundle.first} to {bundle.stop - 1}. Check it with `qfl governance verify --bundle {file}`."
    )


@click.command("ask-witness")
@click.argument("file", type=_FILE)
@click.option("--seen", default=0, show_default=True, metavar="N", help="How many entries the witness cosigned last.")
@_ledger_option
@explained
def ask_witness(file: Path, seen: int, coordinator: Path | None) -> None:
    """Write a request for a witness into FILE (C2SP tlog-witness); `qfl governance cosign` answers it."""
    _write(file, _ledger(coordinator).ask_witness(seen).encode())


@click.command()
@click.argument("request", type=_FILE, required=False)
@_ledger_option
@explained
def cosign(request: Path | None, coordinator: Path | None) -> None:
    """As a witness, answer another log's REQUEST; without one, print this witness's verifier key.

    The logs that this site witnesses stand in the file `logs` of its ledger folder, one verifier key a line.
    """
    ledger = _ledger(coordinator)
    if request is None:
        click.echo(ledger.witness_vkey())
    else:
        click.echo(ledger.cosign(_read(request).decode("utf-8", "replace")), nl=False)


def _ledger(coordinator: Path | None) -> Any:
    from plugin.bootstrap.ledger import build_coordinator_ledger, build_ledger
    from plugin.settings import load_settings

    return build_ledger(load_settings()) if coordinator is None else build_coordinator_ledger(coordinator)


def _verify_bundle(bundle: Path, first_key: Path | None, witnesses: Path | None, quorum: int) -> Any:
    from governance.ledger.bundle import MAX_BUNDLE_BYTES, parse_bundle, verify_bundle
    from governance.ledger.cosignature import CosignerKey
    from governance.ledger.verification import Trust

    key = CosignerKey.parse(_read(first_key).decode("utf-8", "replace")) if first_key else None
    lines = _read(witnesses).decode("utf-8", "replace").splitlines() if witnesses else []
    known = [CosignerKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
    content, trust = _read(bundle, MAX_BUNDLE_BYTES), Trust(key, (), known, quorum)
    if content.startswith(b"PK"):  # an evidence bundle is a ZIP file
        from governance.evidence.verification import verify_evidence

        return verify_evidence(content, trust)
    return verify_bundle(parse_bundle(content), trust)


def _story(report: Any, coverage: Any = None) -> str:
    signed = (
        f"{report.signed_size:,} of them signed {report.signed_at:%Y-%m-%d %H:%M:%S %Z}"
        if report.signed_at
        else "none signed"
    )
    lines = [
        f"Ledger {report.origin or '(without a name)'}: {report.size:,} entries, {signed}; {report.checked:,} checked."
    ]
    lines += [f"  cosigned by {name} {at:%Y-%m-%d %H:%M:%S %Z}" for name, at in sorted(report.witnesses.items())]
    lines += [f"  WRONG {finding.fault}: {finding.message}" for finding in report.findings]
    lines += [f"  note: {note}" for note in report.notes]
    lines += _story_of_coverage(coverage) if coverage else ()
    wrong = len(report.findings) + (coverage.number_of_gaps if coverage else 0)
    lines.append(f"Not intact: {wrong:,} findings." if wrong else "Intact.")
    return "\n".join(lines)


def _coverage() -> Any:
    from plugin.bootstrap.ledger import build_coverage
    from plugin.services.governance.coverage import coverage_of
    from plugin.settings import load_settings

    return coverage_of(build_coverage(load_settings()))


def _story_of_coverage(coverage: Any) -> list[str]:
    recorded, wanted = sum(coverage.recorded.values()), sum(coverage.transactions.values())
    # Rounded down: 100 % is all of them.
    share = f" ({1000 * recorded // wanted / 10:g} %)" if wanted else ""
    lines = [f"coverage: {recorded:,} of {wanted:,} transactions are in the log{share}."]
    lines += [f"  WRONG {gap.problem}: {gap.message}" for gap in coverage.gaps]
    if coverage.number_of_gaps > len(coverage.gaps):
        lines.append(f"  and {coverage.number_of_gaps - len(coverage.gaps):,} more.")
    if before := sum(coverage.before.values()):
        lines.append(f"  note: {before:,} transactions are from before the ledger began.")
    if coverage.erased:
        lines.append(f"  note: {coverage.erased:,} transactions were erased for patients, as the log says.")
    return lines


def _facts(facts: Any) -> str:
    shown = (f"{name}={str(value)[:12] if len(str(value)) >= 64 else value}" for name, value in facts.items())
    return " ".join(shown)[:160]


def _read(path: Path, limit: int = 1 << 20) -> bytes:
    from governance.errors import BundleError

    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as fault:
        raise BundleError(f"{path}: cannot be read ({fault.strerror}).") from fault
    if len(data) > limit:
        raise BundleError(f"{path}: expected at most {limit} bytes.")
    return data


def _write(path: Path, data: bytes) -> None:
    from plugin.errors import OutputFolderError

    try:
        path.write_bytes(data)
    except OSError as fault:
        raise OutputFolderError(f"{path}: cannot be written ({fault.strerror}).") from fault


COMMANDS = (verify, log, checkpoint, export, ask_witness, cosign)
