"""The error-correction estimate, against stim's own noisy circuits and what is published about thresholds."""

import pytest
import stim

from federated.errors import ShotsError
from federated.quantum.error_correction import (
    DISTANCES,
    Memory,
    fit_suppression,
    measure_suppression,
    memory_circuit,
    run_memory,
)
from federated.quantum.noise_rates import NoiseRates


def uniform(rate: float) -> NoiseRates:
    return NoiseRates(depolarizing=rate, depolarizing2=rate, readout=rate)


@pytest.mark.parametrize("distance", [3, 5])
def test_without_damping_it_is_stims_standard_circuit(distance: int) -> None:
    expected = stim.Circuit.generated(
        "surface_code:rotated_memory_z",
        distance=distance,
        rounds=4,
        after_clifford_depolarization=0.003,
        before_measure_flip_probability=0.003,
        after_reset_flip_probability=0.003,
    )
    found = memory_circuit(distance, 4, uniform(0.003)).detector_error_model()
    assert found.approx_equals(expected.detector_error_model(), atol=1e-12)


def test_gates_of_one_and_two_qubits_and_readout_have_their_own_rates() -> None:
    text = str(memory_circuit(3, 4, NoiseRates(0.001, 0.002, 0.0, 0.003)))
    assert "DEPOLARIZE1(0.001)" in text
    assert "DEPOLARIZE2(0.002)" in text
    assert "X_ERROR(0.003)" in text
    assert "PAULI_CHANNEL_1" not in text


def test_every_qubit_decays_while_gates_run_and_the_data_wait_longer_for_readout() -> None:
    circuit = memory_circuit(3, 2, NoiseRates(amplitude_damping=0.01))
    decays = [op for op in circuit.flattened() if op.name == "PAULI_CHANNEL_1"]
    in_gates = [op for op in decays if len(op.targets_copy()) == 17]
    in_readout = [op for op in decays if len(op.targets_copy()) == 9]
    assert (len(in_gates), len(in_readout)) == (2 * 6, 2)
    assert in_gates[0].gate_args_copy()[0] == pytest.approx(0.01 / 4)
    assert in_readout[0].gate_args_copy()[0] == pytest.approx((1 - 0.99**20) / 4)


def test_no_noise_makes_no_errors() -> None:
    memory = run_memory(3, NoiseRates(), 2000, 0)
    assert (memory.shots, memory.errors, memory.per_round) == (2000, 0, 0.0)
    low, high = memory.interval
    assert 0 < low < high < 1e-3


@pytest.mark.parametrize(
    ("rate", "shares"),
    [
        pytest.param(0.005, (1.07e-2, 7.1e-3, 3.8e-3), id="below-threshold"),
        pytest.param(0.02, (0.12, 0.22, 0.31), id="above-threshold"),
    ],
)
def test_agrees_with_an_independent_run_of_as_many_rounds_as_the_distance(
    rate: float, shares: tuple[float, ...]
) -> None:
    """Their experiment has d rounds and counts wrong shots; ours has 3 d and counts errors a round."""
    memories, _ = measure_suppression(uniform(rate), 20_000, 0, lambda _: None)
    for memory, share in zip(memories, shares, strict=True):
        theirs = (1 - (1 - 2 * share) ** (1 / memory.distance)) / 2
        assert memory.per_round == pytest.approx(theirs, rel=0.3)


def test_below_threshold_more_qubits_help() -> None:
    memories, suppression = measure_suppression(uniform(0.005), 20_000, 0, lambda _: None)
    assert [memory.distance for memory in memories] == list(DISTANCES)
    assert suppression.is_correctable is True
    assert suppression.interval[0] < suppression.factor < suppression.interval[1]
    assert suppression.distance_interval[0] <= suppression.distance <= suppression.distance_interval[1]


def test_above_threshold_more_qubits_harm() -> None:
    _, suppression = measure_suppression(uniform(0.02), 5_000, 0, lambda _: None)
    assert suppression.is_correctable is False
    assert (suppression.distance, suppression.distance_interval) == (None, (None, None))


def test_decay_alone_can_break_the_code() -> None:
    assert measure_suppression(NoiseRates(amplitude_damping=0.0005), 20_000, 0, print)[1].is_correctable is True
    assert measure_suppression(NoiseRates(amplitude_damping=0.01), 2_000, 0, print)[1].is_correctable is False


@pytest.mark.parametrize("rates", [uniform(0.9), uniform(1.0), NoiseRates(amplitude_damping=1.0)], ids=str)
def test_noise_alone_is_not_correctable(rates: NoiseRates) -> None:
    memories = [run_memory(distance, rates, 500, 1) for distance in (3, 5)]
    suppression = fit_suppression(memories, 0)
    assert suppression.is_noise_only
    assert suppression.is_correctable is False


def test_finds_the_factor_that_made_the_errors() -> None:
    """per_round = 0.1 / 4 ** ((d + 1) / 2), in experiments of one round: 1e-6 is reached at d = 17."""
    memories = [Memory(d, 1, 10_000_000, round(10_000_000 * 0.1 / 4 ** ((d + 1) / 2))) for d in DISTANCES]
    suppression = fit_suppression(memories, 0)
    assert suppression.factor == pytest.approx(4, rel=0.01)
    assert suppression.interval == pytest.approx((4, 4), rel=0.03)
    assert suppression.distance == 17


def test_too_few_shots_leave_it_open() -> None:
    suppression = fit_suppression([run_memory(d, NoiseRates(), 100, 0) for d in DISTANCES], 0)
    assert suppression.is_correctable is None


def test_an_error_twice_is_none() -> None:
    assert Memory(3, 1, 1000, 100).per_round == pytest.approx(0.1)
    assert Memory(3, 2, 1000, 180).per_round == pytest.approx(0.1)  # 2 * 0.1 * 0.9
    assert Memory(3, 9, 1000, 510).per_round == 0.5


def test_stops_when_enough_errors_are_seen() -> None:
    memory = run_memory(3, uniform(0.02), 1_000_000, 0)
    assert memory.errors >= 1000
    assert memory.shots < 10_000


def test_refuses_zero_shots() -> None:
    with pytest.raises(ShotsError, match="got 0"):
        run_memory(3, NoiseRates(), 0, 0)
