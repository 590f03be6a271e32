"""What a person sees: progress on stderr, results as tables."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.demo.errors import DemoError
from sandbox.demo.hospital import Findings, Resource
from sandbox.demo.processes import tail
from sandbox.demo.product import SETTINGS_FILE, USERNAME
from sandbox.demo.product import Progress as AnalysisProgress
from sandbox.demo.values import Outcome, Running

_STEPS = ("resolve", "select", "fetch", "segment", "build", "deliver")
_REGIONS = {"whole_tumour": "Whole tumour", "tumour_core": "Tumour core", "enhancing": "Enhancing tumour"}


class Display:
    """The demo's words to the person in front of it."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """One line; markup is allowed, so the caller escapes what comes from outside."""
        self.console.print(text)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show one step while it runs, and how long it took."""
        begun = time.monotonic()
        with self.console.status(escape(title)):
            yield
        self.console.print(f"[green]✓[/] {escape(title)} [dim]{time.monotonic() - begun:.1f} s[/]")

    @contextmanager
    def analysis(self) -> Iterator[Callable[[AnalysisProgress | None, Findings], None]]:
        """Show the analysis while it runs."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task("waiting for the notification", total=len(_STEPS))

            def show(analysis: AnalysisProgress | None, findings: Findings) -> None:
                arrived = {"SEG": findings.seg, "SR": findings.sr, "report": findings.report}
                here = [name for name, value in arrived.items() if value]
                note = f" · arrived: {', '.join(here)}" if here else ""
                if analysis is None:
                    progress.update(bar, description="waiting for the notification" + note)
                    return
                done = _STEPS.index(analysis.step) + analysis.fraction if analysis.step in _STEPS else 0.0
                words = f"{analysis.state}: {analysis.step or 'waiting'}{note}"
                progress.update(bar, completed=done, description=escape(words))

            yield show

    def tell_failure(self, error: DemoError) -> None:
        """Say what went wrong and what to read."""
        state = f" [dim](analysis: {escape(error.state)})[/]" if error.state else ""
        self.console.print(f"[bold red]The demo failed:[/] {escape(str(error))}{state}")
        if error.log is not None:
            self.console.print(f"Read {escape(str(error.log))}; its end:")
            self.console.print(escape(tail(error.log)), style="dim")

    def tell_outcome(self, outcome: Outcome) -> None:
        """Show what arrived where, what was measured and how good it is."""
        for table in (
            _arrival_table(outcome),
            _measurement_table(outcome.findings.observations),
            _dice_table(outcome),
        ):
            self.console.print(table)
        steps = ", ".join(f"{name} {value:.1f}" for name, value in outcome.seconds.items() if name != "total")
        self.console.print(f"Loop closed in [bold]{outcome.seconds['total']:.1f} s[/] [dim](s by step: {steps})[/]")

    def tell_addresses(self, running: Running, folder: str) -> None:
        """Show where to look and how to sign in."""
        hospital = running.hospital
        table = Table("Look around", "Address", "User", "Password", box=None)
        rows = (
            ("Worklist", running.product.url, USERNAME, running.password),
            ("Sandbox EHR", hospital.ehr.home, hospital.ehr.username, hospital.ehr.password),
            ("Sandbox PACS", hospital.pacs.home, hospital.pacs.username, hospital.pacs.password),
        )
        for where, url, username, password in rows:
            table.add_row(where, f"[bold]{escape(url)}[/]", escape(username), escape(password))
        self.console.print(table)
        self.console.print(f"State and logs: {escape(folder)}")
        settings = shlex.quote(str(Path(folder) / SETTINGS_FILE))
        self.console.print("Its commands, in another terminal:", style="dim")
        self.console.print(f"  . {escape(settings)}; qfl governance verify", soft_wrap=True)


def _arrival_table(outcome: Outcome) -> Table:
    findings = outcome.findings
    table = Table("What", "Where", title="What arrived", title_justify="left")
    table.add_column("Identifier", overflow="fold")
    for name, found in (("DICOM SEG", findings.seg), ("DICOM SR", findings.sr)):
        table.add_row(name, "PACS", found.sop_instance_uid if found else "[red]missing[/]")
    for resource in (findings.report, findings.provenance):
        if resource is not None:
            status = f" ({resource['status']})" if "status" in resource else ""
            kind = resource["resourceType"]
            table.add_row(escape(f"FHIR {kind}{status}"), "EHR", escape(f"{kind}/{resource['id']}"))
    table.add_row("FHIR Observation", "EHR", f"{len(findings.observations)} resources")
    return table


def _measurement_table(observations: tuple[Resource, ...]) -> Table:
    table = Table("Observation in the EHR", title="Measurements", title_justify="left")
    table.add_column("Value", justify="right")
    table.add_column("Parts")
    for observation in observations:
        parts = [(_text(part.get("code", {})), part.get("valueQuantity")) for part in observation.get("component", [])]
        told = ", ".join(f"{name} {_amount(quantity)}" for name, quantity in parts if quantity)
        quantity = observation.get("valueQuantity")
        value = _amount(quantity) if quantity else _text(observation.get("valueCodeableConcept", {}))
        table.add_row(escape(_text(observation.get("code", {}))), escape(value), escape(told))
    return table


def _amount(quantity: Resource) -> str:
    return f"{quantity.get('value')} {quantity.get('unit', quantity.get('code', ''))}"


def _text(concept: Resource) -> str:
    codings = concept.get("coding", [{}])
    return str(concept.get("text") or codings[0].get("display") or codings[0].get("code") or "")


def _dice_table(outcome: Outcome) -> Table:
    table = Table("Region", title="Agreement with the label", title_justify="left")
    table.add_column("Dice", justify="right")
    for region, value in outcome.dice.items():
        table.add_row(_REGIONS.get(region, region), f"{value:.3f}")
    return table
