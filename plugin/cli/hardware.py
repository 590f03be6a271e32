"""The quantum service: what it offers, what work would cost, what was run. Commands of `qfl quantum`."""

import click

from plugin.cli.common import explained


@click.command()
@explained
def targets() -> None:
    """List what the Azure Quantum workspace offers. Sends no circuit, so it needs no permission."""
    from plugin.bootstrap.quantum import build_quantum_service
    from plugin.settings import load_quantum_settings

    settings = load_quantum_settings()
    found = build_quantum_service(settings).targets()
    for target in sorted(found, key=lambda target: target.name):
        queue = "unknown" if target.queue_s is None else f"{target.queue_s:.0f} s"
        allowed = "allowed here" if target.name in settings.policy.prices else "no price in QFL_QUANTUM_PRICES"
        click.echo(f"{target.name}: {target.availability}, queue {queue}, {allowed}")
    if not found:
        click.echo("The workspace offers no target. Add a provider to it in the Azure portal.")


@click.command()
@click.option("--wires", default=8, show_default=True, help="Of the circuit.")
@click.option("--layers", default=2, show_default=True, help="Variational layers of the circuit.")
@click.option(
    "--samples",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    help="Rows of angles; each is a circuit of its own.",
)
@click.option("--shots", default=1000, show_default=True, help="Of each circuit.")
@click.option("--target", default=None, help="A target of QFL_QUANTUM_PRICES. [default: QFL_AZURE_QUANTUM_TARGET]")
@explained
def estimate(wires: int, layers: int, samples: int, shots: int, target: str | None) -> None:
    """Say what a batch of circuits would cost. Contacts nothing and charges nothing."""
    import numpy as np

    from federated.quantum.circuit import Circuit
    from federated.quantum.jobs import spent_on
    from federated.quantum.qasm import gate_counts, to_openqasm
    from plugin.bootstrap.quantum import build_job_store
    from plugin.errors import SettingsError
    from plugin.settings import load_quantum_settings

    settings = load_quantum_settings()
    name = target or (settings.workspace.target if settings.workspace else None)
    if name is None:
        raise SettingsError("Expected a target, got none. Give --target, or set QFL_AZURE_QUANTUM_TARGET.")
    circuit = Circuit(wires, layers)
    gates = gate_counts(to_openqasm(circuit, np.zeros(wires), np.zeros(circuit.weight_shape)))
    spent = spent_on(build_job_store(settings).records())
    found = settings.policy.estimate(name, [gates] * samples, shots, spent=spent)
    counts = f"{gates.one_qubit} gates on one qubit, {gates.two_qubit} on two, {gates.measurements} measurements"
    click.echo(f"Each circuit: {counts}")
    click.echo(str(found))
    settings.policy.check_budget(found)
    click.echo("This fits into the budget.")


@click.command()
@explained
def jobs() -> None:
    """List all jobs with what they were charged, and what is left of the budget."""
    from federated.quantum.jobs import spent_on
    from plugin.bootstrap.quantum import build_job_store
    from plugin.settings import load_quantum_settings

    settings = load_quantum_settings()
    records, policy = build_job_store(settings).records(), settings.policy
    for record in records:
        fault = f" ({record.code})" if record.code else ""
        click.echo(
            f"{record.created:%Y-%m-%d %H:%M} {record.job_id} {record.target}: {record.state}{fault}, "
            f"{record.shots} shots, {record.cost} {record.currency}, circuit {record.digest[:12]}"
        )
    spent = spent_on(records)
    click.echo(
        f"{len(records)} jobs. Left: {policy.max_shots - spent.shots} of {policy.max_shots} shots, "
        f"{policy.max_cost - spent.cost} of {policy.max_cost} {policy.currency}"
    )
