"""`qfl governance audit|audits`: what a model does to each group of people, what it gives away, and where it fails."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import INTERRUPTED, explained, interruptible, site_services
from plugin.cli.rows import print_rows

_EXIT_CODES = {"passed": 0, "failed": 1, "insufficient-evidence": 2}
_MIMIC = "mimic:"
_PHANTOM = "phantom"
_CASES = 150
_QUICK_CASES = 8


@click.command()
@click.option("--cohort", default=_PHANTOM, show_default=True, metavar="phantom|FOLDER|mimic:FOLDER", help="The cases.")
@click.option("--cases", metavar="N", type=click.IntRange(1), help=f"How many.  [default: all; phantom: {_CASES}]")
@click.option("--spacing", default=2.0, show_default=True, metavar="MM", help="Of the phantom's grid.")
@click.option("--model", metavar="DIR", type=click.Path(path_type=Path), help="A model's folder.  [default: installed]")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Where the report goes.")
@click.option("--trained-on", metavar="phantom:SEED|FOLDER", help="Cases that the model was trained on.")
@click.option("--trained-by", multiple=True, metavar="NAME", help="Who trained it: they cannot release it; repeatable.")
@click.option("--predicted-by", metavar="VERSION", help="For mimic: the model that made the predictions.")
@click.option("--threshold", default=0.5, show_default=True, help="For mimic: probability from which on it says yes.")
@click.option("--explained", metavar="N", type=click.IntRange(0), help="Cases to explain, half a minute each; 0: none.")
@click.option("--quick", is_flag=True, help="Hardly look, to see that everything works: too little to conclude from.")
@click.option("--shipped", is_flag=True, help="Take the audit that ships with the model, instead of running one.")
@click.option("--json", "as_json", is_flag=True, help="Print the audit's document.")
@explained
def audit(cohort: str, model: Path | None, out: Path | None, shipped: bool, as_json: bool, **wanted: Any) -> None:
    """Audit a model before it may be used: fairness, performance, privacy, robustness, boundaries.

    DIR gets audit.html to read, audit.json, which is stored and signed under, and cases.csv. Ctrl-C stops it after the
    case; the same command goes on. Where the site is configured (QFL_DATABASE_URL and the like), the audit is stored in
    its records, and the policy in force gives the thresholds; elsewhere the policy that is shipped does.

    Exit code 0: passed; 1: failed; 2: insufficient evidence.

    Research use only; not a medical device.
    """
    from plugin.settings import PACKAGED_MODEL

    desk = _desk()
    model_dir = model or PACKAGED_MODEL
    if shipped:
        _take_shipped(desk, model_dir, as_json=as_json)
        return
    if cohort.startswith(_MIMIC):
        report, folder = _audit_mimic(desk, Path(cohort.removeprefix(_MIMIC)), out, wanted)
    else:
        report, folder = _audit_cases(desk, cohort, model_dir, out, wanted)
    _finish(desk, report, folder, as_json=as_json)


@click.command()
@click.option("--model", metavar="VERSION", help="Only of this model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def audits(model: str | None, as_json: bool) -> None:
    """List the audits in the site's records, the newest first."""
    found = site_services().governance.store.audits(model)
    if as_json:
        for each in found:
            line = {name: getattr(each, name) for name in ("digest", "model_version", "outcome", "policy_digest")}
            click.echo(json.dumps({**line, "at": each.at.isoformat()}))
        return
    rows = [(each.at, each.model_version[:12], each.outcome, each.digest) for each in found]
    print_rows(
        (), ("at", "model", "outcome", "digest"), rows, "There is no audit yet: qfl governance audit", as_json=False
    )


def _audit_cases(desk: Any, cohort: str, model_dir: Path, out: Path | None, wanted: dict[str, Any]) -> tuple[Any, Path]:
    from federated.inference import load_segmenter
    from plugin.services.governance import audit as auditing
    from plugin.services.governance.audit_cohorts import folder_audit_cohort, phantom_audit_cohort
    from plugin.services.governance.audit_subject import full_effort, quick_effort
    from plugin.services.governance.audit_training_cases import USUAL, find_training_cases
    from plugin.settings import PACKAGED_MODEL

    policy, spacing_mm, is_phantom = _policy(desk), wanted["spacing"], cohort == _PHANTOM
    count = wanted["cases"] or (_QUICK_CASES if wanted["quick"] else _CASES if is_phantom else None)
    if is_phantom:
        found = phantom_audit_cohort(
            count or _CASES, spacing_mm=spacing_mm, minimum_group=policy.fairness.minimum_group
        )
    else:
        found = folder_audit_cohort(Path(cohort), count)
    segmenter = load_segmenter(model_dir)
    is_packaged = model_dir == PACKAGED_MODEL
    trained_on = wanted["trained_on"] or (USUAL if is_phantom and is_packaged else None)
    folder = out or Path("audits") / f"{segmenter.identity.version[:12]}-{_PHANTOM if is_phantom else 'cohort'}"
    effort = (
        quick_effort(_stride(model_dir))
        if wanted["quick"]
        else full_effort(_grid_mm(model_dir), policy.fairness.minimum_group)
    )
    if wanted["explained"] is not None:
        effort = replace(effort, explained_cases=wanted["explained"])
    with interruptible() as is_interrupted, _view(is_interrupted) as view:
        try:
            audited = auditing.run_audit(
                segmenter,
                model_dir,
                found,
                trained_on=find_training_cases(trained_on, found, spacing_mm) if trained_on else None,
                policy=policy,
                effort=effort,
                work=folder / auditing.WORK,
                origin=_origin(desk, wanted["trained_by"] or (("QFL project",) if is_packaged else ())),
                view=view,
            )
        except KeyboardInterrupt:
            view.close()
            click.echo(f"Stopped; what is finished is in {folder}. The same command goes on.", err=True)
            sys.exit(INTERRUPTED)
    auditing.write_audit(folder, audited, with_groups=is_phantom)
    return audited.report, folder


def _audit_mimic(desk: Any, source: Path, out: Path | None, wanted: dict[str, Any]) -> tuple[Any, Path]:
    from time import perf_counter

    from plugin.services.governance import audit as auditing
    from plugin.services.governance.mimic_cohort import read_mimic_cohort

    if not wanted["predicted_by"]:
        raise click.UsageError("Say which model made the predictions: --predicted-by VERSION.")
    started = perf_counter()
    found = read_mimic_cohort(source, threshold=wanted["threshold"])
    audited = auditing.run_mimic_audit(
        found,
        model_version=wanted["predicted_by"],
        policy=_policy(desk),
        origin=_origin(desk, wanted["trained_by"]),
        seconds=perf_counter() - started,
    )
    folder = out or Path("audits") / "mimic"
    auditing.write_audit(folder, audited, with_groups=False)
    return audited.report, folder


def _take_shipped(desk: Any, model_dir: Path, *, as_json: bool) -> None:
    from governance.audit import parse_audit
    from plugin.errors import SettingsError
    from plugin.services.governance.shipped_audit import take_shipped_audit

    if desk is None:
        raise SettingsError("This site is not configured, so there are no records to take the audit into.")
    report = parse_audit(take_shipped_audit(desk, model_dir).document)
    _print(report, as_json=as_json)
    click.echo(f"Stored as {report.digest}", err=True)
    sys.exit(_EXIT_CODES[report.outcome])


def _finish(desk: Any, report: Any, folder: Path, *, as_json: bool) -> None:
    from plugin.services.governance.audit import DOCUMENT, PAGE, store_audit

    if desk is not None:
        store_audit(desk, report)
    _print(report, as_json=as_json)
    click.echo(f"{folder}: {PAGE}, {DOCUMENT}", err=True)
    click.echo(f"Stored as {report.digest}" if desk else "Not stored: this site is not configured.", err=True)
    sys.exit(_EXIT_CODES[report.outcome])


def _print(report: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(report.to_bytes().decode())
        return
    rows = [
        (each.title, each.outcome.replace("-", " "), each.required, each.measured, each.threshold)
        for each in report.controls
    ]
    print_rows((), ("control", "outcome", "required", "measured", "asked for"), rows, "", as_json=False)
    for each in report.controls:
        if each.required and each.outcome != "passed":
            click.echo(f"{each.title}: {each.outcome.replace('-', ' ')}. {each.reason}")
    click.echo(f"The audit of {report.model_version[:12]}: {report.outcome.replace('-', ' ')}")


def _desk() -> Any:
    """The site's governance; None where no site is configured: an audit needs neither database nor EHR."""
    from plugin.errors import SettingsError

    try:
        return site_services().governance
    except SettingsError as fault:
        click.echo(f"Not stored in a site's records: {fault}", err=True)
        return None


def _policy(desk: Any) -> Any:
    from plugin.services.governance.policy_text import default_policy_text, parse_policy_text

    return desk.policy() if desk is not None else parse_policy_text(default_policy_text())


def _origin(desk: Any, trained_by: tuple[str, ...]) -> Any:
    from plugin.services.governance.audit import Origin

    def clock() -> datetime:
        return desk.clock() if desk is not None else datetime.now(UTC)

    return Origin(
        command=shlex.join(["qfl", *sys.argv[1:]]),
        commit=_commit(),
        machine=_machine(),
        trained_by=tuple(_trainer(desk, name) for name in trained_by),
        clock=clock,
    )


def _trainer(desk: Any, name: str) -> str:
    """A person as the keyed digest that officers are compared by; anything else, such as a consortium, as it is."""
    if desk is None or site_services().store.get_user(name) is None:
        return name
    digest: str = desk.digest("user", name)
    return digest


def _machine() -> str:
    """The kind of machine; not its name."""
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}; Python {platform.python_version()}"


def _commit() -> str:
    """The commit of a working tree, "-dirty" when it has changes; of an installed plugin its version."""
    from importlib.metadata import version

    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"version {version('qfl-hospital-plugin')}"
    return asked.stdout.strip()


def _grid_mm(model_dir: Path) -> float:
    from federated.model_file import load_model

    return load_model(model_dir)[0].preprocessing.spacing_mm


def _stride(model_dir: Path) -> int:
    from federated.model_file import load_model

    return load_model(model_dir)[0].network.stride


class _BarView:
    """A bar on standard error, so that --json can be piped."""

    def __init__(self, bar: Any, is_interrupted: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("reading", total=1.0)
        self._is_interrupted = is_interrupted

    def say(self, what: str, fraction: float) -> None:
        """See AuditView."""
        self._bar.update(self._task, description=what, completed=fraction)

    def is_stopped(self) -> bool:
        """See AuditView."""
        return bool(self._is_interrupted())

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()


@contextmanager
def _view(is_interrupted: Any) -> Iterator[_BarView]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _BarView(bar, is_interrupted)


COMMANDS = (audit, audits)
