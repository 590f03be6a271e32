"""The fused backend against PennyLane, closed forms and itself: each of its ways, its gradients, torch.func, memory."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from torch.func import functional_call, grad, jacrev, vmap

from federated.errors import CircuitInputError
from federated.quantum import chunked, fused, heisenberg, narrow_cones, state_vectors
from federated.quantum.circuit import Circuit
from federated.quantum.cone_coefficients import coefficients
from federated.quantum.fused import FusedBackend
from federated.quantum.layer import QuantumLayer
from federated.quantum.light_cones import light_cones
from federated.quantum.pennylane_backend import PennyLaneBackend
from federated.quantum.ports import Backend

Tensor = torch.Tensor
PARTS = list(itertools.product(("rx", "ry", "rz"), ("rot", "ry", "rx"), ("cnot", "cz", "none")))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(circuit: Circuit, batch: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    angles = 4 * torch.randn(batch, circuit.wires, generator=generator, dtype=dtype)
    weights = 2 * torch.randn(circuit.weight_shape, generator=generator, dtype=dtype)
    return angles.requires_grad_(), weights.requires_grad_()


def answers(backend, circuit: Circuit, angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expectation values, and the gradients of a weighted sum of them by angles and weights."""
    values = backend.expectations(circuit, angles, weights)
    upstream = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)
    return values.detach(), *torch.autograd.grad(values, [angles, weights], upstream, materialize_grads=True)


def assert_agree(circuit: Circuit, batch: int, seed: int = 0) -> None:
    angles, weights = drawn(circuit, batch, seed)
    exact = answers(PennyLaneBackend(), circuit, angles, weights)
    for found, wanted in zip(answers(FusedBackend(), circuit, angles, weights), exact, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    single = [each.detach().float().requires_grad_() for each in (angles, weights)]
    exact = answers(PennyLaneBackend(), circuit, *single)
    values, *gradients = answers(FusedBackend(), circuit, *single)
    torch.testing.assert_close(values, exact[0], rtol=0, atol=1e-5)
    for found, wanted in zip(gradients, exact[1:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    wires = draw(st.integers(1, 5))
    observables = st.lists(st.sets(st.integers(0, wires - 1), min_size=1).map(sorted).map(tuple), max_size=3)
    return Circuit(
        wires,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        *draw(st.sampled_from(PARTS)),
        tuple(draw(observables)),
    )


@given(circuits(), st.sampled_from([1, 7, 40]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_agrees_with_pennylane_on_random_circuits(circuit: Circuit, batch: int, seed: int) -> None:
    assert_agree(circuit, batch, seed)


@pytest.mark.parametrize(("encoding", "rotation", "entangler"), PARTS, ids=map("-".join, PARTS))
def test_agrees_with_pennylane_for_every_encoding_rotation_and_entangler(encoding, rotation, entangler) -> None:
    assert_agree(Circuit(3, 2, 1, encoding, rotation, entangler, ((0,), (0, 2))), batch=33)


@pytest.mark.parametrize("entangler", ["cnot", "cz"])
@pytest.mark.parametrize("uploads", [1, 2])
def test_agrees_with_pennylane_on_eight_wires(uploads: int, entangler: str) -> None:
    assert_agree(Circuit(8, 2, uploads, entangler=entangler), batch=3)


@pytest.mark.parametrize(("encoding", "rotation", "entangler"), PARTS, ids=map("-".join, PARTS))
@pytest.mark.parametrize("wires", [1, 2, 4, 5])
def test_its_ways_agree(wires: int, encoding, rotation, entangler) -> None:
    circuit = Circuit(wires, 3, 1, encoding, rotation, entangler, ((0,), tuple(range(wires)), (wires - 1,)))
    angles, weights = (each.detach() for each in drawn(circuit, 9))
    wanted = state_vectors.evolve(circuit, angles.T, weights)
    unitaries = state_vectors.block_unitaries(circuit, weights)
    by_states = state_vectors.expectations(angles.T, unitaries, state_vectors.observed(circuit, angles))
    torch.testing.assert_close(by_states, wanted)
    shared, cones = coefficients(circuit, weights), torch.from_numpy(light_cones(circuit).wires)
    torch.testing.assert_close(heisenberg.expectations(angles.T, shared, cones), wanted)
    if narrow_cones.fits(angles, cones.shape[1]):
        torch.testing.assert_close(narrow_cones.expectations(angles.T, shared, cones), wanted)


@pytest.mark.parametrize(
    ("circuit", "batch", "way"),
    [
        pytest.param(Circuit(4), 100, "narrow_cones", id="large batch"),
        pytest.param(Circuit(10), 100, "narrow_cones", id="many wires"),
        pytest.param(Circuit(4, entangler="cnot"), 100, "narrow_cones", id="light cones of four wires"),
        pytest.param(Circuit(5, entangler="cnot"), 100, "heisenberg", id="light cones of five wires"),
        pytest.param(Circuit(8, entangler="cnot"), 100, "state_vectors", id="wide light cones"),
        pytest.param(Circuit(4, uploads=2), 100, "state_vectors", id="re-uploads"),
        pytest.param(Circuit(4), 4, "evolve", id="small batch"),
        pytest.param(Circuit(10, uploads=2), 100, "evolve", id="fewer samples than a unitary has columns"),
    ],
)
def test_chooses_a_way_by_circuit_and_batch(monkeypatch, circuit: Circuit, batch: int, way: str) -> None:
    taken = []
    expectations, evolve = chunked.expectations, state_vectors.evolve
    monkeypatch.setattr(
        chunked, "expectations", lambda way, *rest: taken.append(way.__name__) or expectations(way, *rest)
    )
    monkeypatch.setattr(state_vectors, "evolve", lambda *rest: taken.append("evolve") or evolve(*rest))
    FusedBackend().expectations(circuit, *drawn(circuit, batch))
    assert [name.rpartition(".")[2] for name in taken] == [way]


def test_two_layers_of_cz_see_three_wires() -> None:
    assert light_cones(Circuit(8)).wires.tolist()[3] == [2, 3, 4]
    assert light_cones(Circuit(8, layers=1, entangler="cz")).wires.tolist() == [[wire] for wire in range(8)]
    assert light_cones(Circuit(8, entangler="none", layers=5)).wires.tolist() == [[wire] for wire in range(8)]


@pytest.mark.parametrize("entangler", ["cnot", "cz", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_nothing_outside_a_light_cone_matters(layers: int, entangler: str) -> None:
    circuit = Circuit(6, layers, entangler=entangler)
    angles, weights = drawn(circuit, 1)
    cones = np.broadcast_to(light_cones(circuit).wires, (6, light_cones(circuit).wires.shape[1]))
    values = PennyLaneBackend().expectations(circuit, angles, weights)[0]
    for value, cone in zip(values, cones, strict=True):
        slope = torch.autograd.grad(value, angles, retain_graph=True)[0][0]
        assert slope[[wire for wire in range(6) if wire not in cone]].abs().sum() < 1e-12


@pytest.mark.parametrize("batch", [5, 50])
@pytest.mark.parametrize("wires", [1, 2, 4, 6])
@pytest.mark.parametrize("uploads", [1, 2, 3])
def test_without_weights_the_answer_is_a_cosine(wires: int, uploads: int, batch: int) -> None:
    # Zero weights leave CZ gates, which are diagonal and so commute with RZ but not with RX: one block of RX only,
    # and any number of blocks without entangler, add their angles up.
    entangler = "cz" if uploads == 1 else "none"
    circuit = Circuit(wires, 2, uploads, entangler=entangler)
    angles, weights = (each.detach() for each in drawn(circuit, batch))
    found = FusedBackend().expectations(circuit, angles, torch.zeros_like(weights))
    torch.testing.assert_close(found, (uploads * angles).cos())


@pytest.mark.parametrize("batch", [3, 70])
@pytest.mark.parametrize(("wires", "layers"), [(2, 1), (4, 3), (5, 4)])
def test_rot_and_cnot_are_pennylanes_strongly_entangling_layers(wires: int, layers: int, batch: int) -> None:
    @qml.qnode(qml.device("default.qubit", wires=wires), interface="torch")
    def template(angles: Tensor, weights: Tensor):
        qml.AngleEmbedding(angles, wires=range(wires))
        qml.StronglyEntanglingLayers(weights, wires=range(wires))
        return [qml.expval(qml.Z(wire)) for wire in range(wires)]

    circuit = Circuit(wires, layers, entangler="cnot")
    angles, weights = (each.detach() for each in drawn(circuit, batch))
    found = FusedBackend().expectations(circuit, angles, weights)
    torch.testing.assert_close(found, torch.stack(tuple(template(angles, weights)), -1))


@pytest.mark.parametrize("wires", [2, 4])
def test_a_ring_of_cz_does_not_undo_itself(wires: int) -> None:
    # On 2 wires every layer, on 4 wires the second (which reaches 2 wires) would pass each pair twice.
    joined, apart = (Circuit(wires, 3, entangler=entangler) for entangler in ("cz", "none"))
    angles, weights = (each.detach() for each in drawn(joined, 20))
    only_second = weights.clone()
    if wires == 4:
        only_second[1] = 0  # so that what the first entangler did could only be undone
    values = [FusedBackend().expectations(each, angles, only_second) for each in (joined, apart)]
    assert (values[0] - values[1]).abs().max() > 0.1


@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("entangler", ["cnot", "cz"])
def test_gradients_are_those_of_finite_differences(uploads: int, entangler: str, batch: int) -> None:
    circuit = Circuit(3, 2, uploads, entangler=entangler)
    assert torch.autograd.gradcheck(
        lambda angles, weights: FusedBackend().expectations(circuit, angles, weights),
        drawn(circuit, batch),
        fast_mode=True,
    )


@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("width", [64, 100_000])
def test_a_batch_in_chunks_gives_what_it_gives_at_once(monkeypatch, uploads: int, width: int) -> None:
    circuit = Circuit(4, 2, uploads, entangler="cnot")
    angles, weights = drawn(circuit, 1000)
    wanted = answers(FusedBackend(), circuit, angles, weights)
    monkeypatch.setattr(chunked, "CPU_ENTRIES", width)
    for found, one in zip(answers(FusedBackend(), circuit, angles, weights), wanted, strict=True):
        torch.testing.assert_close(found, one)


@pytest.mark.parametrize("uploads", [1, 2])
def test_keeps_no_more_than_its_input_for_backward(uploads: int) -> None:
    circuit = Circuit(4, 2, uploads)
    angles, weights = drawn(circuit, 50_000, dtype=torch.float32)
    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: kept.update({each.data_ptr(): each.numel() * each.element_size()}) or each, lambda each: each
    ):
        FusedBackend().expectations(circuit, angles, weights)
    assert sum(kept.values()) < 1.1 * angles.numel() * angles.element_size()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
def test_a_voxel_wise_head_of_128_cubed_stays_far_below_3_gb() -> None:
    code = """
import torch
from pathlib import Path
from federated.quantum.circuit import Circuit
from federated.quantum.layer import QuantumLayer
torch.set_num_threads(1)
features = torch.rand(1, 4, 128, 128, 128, requires_grad=True)
QuantumLayer(Circuit(4))(features.movedim(1, -1)).sum().backward()
print(*(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""
    root = Path(fused.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env=os.environ
    )
    assert int(run.stdout) < 1024**2


@pytest.mark.parametrize("samples", [None, 1, 30], ids=["a row", "one row", "many rows"])
@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("entangler", ["cnot", "cz"])
def test_per_sample_gradients_are_those_of_a_loop(uploads: int, entangler: str, samples: int | None) -> None:
    layer = QuantumLayer(Circuit(3, 2, uploads, entangler=entangler), uniform=True).double()
    cases = torch.randn(5, *([] if samples is None else [samples]), 3, dtype=torch.float64)

    def loss(parameters: dict[str, Tensor], case: Tensor) -> Tensor:
        return functional_call(layer, parameters, (case,)).square().sum()

    parameters = {name: each.detach() for name, each in layer.named_parameters()}
    by_weights, by_angles = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, cases)
    for place, case in enumerate(cases):
        case.requires_grad_()
        wanted = torch.autograd.grad(layer(case).square().sum(), [layer.weights, case])
        assert wanted[0].abs().max() > 0.01
        torch.testing.assert_close(by_weights["weights"][place], wanted[0])
        torch.testing.assert_close(by_angles[place], wanted[1])


@pytest.mark.filterwarnings("ignore:Full backward hook:FutureWarning", "ignore:.*backward hook:UserWarning")
@pytest.mark.parametrize("functorch", [False, True], ids=["default", "functorch"])
@pytest.mark.parametrize("samples", [None, 30], ids=["a row", "many rows"])
def test_opacus_sees_the_gradient_of_each_sample(samples: int | None, functorch: bool) -> None:
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 4), QuantumLayer(Circuit(4), uniform=True), torch.nn.Linear(4, 2)
    ).double()
    cases = torch.randn(3, *([] if samples is None else [samples]), 6, dtype=torch.float64)
    wanted = [torch.autograd.grad(net(case[None]).square().sum(), list(net.parameters())) for case in cases]
    watched = GradSampleModule(net, loss_reduction="sum", force_functorch=functorch)
    watched(cases).square().sum().backward()
    for place, parameter in enumerate(net.parameters()):
        torch.testing.assert_close(parameter.grad_sample, torch.stack([each[place] for each in wanted]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pennylanes_own_torch_layer_still_gives_zero_per_sample_gradients() -> None:
    # The reason for QuantumLayer: qml.qnn.TorchLayer keeps its weights where torch.func cannot reach them. When this
    # fails, PennyLane has mended it, and the comment in QuantumLayer can go.
    @qml.qnode(qml.device("default.qubit", wires=2), interface="torch")
    def node(inputs: Tensor, weights: Tensor):
        qml.AngleEmbedding(inputs, wires=range(2))
        qml.StronglyEntanglingLayers(weights, wires=range(2))
        return [qml.expval(qml.Z(wire)) for wire in range(2)]

    layer = qml.qnn.TorchLayer(node, {"weights": (2, 2, 3)})
    parameters = {name: each.detach() for name, each in layer.named_parameters()}
    cases = torch.randn(4, 1, 2)
    found = vmap(grad(lambda each, case: functional_call(layer, each, (case,)).sum()), (None, 0))(parameters, cases)
    assert torch.count_nonzero(found["weights"]) == 0


def test_second_derivatives_are_refused_for_large_batches_and_exact_for_small_ones() -> None:
    circuit = Circuit(2)
    angles, weights = drawn(circuit, 2)

    def hessian(backend: Backend) -> Tensor:
        values = partial(backend.expectations, circuit, angles.detach())
        return jacrev(jacrev(lambda one: values(one).sum()))(weights.detach())

    torch.testing.assert_close(hessian(FusedBackend()), hessian(PennyLaneBackend()))
    angles, weights = drawn(circuit, 50)
    values = FusedBackend().expectations(circuit, angles, weights).sum()
    slope = torch.autograd.grad(values, weights, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        slope.sum().backward()


@pytest.mark.filterwarnings("ignore")  # torch warns about itself while it compiles
@pytest.mark.parametrize("batch", [3, 100])
def test_a_compiled_model_gives_what_it_gives_uncompiled(batch: int) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), QuantumLayer(Circuit(4), uniform=True), torch.nn.Linear(4, 2))
    rows = torch.randn(batch, 5)
    wanted = torch.autograd.grad(net(rows).square().sum(), list(net.parameters()))
    compiled = torch.compile(net, backend="aot_eager")
    found = torch.autograd.grad(compiled(rows).square().sum(), list(net.parameters()))
    torch.compiler.reset()
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_layer_used_under_inference_first_can_be_trained_later() -> None:
    layer = QuantumLayer(Circuit(7, 3, entangler="cnot", observables=((1, 4),)))
    for batch in (3, 60):
        with torch.inference_mode():
            layer(torch.zeros(batch, 7))
        layer(torch.zeros(batch, 7)).sum().backward()


@pytest.mark.parametrize("batch", [3, 100])
def test_autocast_does_not_touch_its_precision(batch: int) -> None:
    circuit = Circuit(4, uploads=2)
    angles, weights = drawn(circuit, batch, dtype=torch.float32)
    wanted = FusedBackend().expectations(circuit, angles, weights)
    with torch.autocast("cpu", torch.bfloat16):
        found = FusedBackend().expectations(circuit, angles, weights)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("batch", [3, 100])
@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_angle_that_is_not_finite_spoils_its_own_row_only(bad: float, uploads: int, batch: int) -> None:
    circuit = Circuit(3, 2, uploads, entangler="cnot")
    angles, weights = (each.detach() for each in drawn(circuit, batch))
    angles[1, 0] = bad
    spoilt = FusedBackend().expectations(circuit, angles, weights).isnan().any(1)
    assert spoilt.nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize("uploads", [1, 2])
def test_an_empty_batch_has_an_empty_answer(uploads: int) -> None:
    circuit = Circuit(3, 2, uploads)
    angles, weights = drawn(circuit, 0)
    values = FusedBackend().expectations(circuit, angles, weights)
    assert values.shape == (0, 3)
    values.sum().backward()
    assert torch.count_nonzero(weights.grad) == 0


@pytest.mark.parametrize("backend", [FusedBackend(), PennyLaneBackend()], ids=["fused", "pennylane"])
@pytest.mark.parametrize(
    ("angles", "weights", "message"),
    [
        pytest.param(torch.zeros(4, 3), torch.zeros(2, 2, 3), r"\(batch, 2\), got \(4, 3\)", id="a wire too many"),
        pytest.param(torch.zeros(2), torch.zeros(2, 2, 3), r"\(batch, 2\), got \(2,\)", id="no batch"),
        pytest.param(torch.zeros(4, 2), torch.zeros(2, 2, 1), r"\(2, 2, 3\), got \(2, 2, 1\)", id="weights"),
        pytest.param(torch.zeros(4, 2).half(), torch.zeros(2, 2, 3).half(), "got torch.float16", id="half precision"),
        pytest.param(torch.zeros(4, 2).long(), torch.zeros(2, 2, 3), "got torch.int64", id="integers"),
        pytest.param(
            torch.zeros(4, 2).double(), torch.zeros(2, 2, 3), "float64 and torch.float32", id="two precisions"
        ),
        pytest.param(torch.zeros(4, 2, device="meta"), torch.zeros(2, 2, 3), "meta and cpu", id="two devices"),
    ],
)
def test_refuses_what_does_not_fit(backend, angles: Tensor, weights: Tensor, message: str) -> None:
    with pytest.raises(CircuitInputError, match=message):
        backend.expectations(Circuit(2), angles, weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("batch", [3, 5000])
@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("entangler", ["cnot", "cz", "none"])
def test_a_gpu_gives_what_the_processor_gives(entangler: str, uploads: int, batch: int) -> None:
    circuit = Circuit(4, 2, uploads, entangler=entangler)
    angles, weights = drawn(circuit, batch)
    wanted = answers(FusedBackend(), circuit, angles, weights)
    moved = [each.detach().cuda().requires_grad_() for each in (angles, weights)]
    values = FusedBackend().expectations(circuit, *moved)
    upstream = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape).cuda()
    found = values.detach(), *torch.autograd.grad(values, moved, upstream)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.cpu(), other)
