from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.auditing.audited_model import chosen_cases, load_audited_model, to_audited_model
from federated.decision import Decision
from federated.errors import EvaluationError, ModelFileError
from federated.inference import MIRRORS, load_segmenter
from federated.model_file import save_model
from federated.quantum.layer import QuantumLayer
from tests.fakes.audited import IDENTITY, audited_network
from tests.fakes.tiny_model import build_tiny_model
from tests.fakes.tiny_training import tiny_example

DECISION = Decision(thresholds=(0.45, 0.5, 0.55), temperatures=(1.5, 0.8, 1.2), min_component_ml=0.1)


def ignore(_fraction):
    pass


def test_answers_as_the_running_model_does(tmp_path):
    save_model(tmp_path, replace(build_tiny_model(seed=3), decision=DECISION))
    audited, segmenter = load_audited_model(tmp_path), load_segmenter(tmp_path)
    assert audited.identity == segmenter.identity
    example = tiny_example(0)
    found = audited.probabilities(example.model_input, looks=MIRRORS)
    np.testing.assert_allclose(found, segmenter._probabilities(example.model_input, ignore), atol=1e-6)
    assert not found[:, ~example.model_input.head].any()


def test_one_look_can_be_differentiated_and_no_weight_learns():
    audited = audited_network()
    channels = torch.from_numpy(tiny_example(0).model_input.channels).requires_grad_()
    audited.logits(channels).sum().backward()
    assert channels.grad.abs().max() > 0
    assert all(each.grad is None for each in audited.network.parameters())


def test_the_slots_are_named():
    slots = dict(audited_network().slots())
    assert set(slots) == {"neck.slot", "head.slot"}
    assert all(isinstance(each.body, QuantumLayer) for each in slots.values())


def test_refuses_weights_that_do_not_fit():
    model = build_tiny_model()
    short = {name: each for name, each in model.weights.items() if not name.startswith("head")}
    with pytest.raises(ModelFileError, match="do not fit"):
        to_audited_model(replace(model, weights=short), IDENTITY)


def test_the_first_cases_are_chosen():
    assert chosen_cases([1, 2, 3], 2) == [1, 2]
    assert chosen_cases([1, 2, 3], None) == [1, 2, 3]
    with pytest.raises(EvaluationError, match="at least 3 cases to audit, got 2"):
        chosen_cases([1, 2, 3], 2, least=3)
