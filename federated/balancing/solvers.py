"""Ways to find the assignment of lowest energy, behind one call: exact, classical heuristics, and quantum circuits.

Every heuristic may compute the energies of as many assignments as it is told, its evaluations, and answers with the
best one. For the circuits these are the shots of the final measurement; what their training takes is told apart, in
`details`. Their simulation needs all 2^bits energies, so on this machine they save nothing over the exact search.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from federated.balancing.quadratic import Quadratic, to_assignments, to_bits
from federated.balancing.solution import SAME, Solution, best_of
from federated.errors import TrainingSettingsError

SolverName = Literal["exact", "annealed", "greedy", "random", "qaoa", "vqe"]
EVALUATIONS: Final = 1024


def solve(name: str, problem: Quadratic, *, seed: int = 0, evaluations: int = EVALUATIONS) -> Solution:
    """Solve a problem.

    Args:
        name: One of SolverName.
        problem: What to make small.
        seed: The same one gives the same answer.
        evaluations: Energies that a heuristic may ask for; the exact search asks for all.

    Raises:
        TrainingSettingsError: The solver is unknown, or has nothing to evaluate.
        CircuitError: The problem has more bits than the solver's circuit may have wires.
    """
    if name not in get_args(SolverName):
        raise TrainingSettingsError(f"Expected a solver of {', '.join(get_args(SolverName))}, got {name!r}.")
    if evaluations < 1:
        raise TrainingSettingsError(f"Expected at least one evaluation, got {evaluations}.")
    started = time.perf_counter()
    found = _solver(name)(problem, np.random.default_rng(seed), evaluations)
    return replace(found, seconds=time.perf_counter() - started)


def _solver(name: str) -> Callable[[Quadratic, np.random.Generator, int], Solution]:
    # Circuits need torch, which takes seconds to import.
    if name == "qaoa":
        from federated.balancing.qaoa import solve_by_qaoa

        return solve_by_qaoa
    if name == "vqe":
        from federated.balancing.vqe import solve_by_vqe

        return solve_by_vqe
    return {"exact": _exact, "annealed": _annealed, "greedy": _greedy, "random": _random}[name]


def _exact(problem: Quadratic, _rng: np.random.Generator, _evaluations: int) -> Solution:
    energies = problem.all_energies()
    best = int(energies.argmin())
    return Solution(to_bits(best, problem.bits), float(energies[best]), len(energies))


def _random(problem: Quadratic, rng: np.random.Generator, evaluations: int) -> Solution:
    return best_of(problem, to_assignments(rng.integers(2**problem.bits, size=evaluations), problem.bits))


def _greedy(problem: Quadratic, rng: np.random.Generator, evaluations: int) -> Solution:
    """Steepest descent by single flips, from a new random start whenever no flip helps."""
    walk = _Walk(problem, rng)
    left = evaluations - 1
    while left >= problem.bits:
        left -= problem.bits
        changes = walk.changes()
        flip = int(changes.argmin())
        if changes[flip] < -SAME:
            walk.flip(flip, float(changes[flip]))
        elif left > problem.bits:
            walk.restart()
            left -= 1
    return walk.best(evaluations - left)


def _annealed(problem: Quadratic, rng: np.random.Generator, evaluations: int) -> Solution:
    """Simulated annealing: Metropolis on single flips, the temperature falling by a constant factor a step."""
    walk = _Walk(problem, rng)
    # From where nearly every flip is taken to where none upwards is.
    spread = np.abs(problem.linear) + np.abs(problem.quadratic).sum(0) + np.abs(problem.quadratic).sum(1)
    hot, cold = float(spread.max()) or 1.0, max(float(spread.min()), SAME) / 50
    temperatures = np.geomspace(max(hot, cold), cold, max(1, evaluations - 1))
    for temperature in temperatures[: evaluations - 1]:
        flip = int(rng.integers(problem.bits))
        change = walk.change(flip)
        if change <= 0 or rng.random() < np.exp(-change / temperature):
            walk.flip(flip, change)
    return walk.best(evaluations)


class _Walk:
    """An assignment that changes flip by flip, and the best one so far."""

    def __init__(self, problem: Quadratic, rng: np.random.Generator) -> None:
        self._problem, self._rng = problem, rng
        self._pairs = problem.quadratic + problem.quadratic.T
        self._best_energy = float("inf")
        self.restart()

    def restart(self) -> None:
        self._bits = self._rng.integers(2, size=self._problem.bits).astype(np.float64)
        self._energy = float(self._problem.energies(self._bits[None].astype(np.int8))[0])
        # What switching a bit on adds, beside the others as they are.
        self._adds = self._problem.linear + self._pairs @ self._bits
        self._keep()

    def changes(self) -> npt.NDArray[np.float64]:
        changes: npt.NDArray[np.float64] = (1 - 2 * self._bits) * self._adds
        return changes

    def change(self, flip: int) -> float:
        return float((1 - 2 * self._bits[flip]) * self._adds[flip])

    def flip(self, flip: int, change: float) -> None:
        self._adds += self._pairs[flip] * (1 - 2 * self._bits[flip])
        self._bits[flip] = 1 - self._bits[flip]
        self._energy += change
        self._keep()

    def best(self, evaluations: int) -> Solution:
        # Added changes gather rounding errors: the energy is computed once more.
        return replace(best_of(self._problem, self._best[None]), evaluations=evaluations)

    def _keep(self) -> None:
        if self._energy < self._best_energy:
            self._best_energy, self._best = self._energy, self._bits.astype(np.int8)
