"""The quantum approximate optimisation algorithm, simulated exactly with gradients, then measured.

    |+...+>, then for each of p layers:  exp(-i gamma H) (diagonal: elementwise),  RX(2 beta) on each wire

The angles are trained by Adam on the exact expectation of H; on a quantum computer each of these steps would take
shots of its own. Then the state is measured a finite number of times and the best outcome is taken.

References:
    Farhi, Goldstone and Gutmann (2014), arXiv:1411.4028. The first angles are a linear ramp, as annealing has it:
    Sack and Serbyn (2021), arXiv:2101.05742.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import torch

from federated.balancing.quadratic import Quadratic, to_assignments
from federated.balancing.solution import SAME, Solution, best_of
from federated.errors import CircuitError
from federated.quantum.gates import kronecker

Tensor = torch.Tensor

LAYERS: Final = 4
STEPS: Final = 100
LEARNING_RATE: Final = 0.05
RAMP: Final = 0.75
MAX_WIRES: Final = 16


def solve_by_qaoa(problem: Quadratic, rng: np.random.Generator, shots: int, *, layers: int = LAYERS) -> Solution:
    """Train the angles, measure, and take the best outcome.

    Args:
        problem: What to make small.
        rng: Of the first angles and of the measurement.
        shots: Measurements of the trained state.
        layers: p.

    Raises:
        CircuitError: The problem has more bits than are simulated.
    """
    if problem.bits > MAX_WIRES:
        raise CircuitError(f"QAOA is simulated on at most {MAX_WIRES} wires, got a problem of {problem.bits} bits.")
    energies = torch.from_numpy(problem.all_energies())
    middle, spread = energies.mean(), energies.std(correction=0).clamp(min=SAME)
    scaled = (energies - middle) / spread
    angles = _ramp(layers, rng).requires_grad_()
    optimiser = torch.optim.Adam([angles], LEARNING_RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        expectation = qaoa_probabilities(scaled, angles) @ scaled
        expectation.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        probabilities = qaoa_probabilities(scaled, angles)
    return measure(problem, energies, probabilities, rng, shots, training_steps=STEPS)


def qaoa_probabilities(energies: Tensor, angles: Tensor) -> Tensor:
    """Probabilities of all outcomes.

    Args:
        energies: float64 (2^wires,), the diagonal of H.
        angles: (2, layers): gamma and beta, radian.

    Returns:
        float64 (2^wires,).
    """
    wires = len(energies).bit_length() - 1
    state = torch.full((len(energies),), len(energies) ** -0.5, dtype=torch.complex128)
    for gamma, beta in angles.T:
        state = state * torch.polar(torch.ones_like(energies), -gamma * energies)
        state = _mix(state, beta, wires)
    return state.real.square() + state.imag.square()


def measure(
    problem: Quadratic,
    energies: Tensor,
    probabilities: Tensor,
    rng: np.random.Generator,
    shots: int,
    *,
    training_steps: int,
) -> Solution:
    """Measure a state and take the best outcome.

    Returns:
        With these details: "expectation" of the energy, "ground_probability" that one shot shows an optimum, and
        "training_steps", each of which a quantum computer would have to spend shots on.
    """
    chances = probabilities.double().clamp(min=0).numpy()
    drawn = rng.choice(len(chances), size=shots, p=chances / chances.sum())
    is_best = (energies <= energies.min() + SAME).numpy()
    details = {
        "expectation": float(chances @ energies.numpy()),
        "ground_probability": float(chances[is_best].sum()),
        "training_steps": float(training_steps),
    }
    return replace(best_of(problem, to_assignments(drawn, problem.bits)), details=details)


def _ramp(layers: int, rng: np.random.Generator) -> Tensor:
    places = (np.arange(layers) + 0.5) / layers
    ramp = RAMP * np.stack([places, 1 - places])
    return torch.from_numpy(ramp * rng.uniform(0.8, 1.2, ramp.shape))


def _mix(state: Tensor, beta: Tensor, wires: int) -> Tensor:
    """RX(2 beta) on every wire: half of them at a time."""
    cosine, sine = beta.cos(), beta.sin()
    nought = torch.zeros_like(cosine)
    gate = torch.complex(torch.stack([cosine, nought, nought, cosine]), torch.stack([nought, -sine, -sine, nought]))
    first, second = (kronecker(gate.reshape(2, 2).expand(count, 2, 2)) for count in (wires // 2, wires - wires // 2))
    # RX is symmetric, so the second factor needs no transposing.
    return (first @ state.reshape(len(first), len(second)) @ second).reshape(-1)
