"""What quantum hardware could do for this product. The group `qfl quantum`."""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import click

from federated.quantum.circuit import Circuit, Encoding, Entangler, Rotation
from federated.quantum.noise_rates import SUPERCONDUCTING, NoiseRates
from plugin.cli.common import explained
from plugin.cli.hardware import estimate, jobs, targets

_MARKS: Final = {True: "[green]yes [/]", False: "[red]no  [/]", None: "[yellow]open[/]"}


@click.group()
def quantum() -> None:
    """Quantum circuits: how ready hardware is, what it offers, what it costs."""


def _rate(name: str, default: float, what: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", default=default, show_default=True, help=what)


@quantum.command()
@click.option(
    "--backend",
    type=click.Choice(["noise", "azure"]),
    default="noise",
    show_default=True,
    help="Where the quantum volume is measured: on a simulated device with the noise below, or on an Azure target.",
)
@_rate("depolarizing", SUPERCONDUCTING.depolarizing, "Probability of a Pauli error after a one-qubit gate.")
@_rate("depolarizing2", SUPERCONDUCTING.depolarizing2, "Probability of a Pauli error after a two-qubit gate.")
@_rate("amplitude-damping", SUPERCONDUCTING.amplitude_damping, "Probability of decay while a gate runs.")
@_rate("readout", SUPERCONDUCTING.readout, "Probability that a measured bit is flipped.")
@click.option("--target", help="For azure: which target.  [default: QFL_AZURE_QUANTUM_TARGET]")
@click.option("--shots", default=100, show_default=True, help="For azure: runs of each circuit.")
@click.option("--trials", default=100, show_default=True, help="Circuits a width in the quantum-volume test.")
@click.option("--max-wires", default=6, show_default=True, help="Widest circuits of the quantum-volume test.")
@click.option("--wires", default=4, show_default=True, help="Of the circuit whose expectation values are compared.")
@click.option("--layers", default=2, show_default=True, help="Variational layers of that circuit.")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Draw it, as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@explained
def readiness(backend: str, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Say whether a quantum device is ready for this product.

    Three questions: does noise spoil expectation values, is the quantum volume 64 reached, could error correction
    remove decoherence (an estimate)? docs/quantum-readiness.md tells how to read the answers. The default rates are the
    published means of a current superconducting device. On an Azure target random circuits run, which hold no patient
    data; they are charged to the site's budget, and the other two answers still come from the rates.
    """
    if plot:
        _check_folder(plot)
    report = _assess(backend, **options)
    if plot:
        from federated.quantum.readiness_plot import save_plot

        _saving(plot, lambda: save_plot(report, plot))
    if as_json:
        run = {"command": _command(), "software": _software(), "hardware": _hardware()}
        click.echo(json.dumps({**run, **report.to_json()}, indent=2))
    else:
        _print(report)


@quantum.command()
@click.option("--wires", default=4, show_default=True, help="Qubits.")
@click.option("--layers", default=2, show_default=True, help="Variational layers after each encoding.")
@click.option("--uploads", default=1, show_default=True, help="How often the angles are encoded.")
@click.option("--encoding", type=click.Choice(get_args(Encoding)), default="rx", show_default=True)
@click.option("--rotation", type=click.Choice(get_args(Rotation)), default="rot", show_default=True)
@click.option("--entangler", type=click.Choice(get_args(Entangler)), default="cz", show_default=True)
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Draw it, as PNG.")
@explained
def draw(plot: Path | None, **options: Any) -> None:
    """Draw a circuit of the quantum layer; the options are those of a network's quantum slot."""
    if plot:
        _check_folder(plot)
    circuit = Circuit(**options)
    from federated.quantum.pennylane_backend import draw_circuit

    click.echo(draw_circuit(circuit))
    if plot:
        _saving(plot, lambda: draw_circuit(circuit, plot))


def _assess(
    backend: str,
    *,
    depolarizing: float,
    depolarizing2: float,
    amplitude_damping: float,
    readout: float,
    target: str | None,
    shots: int,
    trials: int,
    max_wires: int,
    wires: int,
    layers: int,
    seed: int,
) -> Any:
    rates = NoiseRates(depolarizing, depolarizing2, amplitude_damping, readout)
    circuit = Circuit(wires, layers)
    from federated.quantum.quantum_volume import check_volume_test, sampled, simulated
    from federated.quantum.readiness import assess

    check_volume_test(max_wires, trials)
    is_azure = backend == "azure"
    name, device = "noise model", simulated(rates)
    if is_azure:
        name, sampler = _azure(target)
        device = sampled(sampler, shots)
    with _progress_bars() as stages:
        return assess(name, device, rates, circuit, max_wires, trials, seed, stages, stop_at_failure=is_azure)


def _azure(target: str | None) -> tuple[str, Any]:
    """The name of a target, and its sampler."""
    from plugin.bootstrap.quantum import build_sampler
    from plugin.errors import SettingsError
    from plugin.settings import load_quantum_settings

    settings = load_quantum_settings()
    if settings.workspace is None:
        raise SettingsError(
            "No quantum service is configured. Set QFL_AZURE_QUANTUM_RESOURCE_ID, _LOCATION, _TARGET and _KEY_FILE; "
            "docs/configuration.md lists them."
        )
    workspace = replace(settings.workspace, target=target or settings.workspace.target)
    policy = replace(
        settings.policy,
        # Permission is for angles, which derive from patients' images; these circuits are random.
        egress_allowed=True,
        permission=settings.policy.permission or "not needed: random circuits without patient data",
        # A simulator's quantum volume is not the target's.
        fallback_allowed=False,
    )
    sampler = build_sampler(
        replace(settings, workspace=workspace, policy=policy),
        purpose="quantum-volume test with random circuits",
        announce=lambda batch: click.echo(str(batch), err=True),
    )
    return workspace.target, sampler


@contextmanager
def _progress_bars() -> Iterator[Callable[[str], Callable[[float], None]]]:
    """One for each stage, on standard error, so that --json can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def stage(what: str) -> Callable[[float], None]:
            task = bars.add_task(what, total=1.0)
            return lambda fraction: bars.update(task, completed=fraction)

        yield stage


def _check_folder(path: Path) -> None:
    from plugin.errors import OutputFolderError

    if not path.absolute().parent.is_dir():
        raise OutputFolderError(f"Expected a folder for {path.name}, but {path.absolute().parent} is none; make it.")


def _saving(path: Path, save: Callable[[], object]) -> None:
    from plugin.errors import OutputFolderError

    try:
        save()
    except OSError as error:
        raise OutputFolderError(f"{path} cannot be written: {error.strerror}.") from error


def _command() -> str:
    return " ".join(["qfl", *sys.argv[1:]])


def _software() -> dict[str, str]:
    from importlib.metadata import version

    names = ("qfl-hospital-plugin", "pennylane", "stim", "pymatching", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _hardware() -> str:
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"


def _print(report: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    rates = report.rates
    console.print(
        f"Quantum readiness of: {report.device}\n"
        f"Rates: depolarising {rates.depolarizing:g} (one qubit), {rates.depolarizing2:g} (two), amplitude damping "
        f"{rates.amplitude_damping:g}, readout {rates.readout:g}; seed {report.seed}",
        markup=False,
    )
    for table in (_expectation_table(report), _volume_table(report), _correction_table(report)):
        console.print()
        console.print(table)
    console.print()
    for verdict in report.verdicts:
        console.print(f"{_MARKS[verdict.is_met]} {verdict.question}")
        console.print(f"     {verdict.answer}", markup=False)


def _expectation_table(report: Any) -> Any:
    from rich.table import Table

    title = f"Expectation values, {report.circuit.wires} wires, {report.circuit.layers} layers"
    table = Table("noise", "mean error", "signal left", "mean error, ZNE", "signal left, ZNE", title=title)
    for test in report.expectations:
        table.add_row(
            f"{test.scale:g} x",
            f"{test.raw.mean_absolute_error:.4f}",
            f"{test.raw.slope:.1%}",
            f"{test.mitigated.mean_absolute_error:.4f}",
            f"{test.mitigated.slope:.1%}",
        )
    return table


def _volume_table(report: Any) -> Any:
    from rich.table import Table

    table = Table("wires", "volume", "trials", "heavy outputs", "less two sigma", "above 2/3", title="Quantum volume")
    for test in report.volume:
        table.add_row(
            str(test.wires),
            str(2**test.wires),
            str(test.trials),
            f"{test.heavy_outputs:.4f}",
            f"{test.heavy_outputs - test.two_sigma:.4f}",
            "yes" if test.passed else "no",
        )
    return table


def _correction_table(report: Any) -> Any:
    from rich.table import Table

    title = "Error correction, an estimate: rotated surface code"
    table = Table("distance", "qubits", "rounds", "shots", "wrong", "logical errors a round (95 %)", title=title)
    for memory in report.memories:
        low, high = memory.interval
        table.add_row(
            str(memory.distance),
            str(2 * memory.distance**2 - 1),
            str(memory.rounds),
            f"{memory.shots:,}",
            f"{memory.errors:,}",
            f"{memory.per_round:.2e} ({low:.2e} to {high:.2e})",
        )
    return table


for _command_of_hardware in (targets, estimate, jobs):
    quantum.add_command(_command_of_hardware)
