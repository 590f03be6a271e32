"""A training's state on disk, so that it goes on after a kill as if nothing had happened.

Each checkpoint is one safetensors file; what is no tensor stands as JSON in its header, with a digest over everything.
A file appears under its name only when it is whole and on the disk; the last two are kept.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from federated.errors import CheckpointError

KEPT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state after a step.

    Attributes:
        run: Digest of what is trained; only the same run goes on from it.
        tensors: By name.
        record: Everything else, as JSON holds it.
    """

    run: str
    step: int
    tensors: Mapping[str, torch.Tensor]
    record: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one run, written by one process at a time."""

    def __init__(self, folder: Path, interval_s: float = 30.0) -> None:
        """Use a folder, which is made when the first checkpoint is written.

        Args:
            folder: Of this run alone.
            interval_s: Time between two checkpoints.
        """
        self._folder = folder
        self._interval_s = interval_s
        self._next = time.monotonic() + interval_s

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed."""
        return time.monotonic() >= self._next

    @property
    def is_empty(self) -> bool:
        """Whether there is none, damaged ones included."""
        return not self._paths()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and drop the oldest.

        Raises:
            CheckpointError: It cannot be written.
        """
        text = json.dumps({"run": checkpoint.run, "step": checkpoint.step, "record": checkpoint.record})
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        content = save(tensors, metadata={"state": text, "sha256": _digest(text, tensors)})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / f"step-{checkpoint.step:08d}.safetensors", content)
            for path in self._paths()[KEPT:]:
                path.unlink(missing_ok=True)
        except OSError as fault:
            raise CheckpointError(f"{self._folder}: cannot be written ({fault.strerror}); make room there.") from fault
        self._next = time.monotonic() + self._interval_s

    def latest(self, run: str) -> Checkpoint | None:
        """The newest checkpoint that is whole; None when there is none at all.

        Raises:
            CheckpointError: It is of another run, or each one is damaged.
        """
        paths = self._paths()
        for path in paths:
            try:
                found = _read(path)
            except CheckpointError as fault:
                _log.warning("%s The one before it is tried.", fault)
                continue
            if found.run != run:
                raise CheckpointError(
                    f"{path}: expected a checkpoint of this run ({run[:12]}), got one of run {found.run[:12]}, with "
                    "other settings or data; repeat the command that began it, or choose another folder."
                )
            return found
        if paths:
            raise CheckpointError(f"{self._folder}: every checkpoint is damaged; remove the folder to start again.")
        return None

    def _paths(self) -> list[Path]:
        """The newest first."""
        return sorted(self._folder.glob("step-*.safetensors"), reverse=True)


def _read(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        state = json.loads(metadata["state"])
        if metadata["sha256"] != _digest(metadata["state"], tensors):
            raise CheckpointError(f"{path}: its content is not what its digest says.")
        return Checkpoint(str(state["run"]), int(state["step"]), tensors, dict(state["record"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise CheckpointError(f"{path}: is damaged ({type(fault).__name__}).") from fault


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write and sync beside the place, then rename: the name never stands for half a file."""
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
