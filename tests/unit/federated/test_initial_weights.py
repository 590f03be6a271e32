import numpy as np
import pytest
import torch

from federated.errors import ModelFileError
from federated.initial_weights import fresh_weights, released_weights
from federated.model_file import save_model
from federated.rounds.layout import write_weights
from tests.fakes.tiny_model import TINY_NETWORK, build_tiny_model


def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_alone():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first, second = (write_weights(fresh_weights(TINY_NETWORK, 4)) for _ in range(2))
    assert first == second
    assert first != write_weights(fresh_weights(TINY_NETWORK, 5))
    assert torch.equal(torch.rand(2), expected)


def test_a_released_model_gives_its_network_and_weights(tmp_path):
    model = build_tiny_model()
    save_model(tmp_path, model)
    network, weights = released_weights(tmp_path)
    assert network == TINY_NETWORK
    for name, tensor in model.weights.items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], tensor.half().float().numpy())


def test_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelFileError):
        released_weights(tmp_path)
