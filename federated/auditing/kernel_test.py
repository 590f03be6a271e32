"""Do two groups' embeddings come from one distribution? A quantum kernel's two-sample test beside its classical twin.

Both kernels see the same numbers: principal components of the standardised features, computed without knowing who is in
which group. Both are scaled alike without knowing it either: the RBF kernel by the median distance, at which it is
exp(-1/2); the circuit's angles so that its median is as near to that as the scales allow. The same permutations decide
about both. A small p-value says that the groups look different to the network, which they may for good reasons: it is
no finding of bias, and a large one is no proof of fairness.

The statistic is the unbiased estimate of the squared maximum mean discrepancy: Gretton et al. (2012), JMLR 13, 723-773.
The quantum kernel is the fidelity of encoded states: Havlicek et al. (2019), doi:10.1038/s41586-019-0980-2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from federated.errors import EvaluationError
from federated.quantum.circuit import Circuit
from federated.quantum.gates import outer
from federated.quantum.state_vectors import block_unitaries, phases
from federated.statistics import holm

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
MOST_WIRES: Final = 8
WIRES: Final = 6
PERMUTATIONS: Final = 999
SCALES: Final = tuple(round(2.0 ** (step / 4), 4) for step in range(-16, 5))
"""Radians a standard deviation, 1/16 to 2: what the angles' scale is chosen from."""
MIDDLE: Final = float(np.exp(-0.5))
"""What the RBF kernel is at the median distance."""
LEAST: Final = 4
"""Cases of a group: the estimate needs pairs, and of fewer there are so few permutations that no p-value is small."""


@dataclass(frozen=True)
class KernelResult:
    """What one kernel says.

    Attributes:
        mmd2: Unbiased estimate of the squared discrepancy; may be negative.
        p_value: Share of permutations with as large a statistic, the true grouping counted among them.
        scale: Radians a standard deviation, or the RBF kernel's median distance.
        median: Of the kernel over all pairs of different cases.
    """

    mmd2: float
    p_value: float
    scale: float
    median: float


@dataclass(frozen=True)
class TwoSampleTest:
    """Both kernels on the same cases, components and permutations.

    Attributes:
        cases: Of the two groups.
        components: Principal components, and wires.
        variance: Share of the standardised features' variance that they keep.
    """

    cases: tuple[int, int]
    components: int
    variance: float
    permutations: int
    quantum: KernelResult
    classical: KernelResult


@dataclass(frozen=True)
class GroupTest:
    """One group against all others whose group is known.

    Attributes:
        outcome: "insufficient-evidence" where the group, or the others, are too few; then there is no test.
        quantum_p, classical_p: Adjusted for the number of groups by Holm's method; 1 where there is no test.
    """

    group: str
    cases: int
    others: int
    outcome: Literal["measured", "insufficient-evidence"]
    test: TwoSampleTest | None
    quantum_p: float
    classical_p: float


@dataclass(frozen=True)
class KernelComparison:
    """All groups of one attribute.

    Attributes:
        groups: In the order of their names; of two groups only the first is tested: the second's test is the same.
        unknown: Cases whose group is not known.
    """

    groups: tuple[GroupTest, ...]
    unknown: int


def compare_groups(
    values: Floats,
    groups: Sequence[str | None],
    *,
    minimum: int,
    wires: int = WIRES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> KernelComparison:
    """Test each group against all others.

    Args:
        values: (cases, features), finite.
        groups: Of each case, None where it is not known.
        minimum: Fewest cases of a group, and of its others.
        wires: Principal components, at most MOST_WIRES; fewer where there are fewer cases or features.
        permutations: Of each test.
        seed: Of the permutations.

    Raises:
        EvaluationError: The values are not as said, or a number is out of range.
    """
    values = _checked(values)
    if len(groups) != len(values):
        raise EvaluationError(f"Expected a group for each of {len(values)} cases, got {len(groups)}.")
    known = np.array([group is not None for group in groups], bool)
    names = sorted({group for group in groups if group is not None})
    tested = names[:1] if len(names) == 2 else names
    sizes = {name: sum(group == name for group in groups) for name in names}
    found: dict[str, TwoSampleTest] = {}
    for name in tested:
        others = int(known.sum()) - sizes[name]
        if min(sizes[name], others) >= max(minimum, LEAST):
            inside = np.array([group == name for group in groups], bool)
            found[name] = two_sample_test(
                values[inside], values[known & ~inside], wires=wires, permutations=permutations, seed=seed
            )
    quantum = holm({name: test.quantum.p_value for name, test in found.items()})
    classical = holm({name: test.classical.p_value for name, test in found.items()})
    return KernelComparison(
        tuple(
            GroupTest(
                group=name,
                cases=sizes[name],
                others=int(known.sum()) - sizes[name],
                outcome="measured" if name in found else "insufficient-evidence",
                test=found.get(name),
                quantum_p=quantum.get(name, 1.0),
                classical_p=classical.get(name, 1.0),
            )
            for name in tested
        ),
        unknown=int((~known).sum()),
    )


def two_sample_test(
    first: Floats, second: Floats, *, wires: int = WIRES, permutations: int = PERMUTATIONS, seed: int = 0
) -> TwoSampleTest:
    """Test two groups.

    Args:
        first, second: (cases, features), finite; at least LEAST cases each.
        wires: Principal components, at most MOST_WIRES; fewer where there are fewer cases or features.
        permutations: At least 1.
        seed: Of the permutations.

    Raises:
        EvaluationError: The values are not as said, all alike, or a number is out of range.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < LEAST:
        raise EvaluationError(
            f"Expected two groups of at least {LEAST} cases with as many features each, got {first.shape} and "
            f"{second.shape}."
        )
    if not 1 <= wires <= MOST_WIRES or permutations < 1:
        raise EvaluationError(f"Expected 1 to {MOST_WIRES} wires and permutations, got {wires} and {permutations}.")
    components, variance = principal_components(np.concatenate([first, second]), wires)
    members = _memberships(len(first), len(second), permutations, seed)
    scale, quantum = matched_quantum_kernel(components)
    distance, classical = rbf_kernel(components)
    return TwoSampleTest(
        cases=(len(first), len(second)),
        components=components.shape[1],
        variance=variance,
        permutations=permutations,
        quantum=_result(quantum, members, scale),
        classical=_result(classical, members, distance),
    )


def principal_components(values: Floats, count: int) -> tuple[Floats, float]:
    """Standardised principal components of standardised features.

    Returns:
        (cases, components), each of mean 0 and standard deviation 1, fewer than asked for where the features hold no
        more; and the share of the variance that they keep.

    Raises:
        EvaluationError: All cases are alike.
    """
    centred = values - values.mean(0)
    deviation = centred.std(0)
    varies = deviation > 1e-12 * np.maximum(1.0, np.abs(values).max(0))
    if not varies.any():
        raise EvaluationError("Expected cases that differ, got the same features for all of them.")
    rotated, lengths, _ = np.linalg.svd(centred[:, varies] / deviation[varies], full_matrices=False)
    kept = min(count, int((lengths > 1e-9 * lengths[0]).sum()))
    components: Floats = rotated[:, :kept] * np.sqrt(len(values))
    return components, float((lengths[:kept] ** 2).sum() / (lengths**2).sum())


def feature_circuit(wires: int) -> Circuit:
    """The feature map: each angle on its wire by RY, a ring of CZ, and the same again; its weights are 0.

    The entangling gates between the two uploads make the kernel differ from a product over the wires.
    """
    return Circuit(wires, layers=1, uploads=2, encoding="ry", rotation="ry", entangler="cz")


def encoded_states(angles: Floats) -> Complexes:
    """State vectors of the feature map, complex128 (cases, 2^wires); wire 0 is the most significant bit."""
    turned = torch.from_numpy(np.ascontiguousarray(angles.T))
    unitaries = _blocks(angles.shape[1])
    product = outer(torch.stack([(turned / 2).cos(), (turned / 2).sin()], 1))
    states = unitaries[0] @ product.to(unitaries.dtype)
    for unitary in unitaries[1:]:
        states = unitary @ (phases(turned) * states)
    found: Complexes = states.T.numpy()
    return found


@cache
def _blocks(wires: int) -> torch.Tensor:
    """The feature map's unitaries between its uploads; the same for all cases."""
    circuit = feature_circuit(wires)
    with torch.inference_mode(mode=False):
        return block_unitaries(circuit, torch.zeros(circuit.weight_shape, dtype=torch.float64))


def quantum_kernel(components: Floats, scale: float) -> Floats:
    """Fidelity |<phi(x)|phi(y)>|^2 of each pair of cases, (cases, cases)."""
    states = encoded_states(scale * components)
    kernel: Floats = np.abs(states.conj() @ states.T) ** 2
    return kernel


def matched_quantum_kernel(components: Floats) -> tuple[float, Floats]:
    """The quantum kernel at the scale whose median is nearest to the RBF kernel's."""
    kernels = ((scale, quantum_kernel(components, scale)) for scale in SCALES)
    return min(kernels, key=lambda each: abs(_median(each[1]) - MIDDLE))


def rbf_kernel(components: Floats) -> tuple[float, Floats]:
    """exp(-d^2 / (2 m^2)) with m the median distance of different cases; m and the kernel."""
    from scipy.spatial.distance import pdist, squareform

    distances = pdist(components)
    median = max(float(np.median(distances)), 1e-12)
    return median, np.exp(-(squareform(distances) ** 2) / (2 * median**2))


def mmd2(kernel: Floats, members: npt.NDArray[np.bool_]) -> Floats:
    """The unbiased statistic of each grouping.

    Args:
        kernel: (cases, cases).
        members: (groupings, cases): who is in the first group; as many in each grouping.
    """
    inside, outside = members.astype(np.float64), (~members).astype(np.float64)
    first, second = int(members[0].sum()), int((~members[0]).sum())
    bare = kernel - np.diag(np.diag(kernel))
    within = ((inside @ bare) * inside).sum(1) / (first * (first - 1))
    without = ((outside @ bare) * outside).sum(1) / (second * (second - 1))
    between = ((inside @ bare) * outside).sum(1) / (first * second)
    found: Floats = within + without - 2 * between
    return found


def _memberships(first: int, second: int, permutations: int, seed: int) -> npt.NDArray[np.bool_]:
    """The true grouping, then the permuted ones."""
    true = np.arange(first + second) < first
    rng = np.random.default_rng(seed)
    return np.stack([true, *(rng.permutation(true) for _ in range(permutations))])


def _result(kernel: Floats, members: npt.NDArray[np.bool_], scale: float) -> KernelResult:
    statistics = mmd2(kernel, members)
    # Rounding must not decide between a statistic and its equal.
    reached = statistics >= statistics[0] - 1e-12
    return KernelResult(float(statistics[0]), float(reached.mean()), scale, _median(kernel))


def _median(kernel: Floats) -> float:
    return float(np.median(kernel[np.triu_indices(len(kernel), 1)]))


def _checked(values: Floats) -> Floats:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise EvaluationError(f"Expected finite features (cases, features), got an array of shape {values.shape}.")
    return values
