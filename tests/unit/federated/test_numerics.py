import pytest
import torch

from federated.errors import TrainingSettingsError
from federated.numerics import choose_device, choose_precision, reproducible

CPU = torch.device("cpu")


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in {"cpu", "cuda"}


def test_refuses_an_unknown_device():
    with pytest.raises(TrainingSettingsError, match="auto, cpu or cuda, got 'tpu'"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_refuses_a_gpu_that_is_not_there():
    with pytest.raises(TrainingSettingsError, match="finds no GPU here; use --device cpu"):
        choose_device("cuda")


def test_a_stated_precision_is_taken_and_auto_is_one_of_the_two():
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    assert choose_precision("auto", CPU) in {"float32", "bfloat16"}


def test_all_is_as_before_afterwards_even_after_a_fault():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    drawn = []

    def draw():
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        drawn.append(torch.rand(2))
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), reproducible(3, 2, CPU):
            draw()
    assert torch.equal(*drawn)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])
