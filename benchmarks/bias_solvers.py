"""What finds the subgroup-balance Hamiltonian's ground state: exact search, classical heuristics and circuits.

Every heuristic may ask for the energies of as many assignments; for a circuit these are the shots of its final
measurement. The classical ones get a second budget: with_training(shots), what QAOA takes when each step of its
training is measured with as many shots.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from federated.balancing.balance_problem import BalanceProblem, build_problem
from federated.balancing.cohort_table import CohortCase
from federated.balancing.qaoa import STEPS
from federated.balancing.solution import SAME
from federated.balancing.solvers import solve
from federated.quantum.circuit import MAX_WIRES

CLASSICAL: Final = ("random", "greedy", "annealed")
CIRCUITS: Final = ("qaoa", "vqe")


def with_training(shots: int) -> int:
    """Energies that QAOA sees on a quantum computer, its training counted."""
    return shots * (STEPS + 1)


def problems(cases: Sequence[CohortCase], sizes: Sequence[int]) -> dict[str, BalanceProblem]:
    """The cohort's problems: sex alone with few bits a stratum, sex and age with many strata."""
    found = {}
    for qubits in sizes:
        attributes = ("sex",) if qubits <= 12 else ("sex", "age")
        problem = build_problem(cases, attributes, minimum=10, qubits=qubits)
        found[f"{' and '.join(attributes)}, {problem.energy.bits} qubits"] = problem
    return found


def compare_solvers(
    found: Mapping[str, BalanceProblem], *, budgets: Sequence[int], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """One row for each problem, budget and solver.

    Returns:
        Rows with "success" (share of seeds that reach the optimum), "gap" (mean energy above it, as a share of the
        distance between the optimum and the mean energy), "seconds" of one run, and for circuits the details of solve.
    """
    rows = []
    for name, problem in found.items():
        energies = problem.energy.all_energies()
        optimum, mean = float(energies.min()), float(energies.mean())
        exact = solve("exact", problem.energy)
        base = {"problem": name, "qubits": problem.energy.bits, "optimum": optimum, "mean_energy": mean}
        rows.append({**base, "solver": "exact", "budget": None, **_row([exact], optimum, mean)})
        circuits = CIRCUITS if problem.energy.bits <= MAX_WIRES else CIRCUITS[:1]
        planned = [(budget, solver) for budget in budgets for solver in (*CLASSICAL, *circuits)]
        planned += [(with_training(budget), solver) for budget in budgets for solver in CLASSICAL]
        for budget, solver in planned:
            runs = [solve(solver, problem.energy, seed=seed, evaluations=budget) for seed in seeds]
            rows.append({**base, "solver": solver, "budget": budget, **_row(runs, optimum, mean)})
    return rows


def _row(runs: Sequence[Any], optimum: float, mean: float) -> dict[str, Any]:
    energies = np.array([run.energy for run in runs])
    details = {name: float(np.mean([run.details[name] for run in runs])) for name in (runs[0].details if runs else {})}
    return {
        "runs": len(runs),
        "success": float((energies <= optimum + SAME).mean()),
        "energy": float(energies.mean()),
        "gap": float((energies - optimum).mean() / (mean - optimum)),
        "evaluations": float(np.mean([run.evaluations for run in runs])),
        "seconds": round(float(np.mean([run.seconds for run in runs])), 4),
        **details,
    }
