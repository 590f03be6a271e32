"""How a training computes: precision, threads, and the same bits for the same seed on one machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from federated.errors import TrainingSettingsError

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto": the GPU where there is one.

    Raises:
        TrainingSettingsError: There is no such device here.
    """
    if name not in {"auto", "cpu", "cuda"}:
        raise TrainingSettingsError(f"Expected the device auto, cpu or cuda, got {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingSettingsError("The device cuda was asked for, but torch finds no GPU here; use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(wanted: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """The precision of convolutions: for "auto" bfloat16 where the device computes it natively."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # The same call answers False where oneDNN would emulate it.
    is_native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-untyped-call]
    return "bfloat16" if is_native else "float32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def reproducible(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed torch, fix its threads and ask for kernels that add in a fixed order; all is as before afterwards.

    The bits depend on the number of threads, on the machine and on torch's version. Where a GPU has no such kernel,
    torch warns and takes the other one.
    """
    if device.type == "cuda":
        # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_threads, was_filling = torch.get_num_threads(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    was_on, was_warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    was_benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.set_num_threads(was_threads)
            torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
            torch.utils.deterministic.fill_uninitialized_memory = was_filling  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = was_benchmark


def torch_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of torch's own generators, which layers such as dropout draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_torch_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Go back to what torch_states gave."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
