"""Expectations of a large batch, chunk by chunk, in memory that does not grow with it.

Only the inputs are kept for backward, which computes the rest again: both directions work inside a core's cache, which
is also faster than keeping what no cache holds.
"""

import inspect
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import torch

Tensor = torch.Tensor

CPU_ENTRIES = 1 << 20
"""Numbers that a thread works on at once: the fastest power of two, by a little, on a core with 1 MB of cache."""
DEVICE_ENTRIES = 1 << 26
"""The same for an accelerator, which needs many to be busy."""


class Way(Protocol):
    """A way to compute expectations from what the batch shares; a module."""

    def expectations(self, angles: Tensor, shared: Tensor, constants: Tensor, /) -> Tensor:
        """(observables, batch) from angles (wires, batch)."""

    def gradients(
        self, upstream: Tensor, angles: Tensor, shared: Tensor, constants: Tensor, /
    ) -> tuple[Tensor, Tensor]:
        """Gradients of sum(upstream * expectations) by angles and by what is shared."""


def chunks(angles: Tensor, rows: int) -> list[slice]:
    """Split a batch, angles (wires, batch), so that rows of it are about as many numbers as are worked on at once."""
    entries = _cpu_entries() if angles.device.type == "cpu" else DEVICE_ENTRIES
    width = max(256, entries // rows)
    return [slice(start, start + width) for start in range(0, angles.shape[1], width)]


def _cpu_entries() -> int:
    return CPU_ENTRIES * min(4, torch.get_num_threads())


class _Kept(threading.local):
    def __init__(self) -> None:
        self.flat: dict[torch.dtype, Tensor] = {}


class Scratch:
    """Memory for what a chunk needs in between; a thread keeps a few MB of it from call to call.

    The system's allocator would return blocks of this size each time, and to be given them again, page by page, takes
    longer than the arithmetic in them.
    """

    _kept = _Kept()

    def __init__(self, like: Tensor) -> None:
        """Start with all of it, in the precision and on the device of another tensor."""
        self._like, self._used, self._flat = like, 0, like.new_empty(0)
        if like.device.type == "cpu":
            kept = self._kept.flat
            size = 2 * _cpu_entries()
            if like.dtype not in kept or len(kept[like.dtype]) < size:
                with torch.inference_mode(False):  # else it could not be written to in a training later
                    kept[like.dtype] = torch.empty(size, dtype=like.dtype)
            self._flat = kept[like.dtype]

    def __call__(self, *shape: int) -> Tensor:
        """A piece of it, with whatever numbers are in it; new memory when it is used up."""
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > len(self._flat):
            return self._like.new_empty(shape)
        return self._flat[start : self._used].view(shape)


def expectations(way: Way, angles: Tensor, shared: Tensor, constants: Tensor) -> Tensor:
    """A way's expectations; differentiable once by angles and by what is shared, also under torch.func."""
    answer: Tensor = _Expectations.apply(way, angles, shared, constants)  # type: ignore[no-untyped-call]
    return answer


def gradients(way: Way, upstream: Tensor, angles: Tensor, shared: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
    """Their gradients, as a function that torch.func can run over; not differentiable again."""
    answer: tuple[Tensor, Tensor] = _Gradients.apply(  # type: ignore[no-untyped-call]
        way, upstream, angles, shared, constants
    )
    return answer


def with_signature(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a function's signature with it: torch asks for a forward's at every call, and working it out takes time."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


class _Expectations(torch.autograd.Function):
    @staticmethod
    @with_signature
    def forward(way: Way, angles: Tensor, shared: Tensor, constants: Tensor) -> Tensor:
        return way.expectations(angles, shared, constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.way, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor, Tensor, None]:
        return None, *gradients(ctx.way, upstream, *ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        # Each case by itself: a batch that comes here is large enough to be worth its own pass.
        return torch.stack([expectations(*case) for case in cases_of(info, in_dims, inputs)]), 0


class _Gradients(torch.autograd.Function):
    @staticmethod
    @with_signature
    def forward(way: Way, upstream: Tensor, angles: Tensor, shared: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
        return way.gradients(upstream, angles, shared, constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> NoReturn:
        raise NotImplementedError("FusedBackend has first derivatives only; PennyLaneBackend has second ones.")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        by_angles, by_shared = zip(*(gradients(*case) for case in cases_of(info, in_dims, inputs)), strict=True)
        return (torch.stack(by_angles), torch.stack(by_shared)), (0, 0)


def cases_of(info: Any, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The inputs of each case that torch.func's vmap brings."""
    for place in range(info.batch_size):
        yield tuple(
            each if axis is None else each.select(axis, place) for each, axis in zip(inputs, in_dims, strict=True)
        )
