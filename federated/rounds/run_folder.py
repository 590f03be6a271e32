"""A run on the coordinator's disk, so that it goes on after a kill at any moment.

    round-00003.checkpoint   after a round: weights, the strategy's state, the history; the last two are kept
    unmasking-00004          between asking to open the sums of a round and its checkpoint

A file appears under its name only when it is whole and on the disk. A checkpoint is written when the new model is
there, with what is still open of the round, and again when the sites have evaluated it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from federated.errors import MessageError, RoundRecordError
from federated.rounds.events import Event
from federated.rounds.layout import write_weights
from federated.rounds.questions import model_digest
from federated.rounds.round_report import RoundFacts
from federated.rounds.wire import pack, unpack
from federated.strategies import ServerState

KEPT: Final = 2
_SUFFIX: Final = ".checkpoint"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after a round; after round 0, before the first.

    Attributes:
        network: As federated.models.describe_network gives it.
        history: The "round-finished" events of all finished rounds.
        unfinished: Of the round whose model is there but was not evaluated yet; else None.
    """

    run: str
    state: ServerState
    network: Mapping[str, Any]
    history: Sequence[Event] = ()
    unfinished: RoundFacts | None = None

    @property
    def model(self) -> str:
        """Digest of its weights."""
        return model_digest(write_weights(self.state.weights))


@dataclass(frozen=True, eq=False)
class Unmasking:
    """A round whose masked updates are there.

    Attributes:
        sums: By group, as MaskedSums.to_bytes gives them.
    """

    facts: RoundFacts
    sums: Mapping[str, bytes]


class RunFolder:
    """The files of one run, written by one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Use a folder of this run alone, made for its owner only."""
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; what was kept to get there goes.

        Raises:
            RoundRecordError: It cannot be written.
        """
        number = checkpoint.state.round
        pieces = {
            "state": checkpoint.state.to_bytes(),
            "network": json.dumps(dict(checkpoint.network)).encode(),
            "history": json.dumps(list(checkpoint.history)).encode(),
            "unfinished": b"" if checkpoint.unfinished is None else checkpoint.unfinished.to_bytes(),
        }
        self._write(f"round-{number:05d}{_SUFFIX}", pack(_header(checkpoint.run, pieces), pieces))
        for path in [*self._checkpoints()[KEPT:], *self._folder.glob("unmasking-*")]:
            path.unlink(missing_ok=True)

    def latest(self, run: str) -> Checkpoint | None:
        """The newest checkpoint that is whole; None when there is none at all.

        Raises:
            RoundRecordError: It is of another run, or each one is damaged.
        """
        paths = self._checkpoints()
        for path in paths:
            try:
                found = _read_checkpoint(path, run)
            except RoundRecordError as fault:
                _log.warning("%s The one before it is tried.", fault)
                continue
            return found
        if paths:
            raise RoundRecordError(
                f"{self._folder}: no checkpoint of run {run} can be read; start a new run from a released model, or "
                "put the folder back from a backup."
            )
        return None

    def keep(self, unmasking: Unmasking, run: str) -> None:
        """Keep the masked sums of a round, before anyone is asked to open them.

        Raises:
            RoundRecordError: They cannot be written.
        """
        pieces = {"facts": unmasking.facts.to_bytes(), **{f"sum/{name}": data for name, data in unmasking.sums.items()}}
        self._write(_unmasking_name(unmasking.facts.terms.round), pack(_header(run, pieces), pieces))

    def unmasking(self, run: str, number: int) -> Unmasking | None:
        """The masked sums of a round, where they were kept.

        Raises:
            RoundRecordError: They are damaged, or of another run.
        """
        path = self._folder / _unmasking_name(number)
        if not path.exists():
            return None
        pieces = _read(path, run)
        sums = {name.removeprefix("sum/"): data for name, data in pieces.items() if name.startswith("sum/")}
        return Unmasking(RoundFacts.from_bytes(pieces["facts"]), sums)

    def _checkpoints(self) -> list[Path]:
        """The newest first."""
        return sorted(self._folder.glob(f"round-*{_SUFFIX}"), reverse=True)

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        beside = path.with_name(f".{name}.part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as fault:
            raise RoundRecordError(f"{path}: cannot be written ({fault.strerror}); make room there.") from fault


def _read_checkpoint(path: Path, run: str) -> Checkpoint:
    pieces = _read(path, run)
    try:
        network, history = json.loads(pieces["network"]), json.loads(pieces["history"])
        unfinished = RoundFacts.from_bytes(pieces["unfinished"]) if pieces["unfinished"] else None
        return Checkpoint(run, ServerState.from_bytes(pieces["state"]), network, history, unfinished)
    except (KeyError, ValueError) as fault:
        raise RoundRecordError(f"{path}: is damaged ({type(fault).__name__}).") from fault


def _read(path: Path, run: str) -> dict[str, bytes]:
    try:
        data = path.read_bytes()
        header, found = unpack(data, limit=len(data))
    except (OSError, MessageError) as fault:
        raise RoundRecordError(f"{path}: is damaged ({type(fault).__name__}).") from fault
    pieces = {name: bytes(piece) for name, piece in found.items()}
    if header != _header(run, pieces):
        raise RoundRecordError(f"{path}: expected a whole file of run {run}, got another run's, or a changed one.")
    return pieces


def _header(run: str, pieces: Mapping[str, bytes]) -> dict[str, Any]:
    return {"run": run, "digests": {name: hashlib.sha256(piece).hexdigest() for name, piece in pieces.items()}}


def _unmasking_name(number: int) -> str:
    return f"unmasking-{number:05d}"
