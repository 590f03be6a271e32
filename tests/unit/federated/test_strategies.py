"""Against closed forms: sites whose losses are quadratic, f_i(w) = a_i / 2 (w - b_i)^2, and linear models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.errors import NetworkConfigError, RoundRecordError, UpdateError
from federated.guidance import Guide
from federated.models import HybridConfig, SegResNetConfig, UNetConfig, build_network, describe_network
from federated.quantum.slot import SlotConfig
from federated.rounds.ports import LocalResult
from federated.rounds.terms import Learning
from federated.strategies import (
    ServerState,
    advance,
    extras,
    late_weight,
    norm_names,
    shared_names,
    site_weight,
    start_state,
    trained_names,
    update_size,
)
from tests.fakes.federated_rounds import learning_terms, run_round
from tests.fakes.tiny_model import TINY_NETWORK

RATE, STEPS = 0.1, 10
CURVES = {"north": (1.0, 0.0), "south": (5.0, 4.0)}
"""a_i and b_i: the least of the sum is at 20 / 6."""
OPTIMUM = 20 / 6


class QuadraticSites:
    """Sites that descend plainly on their quadratic, under the guide of their strategy."""

    def __init__(self, curves=None, steps=STEPS):
        self.curves, self.steps, self.controls = curves or CURVES, steps, {}

    def work(self, terms, _stage, weights, pieces, site):
        steepness, best = self.curves[site]
        start = torch.from_numpy(np.array(weights["w"]))
        weight = torch.nn.Parameter(start.clone())
        own = self.controls.get(site, torch.zeros_like(start))
        guide = self.guide(terms, start, pieces, own)
        optimiser = torch.optim.SGD([weight], lr=RATE)
        for _ in range(self.steps):
            optimiser.zero_grad()
            (steepness / 2 * (weight - best) ** 2).sum().backward()
            guide.adjust({"w": weight})
            optimiser.step()
        update = (weight.detach() - start).numpy()
        if terms.learning.strategy == "scaffold":
            fresh = guide.mean_gradient(self.steps)["w"]
            control = torch.from_numpy(np.frombuffer(pieces["control"], "<f4").copy())
            # Option II, Karimireddy et al. (2020), algorithm 1, line 12.
            torch.testing.assert_close(fresh, own - control - torch.from_numpy(update) / (self.steps * RATE))
            self.controls[site] = fresh
            update = np.concatenate([update, (fresh - own).numpy()])
        return LocalResult(update, 1)

    @staticmethod
    def guide(terms, start, pieces, own):
        learning = terms.learning
        if learning.strategy == "scaffold":
            control = torch.from_numpy(np.frombuffer(pieces["control"], "<f4").copy())
            return Guide(correction={"w": control - own})
        return Guide(pull=learning.proximal if learning.strategy == "fedprox" else 0.0, towards={"w": start})


def settled(strategy, *, rounds=60, sites=None, absent=lambda number: (), **learning):
    """The state when nothing changes any more, and the sites."""
    sites = sites or QuadraticSites()
    state = start_state({"w": np.zeros(1, np.float32)}, ["w"], Learning(strategy=strategy))
    terms = learning_terms(state, rounds=rounds, sites=sorted(sites.curves), strategy=strategy, **learning)
    for number in range(1, rounds + 1):
        present = [site for site in terms.participants if site not in absent(number)]
        state, terms = run_round(state, terms, sites.work, present)
    return state, sites


def place(state):
    return float(state.weights["w"][0])


def test_fedavg_of_one_step_of_a_linear_model_is_a_step_of_pooled_training():
    rng = np.random.default_rng(0)
    cases = {site: (rng.normal(size=(count, 5)), rng.normal(size=count)) for site, count in (("a", 4), ("b", 13))}

    def gradient(inputs, answers, weights):
        return inputs.T @ (inputs @ weights - answers) / len(answers)

    def work(_terms, _stage, weights, _extras, site):
        inputs, answers = cases[site]
        return LocalResult((-RATE * gradient(inputs, answers, weights["w"])).astype(np.float32), len(answers))

    state = start_state({"w": rng.normal(size=5).astype(np.float32)}, ["w"], Learning())
    inputs, answers = (np.concatenate(each) for each in zip(*cases.values(), strict=True))
    pooled = state.weights["w"].astype(float)
    terms = learning_terms(state, rounds=20, sites=("a", "b"))
    for _ in range(20):
        state, terms = run_round(state, terms, work)
        pooled = pooled - RATE * gradient(inputs, answers, pooled)
    np.testing.assert_allclose(state.weights["w"], pooled, rtol=1e-5)


def test_fedavg_stays_off_where_sites_differ_as_theory_says():
    kept = {site: (1 - RATE * steepness) ** STEPS for site, (steepness, _) in CURVES.items()}
    expected = sum((1 - kept[site]) * best for site, (_, best) in CURVES.items()) / sum(
        1 - each for each in kept.values()
    )
    found = place(settled("fedavg")[0])
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(found - OPTIMUM) > 0.5


def test_scaffold_finds_the_optimum_where_fedavg_stays_off():
    state, sites = settled("scaffold")
    assert place(state) == pytest.approx(OPTIMUM, abs=1e-4)
    for site, (steepness, best) in CURVES.items():
        assert float(sites.controls[site]) == pytest.approx(steepness * (OPTIMUM - best), abs=1e-3)


def test_scaffolds_controls_sum_to_zero_around_that_of_the_server():
    state, sites = settled("scaffold", rounds=3)
    own = [float(each) for each in sites.controls.values()]
    assert np.mean(own) == pytest.approx(float(state.control[0]), abs=1e-5)


def test_scaffold_finds_the_optimum_although_sites_come_and_go():
    curves = {"a": (1.0, 0.0), "b": (3.0, 4.0), "c": (2.0, -1.0), "d": (2.0, 5.0)}
    best = sum(a * b for a, b in curves.values()) / sum(a for a, _ in curves.values())
    names = sorted(curves)
    state, sites = settled(
        "scaffold", rounds=400, sites=QuadraticSites(curves, steps=3), absent=lambda number: (names[number % 4],)
    )
    assert place(state) == pytest.approx(best, abs=0.02)
    assert np.mean([float(each) for each in sites.controls.values()]) == pytest.approx(
        float(state.control[0]), abs=1e-3
    )


@pytest.mark.parametrize("pull", [0.5, 5.0])
def test_fedprox_ends_where_its_sites_solve_the_pulled_problem(pull):
    # After many steps a site is at (a b + mu w) / (a + mu): its change is a / (a + mu) (b - w).
    shares = {site: steepness / (steepness + pull) for site, (steepness, _) in CURVES.items()}
    expected = sum(shares[site] * best for site, (_, best) in CURVES.items()) / sum(shares.values())
    found = place(settled("fedprox", sites=QuadraticSites(steps=60), rounds=25, proximal=pull)[0])
    assert found == pytest.approx(expected, abs=1e-3)
    plain = place(settled("fedavg", sites=QuadraticSites(steps=60), rounds=25)[0])
    assert abs(found - OPTIMUM) < abs(plain - OPTIMUM)


def test_fedadam_takes_adams_step_along_the_mean_update():
    learning = Learning(strategy="fedadam", server_rate=0.01)
    weights = {"v": np.array([[1.0, 2.0]], np.float32), "w": np.array([3.0], np.float32)}
    state = start_state(weights, ["v", "w"], learning)
    updates = np.array([[0.5, -0.25, 0.0], [0.1, 0.3, -0.7]], np.float32)
    place, first, second = np.array([1.0, 2.0, 3.0]), np.zeros(3), np.full(3, 1e-6)
    for number, update in enumerate(updates, start=1):
        terms = learning_terms(state, rounds=2, strategy="fedadam", server_rate=0.01)
        state = advance(state, terms, update, ["north"])
        first = 0.9 * first + 0.1 * update
        second = 0.99 * second + 0.01 * update.astype(float) ** 2
        place = place + 0.01 * first / (np.sqrt(second) + 1e-3)
        assert state.round == number
        np.testing.assert_allclose(state.layout.flatten(state.weights), place, rtol=1e-6)


def test_the_servers_rate_scales_the_step():
    state = start_state({"w": np.zeros(2, np.float32)}, ["w"], Learning())
    terms = learning_terms(state, server_rate=0.5)
    moved = advance(state, terms, np.array([2, -4], np.float32), ["north"])
    assert moved.weights["w"].tolist() == [1, -2]
    assert state.weights["w"].tolist() == [0, 0]


def test_weights_that_are_not_shared_stay():
    state = start_state({"norm": np.ones(1, np.float32), "w": np.zeros(1, np.float32)}, ["w"], Learning())
    moved = advance(state, learning_terms(state), np.ones(1, np.float32), ["north"])
    assert moved.weights["norm"].tolist() == [1]


@pytest.mark.parametrize(
    "mean",
    [
        pytest.param(np.zeros(1, np.float32), id="too short"),
        pytest.param(np.zeros(4, np.float32), id="too long"),
        pytest.param(np.array([0, np.nan], np.float32), id="NaN"),
    ],
)
def test_refuses_a_mean_that_does_not_fit(mean):
    state = start_state({"w": np.zeros(2, np.float32)}, ["w"], Learning())
    with pytest.raises(UpdateError, match="a mean update of 2 finite numbers"):
        advance(state, learning_terms(state), mean, ["north"])


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam"])
def test_a_state_survives_bytes(strategy):
    state, _ = settled(strategy, rounds=3) if strategy != "fedadam" else settled(strategy, rounds=3, server_rate=0.1)
    data = state.to_bytes()
    found = ServerState.from_bytes(data)
    assert found.to_bytes() == data
    assert (found.round, found.names, dict(found.counted)) == (3, ("w",), {"north": 3, "south": 3})
    for one, two in ((found.control, state.control), (found.first, state.first), (found.weights, state.weights)):
        np.testing.assert_equal(one, two)


@pytest.mark.parametrize("cut", [0, 10, 100, -1])
def test_refuses_damaged_bytes(cut):
    data = settled("scaffold", rounds=1)[0].to_bytes()
    with pytest.raises(RoundRecordError, match="damaged"):
        ServerState.from_bytes(data[:cut])


def test_tells_a_site_which_of_its_updates_counted():
    state, _ = settled("scaffold", rounds=3, absent=lambda number: ("south",) if number == 3 else ())
    terms = learning_terms(state, strategy="scaffold", rounds=9)
    assert extras(state, terms, "north")["counted"] == b"3"
    assert extras(state, terms, "south")["counted"] == b"2"
    assert extras(state, terms, "west")["counted"] == b"0"
    assert np.frombuffer(extras(state, terms, "north")["control"], "<f4").tolist() == state.control.tolist()
    assert set(extras(state, replace(terms, learning=Learning()), "north")) == {"counted"}


def test_sites_count_by_their_cases_up_to_a_limit_or_alike():
    state = start_state({"w": np.zeros(1, np.float32)}, ["w"], Learning())
    terms = learning_terms(state)
    capped = replace(terms, aggregation=replace(terms.aggregation, most_cases=10))
    equal = replace(terms, aggregation=replace(terms.aggregation, weighting="equal"))
    assert [site_weight(each, 17) for each in (terms, capped, equal)] == [17, 10, 1]


def test_late_updates_count_for_less_the_later_they_are():
    assert [late_weight(6.0, late) for late in (0, 3, 8)] == [6.0, 3.0, 2.0]


@pytest.mark.parametrize(
    "network",
    [TINY_NETWORK, UNetConfig(filters=(4, 8)), SegResNetConfig(init_filters=8, blocks_down=(1, 1), blocks_up=(1,))],
    ids=["hybrid", "unet", "segresnet"],
)
def test_what_is_shared(network):
    everything = {name for name, _ in build_network(network).named_parameters()}
    assert set(shared_names(network, Learning())) == everything
    head = shared_names(network, Learning(trainable="head"))
    assert 0 < len(head) < len(everything)
    assert all(name.startswith(("head.", "model.2.", "conv_final.")) for name in head)
    norms = norm_names(network)
    assert norms
    assert set(shared_names(network, Learning(strategy="fedbn"))) == everything - norms
    assert trained_names(network, "all") == tuple(sorted(everything))


def test_frozen_circuits_are_not_shared():
    frozen = replace(TINY_NETWORK, head=SlotConfig("frozen", wires=2, layers=1))
    assert "head.slot.body.weights" in shared_names(TINY_NETWORK, Learning(trainable="head"))
    assert "head.slot.body.weights" not in shared_names(frozen, Learning(trainable="head"))


def test_every_layer_of_instance_norm_is_a_norm():
    network = HybridConfig(filters=(4, 8), neck=None, head=None)
    expected = {
        name for name, each in build_network(network).named_parameters() if each.dim() == 1 and "coarse" not in name
    }
    biases = {"mix.2.bias", "head.outward.bias"}
    assert norm_names(network) == expected - biases
    assert describe_network(network)["architecture"] == "hybrid"
    assert not any("down.0.0.0" in name for name in norm_names(UNetConfig()))


def test_refuses_to_share_nothing(monkeypatch):
    monkeypatch.setattr("federated.strategies.norm_names", lambda network: set(trained_names(network, "all")))
    with pytest.raises(NetworkConfigError, match="Expected weights that sites share"):
        shared_names(TINY_NETWORK, Learning(strategy="fedbn"))


def test_scaffolds_update_is_twice_as_long():
    layout = start_state({"w": np.zeros(3, np.float32)}, ["w"], Learning()).layout
    assert [update_size(layout, Learning(strategy=each)) for each in ("fedavg", "scaffold")] == [3, 6]
