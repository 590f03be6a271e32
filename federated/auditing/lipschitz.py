"""How far apart a circuit's outcomes can be for inputs that are close: a bound that holds for every pair of patients.

After Guan, Fang and Ying (2022), arXiv:2207.11173: a model that maps states to distributions of outcomes is fair, close
inputs having close outcomes, exactly as far as its Lipschitz constant says,

    total variation of the outcomes <= K * trace distance of the states,
    K = max over sets of outcomes of (largest - smallest eigenvalue) of their effect,

each effect being carried back through the circuit and its noise. For an expectation value the same holds with the
eigenvalues of its observable: |<O>_rho - <O>_sigma| <= (largest - smallest) * trace distance. Everything here is exact
linear algebra on matrices of at most 2^8 rows.

States are what the encoding makes of angles, so the bound goes on to the angles, and to the features before them:

    trace distance of encoded states = sqrt(1 - prod cos^2(d_i / 2)) <= |d|_2 / 2,   d the difference of the angles.

A circuit that uploads its angles again is another map for each input; only the bounds by angles hold for it then: each
later upload adds at most (largest - smallest) / 2 * |d|_1. The classical twin at the same place is bounded by the
product of its matrices' spectral norms; both bounds are per unit of the slot's input feature, before the squashing.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore
from federated.cases import Example
from federated.errors import EvaluationError
from federated.hybrid import Bottleneck, HybridNet, VoxelHead
from federated.ports import Progress
from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.gates import bases, outer, signs
from federated.quantum.layer import QuantumLayer
from federated.quantum.noise_rates import SUPERCONDUCTING, NoiseRates
from federated.quantum.slot import Slot, SlotConfig
from federated.quantum.steps import bind

Tensor = torch.Tensor
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.complex128]
SlotName = Literal["head", "neck"]
MOST_WIRES: Final = 8
MOST_SETS_WIRES: Final = 4
"""Wires up to which every set of joint outcomes is looked at: 2^(2^4) sets, half of them being enough."""
SETS_AT_ONCE: Final = 4096
SAMPLES: Final = 512
"""Of a case's angles, and of random ones."""
PAIRS: Final = 2000
SQUASHING: Final = math.pi / 2
"""Steepest slope of the angles by the features: pi/2 (1 + tanh)."""
NOISES: Final = (
    ("none", NoiseRates()),
    ("superconducting", SUPERCONDUCTING),
    ("ten times superconducting", SUPERCONDUCTING.scaled(10)),
)


@dataclass(frozen=True)
class NoiseBound:
    """The circuit under one noise.

    Attributes:
        outcome: Largest K over the wires' own measurements, two outcomes each; 1 at most.
        joint: K over all sets of joint outcomes, where the wires are few enough to look at every set.
        answers: For each of the module's answers (the head's are logits by region) that the circuit's expectations
            are mixed to: largest - smallest eigenvalue. It bounds |difference of answers| / trace distance.
        observed: Largest ratio of that kind over pairs of encoded states that were tried; at most the largest of
            answers. None where the circuit uploads its angles again.
    """

    name: str
    outcome: float
    joint: float | None
    answers: tuple[float, ...]
    observed: float | None


@dataclass(frozen=True)
class Slope:
    """How steeply the module's answers can change with the slot's features, Euclidean norm, by answer.

    Attributes:
        bound: Proven for every input.
        observed: Steepest at the inputs that were tried.
    """

    bound: tuple[float, ...]
    observed: tuple[float, ...]


@dataclass(frozen=True)
class LipschitzReport:
    """Of one slot of a network.

    Attributes:
        kind: What sits in it.
        uploads: Of the circuit; above 1 the bounds by states do not hold between inputs.
        noises: Without noise first; empty for a control that is no circuit.
        angle_slope: By the circuit's angles, radian; None for a control.
        feature_slope: By the features before the squashing.
        twin_kind, twin_slope: The same of the classical twin, where one is given.
        inputs: How many rows of features were tried.
    """

    slot: SlotName
    kind: str
    wires: int
    uploads: int
    noises: tuple[NoiseBound, ...]
    angle_slope: Slope | None
    feature_slope: Slope
    twin_kind: str | None
    twin_slope: Slope | None
    inputs: int


def head_lipschitz(
    model: AuditedModel,
    examples: Sequence[Example] = (),
    *,
    slot: SlotName = "head",
    twin: AuditedModel | None = None,
    noise: Sequence[tuple[str, NoiseRates]] = NOISES,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = ignore,
) -> LipschitzReport:
    """Bound a slot of the hybrid network, and try inputs against the bounds.

    Args:
        model: With a slot there.
        examples: Cases whose features are tried beside random ones.
        slot: "head", answering voxel by voxel, or "neck".
        twin: Another hybrid network with a slot there, classical or not.
        noise: Names and rates of the devices the circuit is imagined on.
        limit: Most cases.
        seed: Of the inputs that are tried.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: A network has no such slot, or its circuit has too many wires.
    """
    part = _part(model, slot)
    config = _config(model, slot)
    rng = np.random.default_rng(seed)
    features = _features(model, part, chosen_cases(examples, limit, least=0), config.wires, rng)
    progress(0.2)
    readout = _readout(part)
    body = _slot(part).body
    circuit_part = body if isinstance(body, QuantumLayer) else None
    noises: list[NoiseBound] = []
    if circuit_part is not None:
        circuit, weights = circuit_part.circuit, _numbers(circuit_part.weights)
        angles = SQUASHING * (1 + np.tanh(features))
        for done, (name, rates) in enumerate(noise, start=1):
            noises.append(noise_bound(name, circuit, weights, rates, readout, angles, rng))
            progress(0.2 + 0.6 * done / len(noise))
        angle_slope = Slope(
            _angle_bounds(circuit, readout), _steepest(_circuit_answers(circuit, weights), readout, angles)
        )
    else:
        angle_slope = None
    feature_slope = _feature_slope(part, readout, features, angle_slope)
    twin_kind, twin_slope = (None, None) if twin is None else _twin(twin, slot, examples, limit, rng)
    progress(1.0)
    return LipschitzReport(
        slot=slot,
        kind=config.kind,
        wires=config.wires,
        uploads=config.uploads if circuit_part is not None else 1,
        noises=tuple(noises),
        angle_slope=angle_slope,
        feature_slope=feature_slope,
        twin_kind=twin_kind,
        twin_slope=twin_slope,
        inputs=len(features),
    )


def noise_bound(
    name: str,
    circuit: Circuit,
    weights: Floats,
    rates: NoiseRates,
    readout: Floats,
    angles: Floats,
    rng: np.random.Generator,
) -> NoiseBound:
    """The bounds by states of a circuit under a noise.

    Args:
        name: Of the noise.
        circuit: Without its first encoding: its layers, and later uploads at angles of 0, which only matters for how
            much noise they bring; see the module.
        weights: Of the circuit.
        rates: Of the noise.
        readout: (answers, observables): how expectations are mixed.
        angles: (rows, wires), tried in random pairs.
        rng: Draws the pairs.

    Raises:
        EvaluationError: The circuit has too many wires.
    """
    observables = evolved_observables(circuit, weights, rates)
    observed = None
    if circuit.uploads == 1 and len(angles) > 1:
        observed = _observed_ratio(circuit, observables, readout, angles, rng)
    return NoiseBound(
        name=name,
        # An effect (1 + O) / 2 has half of the observable's span.
        outcome=max(spectral_span(each) / 2 for each in observables),
        joint=joint_outcome_bound(circuit, weights, rates) if circuit.wires <= MOST_SETS_WIRES else None,
        answers=tuple(spectral_span(np.tensordot(row, observables, 1)) for row in readout),
        observed=observed,
    )


def evolved_observables(circuit: Circuit, weights: Floats, rates: NoiseRates) -> Matrix:
    """Each observable as it acts on the encoded states: carried back through readout errors, gates and their noise.

    Returns:
        complex128 (observables, 2^wires, 2^wires).

    Raises:
        EvaluationError: The circuit has too many wires.
    """
    return _carried_back(circuit, weights, rates, signs(circuit))


def joint_outcome_bound(circuit: Circuit, weights: Floats, rates: NoiseRates) -> float:
    """K over all sets of joint outcomes of measuring every wire.

    Raises:
        EvaluationError: The wires are too many to look at every set.
    """
    if circuit.wires > MOST_SETS_WIRES:
        raise EvaluationError(f"Expected at most {MOST_SETS_WIRES} wires, got {circuit.wires}: the sets are too many.")
    effects = _carried_back(circuit, weights, rates, np.eye(2**circuit.wires))
    # A set and the rest have the same span: the first outcome is in every set that is looked at.
    sets = np.array([(1.0, *others) for others in itertools.product((0.0, 1.0), repeat=len(effects) - 1)])
    spans = []
    for start in range(0, len(sets), SETS_AT_ONCE):
        eigenvalues = np.linalg.eigvalsh(np.tensordot(sets[start : start + SETS_AT_ONCE], effects, 1))
        spans.append(float(np.ptp(eigenvalues, axis=1).max()))
    return max(spans)


def spectral_span(hermitian: Matrix) -> float:
    """Largest eigenvalue minus the smallest."""
    eigenvalues = np.linalg.eigvalsh((hermitian + hermitian.conj().T) / 2)
    return float(eigenvalues[-1] - eigenvalues[0])


def encoded_trace_distance(first: Floats, second: Floats) -> Floats:
    """Trace distance of the product states that two rows of angles (..., wires) are encoded as."""
    overlap = np.cos((first - second) / 2).prod(-1) ** 2
    distance: Floats = np.sqrt((1 - overlap).clip(0))
    return distance


def encoded_product_states(circuit: Circuit, angles: Floats) -> Matrix:
    """State vectors after the first encoding, complex128 (rows, 2^wires)."""
    turned = torch.from_numpy(np.ascontiguousarray(angles.T))
    real = bases(circuit.encoding, turned).real
    waves = torch.stack([(turned / 2).cos(), (turned / 2).sin()], 1)
    states: Matrix = outer(real @ waves.to(real.dtype)).T.numpy()
    return states


def _carried_back(circuit: Circuit, weights: Floats, rates: NoiseRates, diagonals: Floats) -> Matrix:
    """Diagonal observables, (observables, 2^wires), carried back to just behind the first encoding, as matrices."""
    # PennyLane, which the noise is made of, takes seconds to import.
    from federated.quantum.density_matrix import NoisyGates, apply, apply_channel

    wires = circuit.wires
    if wires > MOST_WIRES:
        raise EvaluationError(
            f"Expected a circuit of at most {MOST_WIRES} wires, got {wires}: matrices grow as 4^wires."
        )
    misread = np.array([[1 - rates.readout, rates.readout], [rates.readout, 1 - rates.readout]])
    gates = NoisyGates(rates)
    steps = bind(circuit, np.zeros(wires), weights)[_encoding_gates(circuit) :]
    # <O, E(rho)> = <E*(O), rho>, and E* is the adjoint of the superoperator.
    adjoint = [(gates.channel(step).conj().T, step.wires) for step in reversed(steps)]
    found = []
    for diagonal in diagonals:
        values: npt.NDArray[Any] = diagonal.reshape((2,) * wires)
        for wire in range(wires):
            values = apply(misread, values, (wire,))
        observable = np.diag(values.ravel()).astype(complex).reshape((2,) * (2 * wires))
        for channel, on in adjoint:
            observable = apply_channel(channel, observable, on)
        found.append(observable.reshape(2**wires, 2**wires))
    return np.stack(found)


def _encoding_gates(circuit: Circuit) -> int:
    return circuit.wires * (2 if circuit.encoding == "rz" else 1)


def _observed_ratio(
    circuit: Circuit, observables: Matrix, readout: Floats, angles: Floats, rng: np.random.Generator
) -> float:
    """Largest difference of an answer over trace distance, over random pairs of encoded states."""
    states = encoded_product_states(circuit, angles)
    seen = [((states @ each.T) * states.conj()).sum(1).real for each in observables]
    answers = np.stack(seen, 1) @ readout.T
    first, second = rng.integers(0, len(angles), (2, PAIRS))
    distance = encoded_trace_distance(angles[first], angles[second])
    far = distance > 1e-6
    if not far.any():
        return 0.0
    return float((np.abs(answers[first] - answers[second])[far] / distance[far, None]).max())


def _angle_bounds(circuit: Circuit, readout: Floats) -> tuple[float, ...]:
    """Proven steepness of each answer by the angles, Euclidean norm: without noise, which could only flatten it."""
    # Gates keep eigenvalues: those of the diagonal observable are enough.
    spans = np.ptp(readout @ signs(circuit), axis=1)
    again = (circuit.uploads - 1) * math.sqrt(circuit.wires)
    return tuple(float(span / 2 * (1 + again)) for span in spans)


def _circuit_answers(circuit: Circuit, weights: Floats) -> Callable[[Tensor], Tensor]:
    backend, fixed = FusedBackend(), torch.from_numpy(weights)

    def answers(angles: Tensor) -> Tensor:
        return backend.expectations(circuit, angles, fixed)

    return answers


def _steepest(function: Callable[[Tensor], Tensor], readout: Floats, rows: Floats) -> tuple[float, ...]:
    """Largest gradient norm of each answer over rows of inputs."""
    found = []
    for weights in torch.from_numpy(readout):
        inputs = torch.from_numpy(rows).requires_grad_()
        with torch.enable_grad():
            total = (function(inputs) @ weights).sum()
            (gradient,) = torch.autograd.grad(total, inputs)
        found.append(float(gradient.norm(dim=1).max()))
    return tuple(found)


def _feature_slope(part: Bottleneck | VoxelHead, readout: Floats, features: Floats, by_angles: Slope | None) -> Slope:
    """By the features before the squashing."""
    body = _slot(part).body
    if isinstance(body, QuantumLayer):
        if by_angles is None:
            raise EvaluationError("Expected the slope by angles of a circuit.")
        answers = _circuit_answers(body.circuit, _numbers(body.weights))
        bound = tuple(SQUASHING * each for each in by_angles.bound)
        return Slope(bound, _steepest(lambda rows: answers(SQUASHING * (1 + rows.tanh())), readout, features))
    matrices = [_numbers(module.weight) for module in body.modules() if isinstance(module, torch.nn.Linear)]
    product = math.prod(float(np.linalg.norm(matrix, 2)) for matrix in matrices)
    # In double precision, apart from the network's own.
    classical = deepcopy(body).double()
    bound = tuple(float(np.linalg.norm(row)) * product for row in readout)
    return Slope(bound, _steepest(lambda rows: classical(rows.tanh()), readout, features))


def _twin(
    twin: AuditedModel, slot: SlotName, examples: Sequence[Example], limit: int | None, rng: np.random.Generator
) -> tuple[str, Slope]:
    part, config = _part(twin, slot), _config(twin, slot)
    readout = _readout(part)
    features = _features(twin, part, chosen_cases(examples, limit, least=0), config.wires, rng)
    by_angles = None
    body = _slot(part).body
    if isinstance(body, QuantumLayer):
        circuit = body.circuit
        by_angles = Slope(_angle_bounds(circuit, readout), ())
    return config.kind, _feature_slope(part, readout, features, by_angles)


def _part(model: AuditedModel, slot: SlotName) -> Bottleneck | VoxelHead:
    if slot not in {"head", "neck"}:
        raise EvaluationError(f'Expected the slot "head" or "neck", got {slot!r}.')
    part = getattr(model.network, slot) if isinstance(model.network, HybridNet) else None
    if not isinstance(part, Bottleneck | VoxelHead):
        raise EvaluationError(f"Expected a hybrid network with a slot in its {slot}, got one without.")
    _slot(part)
    return part


def _slot(part: Bottleneck | VoxelHead) -> Slot:
    slot = part.slot
    if not isinstance(slot, Slot):
        raise EvaluationError("Expected a slot in its head, got a plain projection.")
    return slot


def _config(model: AuditedModel, slot: SlotName) -> SlotConfig:
    config = getattr(model.model.network, slot)
    if not isinstance(config, SlotConfig):
        raise EvaluationError(f"Expected a hybrid network with a slot in its {slot}, got one without.")
    return config


def _readout(part: Bottleneck | VoxelHead) -> Floats:
    """How the slot's body is mixed to the answers, (answers, observables): gains, then the projection."""
    outward = _numbers(part.outward.weight)
    readout: Floats = outward.reshape(outward.shape[0], -1) * _numbers(_slot(part).gain)
    return readout


def _features(
    model: AuditedModel,
    part: Bottleneck | VoxelHead,
    examples: Sequence[Example],
    wires: int,
    rng: np.random.Generator,
) -> Floats:
    """Rows of what enters the slot: of random voxels of the cases, and random ones that cover the angles."""
    # Uniform angles from 0 to pi, as the squashing gives them, and no infinite feature.
    angles = rng.uniform(0.01, math.pi - 0.01, (SAMPLES, wires))
    rows = [np.arctanh(angles / SQUASHING - 1)]
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].reshape(-1, wires))

    handle = _slot(part).register_forward_pre_hook(keep)
    try:
        for example in examples:
            seen.clear()
            with torch.inference_mode():
                model.logits(torch.from_numpy(example.model_input.channels))
            found = seen[0]
            chosen = torch.from_numpy(rng.integers(0, len(found), SAMPLES))
            rows.append(_numbers(found[chosen]))
    finally:
        handle.remove()
    features: Floats = np.concatenate(rows)
    return features


def _numbers(tensor: Tensor) -> Floats:
    numbers: Floats = tensor.detach().double().numpy()
    return numbers
