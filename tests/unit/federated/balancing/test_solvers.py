from dataclasses import replace

import numpy as np
import pytest

from federated.balancing.balance_problem import build_problem
from federated.balancing.quadratic import Quadratic
from federated.balancing.solvers import solve
from federated.errors import CircuitError, TrainingSettingsError
from tests.fakes.balance_cohorts import cohort

HEURISTICS = ("annealed", "greedy", "random", "qaoa", "vqe")


def random_problem(bits, seed):
    rng = np.random.default_rng(seed)
    return Quadratic(rng.normal(), rng.normal(size=bits), np.triu(rng.normal(size=(bits, bits)), 1))


@pytest.mark.parametrize("name", HEURISTICS)
@pytest.mark.parametrize("seed", range(2))
def test_none_beats_the_exact_answer_and_each_tells_its_own_energy(name, seed):
    problem = random_problem(6, seed)
    best = solve("exact", problem)
    found = solve(name, problem, seed=seed, evaluations=40)
    assert found.energy >= best.energy - 1e-9
    assert found.energy == pytest.approx(float(problem.energies(np.array([found.bits]))[0]))
    assert found.evaluations <= 40
    assert best.evaluations == 64


@pytest.mark.parametrize("name", HEURISTICS)
def test_the_same_seed_gives_the_same_answer(name):
    problem = random_problem(3, 7)
    first, second = (replace(solve(name, problem, seed=3, evaluations=8), seconds=0.0) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["annealed", "greedy", "vqe"])
def test_finds_the_balanced_weights_of_a_cohort(name):
    problem = build_problem(cohort(), ["sex"], minimum=10, qubits=8).energy
    best = solve("exact", problem).energy
    reached = min(solve(name, problem, seed=seed, evaluations=200).energy for seed in range(2))
    assert reached == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("name", [*HEURISTICS, "exact"])
def test_a_single_bit_is_a_problem_too(name):
    assert solve(name, Quadratic(1.0, np.array([-2.0]), np.zeros((1, 1))), evaluations=64).bits == (1,)


@pytest.mark.parametrize("name", [*HEURISTICS, "exact"])
def test_a_flat_problem_is_solved_by_anything(name):
    assert solve(name, Quadratic(0.5, np.zeros(3), np.zeros((3, 3))), evaluations=4).energy == 0.5


def test_circuits_refuse_more_wires_than_they_have():
    with pytest.raises(CircuitError, match="1 to 10 wires"):
        solve("vqe", random_problem(11, 0))
    with pytest.raises(CircuitError, match="at most 16 wires"):
        solve("qaoa", random_problem(17, 0))


def test_refuses_an_unknown_solver_and_no_evaluations():
    with pytest.raises(TrainingSettingsError, match=r"a solver of exact, .*, got 'oracle'"):
        solve("oracle", random_problem(2, 0))
    with pytest.raises(TrainingSettingsError, match="at least one evaluation"):
        solve("random", random_problem(2, 0), evaluations=0)
