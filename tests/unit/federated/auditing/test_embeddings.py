from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from federated.auditing.embeddings import case_embeddings
from federated.errors import EvaluationError
from federated.models import UNetConfig
from tests.fakes.audited import audited_network
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import tiny_example

CASES = [tiny_example(0), tiny_example(1), tiny_example(2)]


def deepest(network, example):
    """Features before the neck, layer by layer."""
    features = functional.pad(torch.from_numpy(example.model_input.channels)[None], padding(example), mode="replicate")
    for level in network.down:
        features = level(features)
    return features


def padding(example):
    return [pad for size in reversed(example.labels.shape) for pad in (0, -size % 4)]


def weighted(features, example):
    """Mean and deviation, voxel by voxel of the full grid: each feature stands for 4 x 4 x 4 of them."""
    head = np.pad(example.model_input.head, [(0, -size % 4) for size in example.labels.shape])
    full = features.repeat_interleave(4, 1).repeat_interleave(4, 2).repeat_interleave(4, 3).double().numpy()
    inside = full[:, head]
    return np.concatenate([inside.mean(1), inside.std(1)])


def test_before_and_after_the_neck_as_the_network_computes_them():
    model = audited_network()
    before = case_embeddings(model, CASES, place="before-neck")
    after = case_embeddings(model, CASES)
    slot = case_embeddings(model, CASES, place="neck-slot")
    assert before.names == tuple(case.name for case in CASES)
    assert before.values.shape == after.values.shape == (3, 16)
    assert slot.values.shape == (3, 4)
    assert before.values.dtype == np.float64
    with torch.inference_mode():
        for row, case in enumerate(CASES):
            features = deepest(model.network, case)
            np.testing.assert_allclose(before.values[row], weighted(features[0], case), atol=1e-5)
            np.testing.assert_allclose(after.values[row], weighted(model.network.neck(features)[0], case), atol=1e-5)
            answers = model.network.neck.slot(model.network.neck.inward(features).movedim(1, -1)).movedim(-1, 1)
            np.testing.assert_allclose(slot.values[row], weighted(answers[0], case), atol=1e-5)


def test_nothing_is_left_hooked():
    model = audited_network()
    case_embeddings(model, CASES[:1])
    assert not any(module._forward_hooks for module in model.network.modules())


def test_looks_at_the_first_cases_and_says_how_far_it_is():
    told = []
    found = case_embeddings(audited_network(), CASES, limit=2, progress=told.append)
    assert found.names == tuple(case.name for case in CASES[:2])
    assert told == [0.5, 1.0]


def test_refuses_what_has_no_neck():
    with pytest.raises(EvaluationError, match="hybrid network"):
        case_embeddings(audited_network(UNetConfig(filters=(4, 8))), CASES)
    with pytest.raises(EvaluationError, match="a slot in its neck"):
        case_embeddings(audited_network(replace(TINY_NETWORK, neck=None)), CASES, place="neck-slot")
    with pytest.raises(EvaluationError, match="Expected a place"):
        case_embeddings(audited_network(), CASES, place="elsewhere")
    with pytest.raises(EvaluationError, match="at least 1 cases"):
        case_embeddings(audited_network(), [])
