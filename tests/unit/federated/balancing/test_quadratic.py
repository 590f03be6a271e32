import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federated.balancing.quadratic import Quadratic, squares, to_assignments, to_bits
from federated.errors import TrainingSettingsError

numbers = st.floats(-10, 10, allow_nan=False)


@st.composite
def problems(draw, largest=6):
    bits = draw(st.integers(1, largest))
    linear = draw(arrays(np.float64, bits, elements=numbers))
    quadratic = np.triu(draw(arrays(np.float64, (bits, bits), elements=numbers)), 1)
    return Quadratic(draw(numbers), linear, quadratic)


def plain_energy(problem, bits):
    """Term by term, as the module's docstring writes it."""
    found = problem.constant
    for i, x in enumerate(bits):
        found += problem.linear[i] * x
        for j in range(i + 1, len(bits)):
            found += problem.quadratic[i, j] * x * bits[j]
    return found


@settings(max_examples=40, deadline=None)
@given(problems())
def test_all_energies_are_those_of_the_formula_wire_0_first(problem):
    expected = [plain_energy(problem, to_bits(index, problem.bits)) for index in range(2**problem.bits)]
    np.testing.assert_allclose(problem.all_energies(), expected, atol=1e-9)
    every = to_assignments(np.arange(2**problem.bits), problem.bits)
    np.testing.assert_allclose(problem.energies(every), expected, atol=1e-9)
    assert to_bits(1, 3) == (0, 0, 1)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_spins_have_the_energies_of_the_bits(problem):
    ising = problem.ising()
    for index in range(2**problem.bits):
        bits = to_bits(index, problem.bits)
        spins = 1 - 2 * np.array(bits)
        energy = ising.constant + ising.fields @ spins + spins @ ising.couplings @ spins
        assert energy == pytest.approx(plain_energy(problem, bits), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_squares_are_the_squared_length(bits, forms, seed):
    rng = np.random.default_rng(seed)
    rows, offsets = rng.normal(size=(forms, bits)), rng.normal(size=forms)
    every = to_assignments(np.arange(2**bits), bits)
    expected = np.square(every @ rows.T + offsets).sum(1)
    np.testing.assert_allclose(squares(rows, offsets).energies(every), expected, atol=1e-9)


@pytest.mark.parametrize("bits", [0, 21])
def test_refuses_what_cannot_be_enumerated(bits):
    with pytest.raises(TrainingSettingsError, match=f"1 to 20 bits to choose, got {bits}"):
        Quadratic(0.0, np.zeros(bits), np.zeros((bits, bits)))
