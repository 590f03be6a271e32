"""What a site keeps of its own from round to round of a run: personal weights, and SCAFFOLD's control variate.

One file a round. A round that is done again reads the same earlier file and writes the same one, so nothing depends on
how often a worker was killed.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from federated.errors import RoundRecordError, UpdateError
from federated.rounds.layout import Vector, Weights, read_weights, write_weights

_PERSONAL, _CONTROL = "personal/", "control"


@dataclass(frozen=True, eq=False)
class SiteState:
    """A site's own, after a round.

    Attributes:
        personal: Weights that stay at the site: FedBN's norms, Ditto's whole model; empty before the first round.
        control: SCAFFOLD's control variate of the site, (size,); empty for other strategies.
    """

    personal: Weights = field(default_factory=dict)
    control: Vector = field(default_factory=lambda: np.zeros(0, np.float32))


class SiteFolder:
    """The states of one run, one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made, readable by its owner only, when the first state is kept."""
        self._folder = folder

    def before(self, round_number: int) -> SiteState:
        """The newest state of an earlier round; an empty one where there is none.

        Raises:
            RoundRecordError: It is damaged.
        """
        earlier = [number for number in self._rounds() if number < round_number]
        return self.after(max(earlier)) if earlier else SiteState()

    def after(self, round_number: int) -> SiteState:
        """The state of one round; an empty one where the site has none.

        Raises:
            RoundRecordError: It is damaged.
        """
        path = self._path(round_number)
        if not path.exists():
            return SiteState()
        try:
            found = read_weights(path.read_bytes())
            control = found.pop(_CONTROL)
        except (OSError, UpdateError, KeyError) as fault:
            raise RoundRecordError(
                f"{path.name}: the site's own state of round {round_number} is damaged; leave the run, or remove it to "
                "start the personal part afresh."
            ) from fault
        return SiteState({name.removeprefix(_PERSONAL): tensor for name, tensor in found.items()}, control)

    def keep(self, round_number: int, state: SiteState, *, counted: int) -> None:
        """Write the state of a round, and drop those that no round will read.

        Args:
            round_number: That was just done.
            state: After it.
            counted: The last round whose mean holds this site's update.

        Raises:
            RoundRecordError: It cannot be written.
        """
        tensors = {f"{_PERSONAL}{name}": tensor for name, tensor in state.personal.items()}
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(self._path(round_number), write_weights({**tensors, _CONTROL: state.control}))
            kept = {counted, round_number, max((each for each in self._rounds() if each < round_number), default=0)}
            for number in self._rounds():
                if number not in kept and number < round_number:
                    self._path(number).unlink(missing_ok=True)
        except OSError as fault:
            raise RoundRecordError(f"The site's own state cannot be written ({fault.strerror}); make room.") from fault

    def _rounds(self) -> list[int]:
        return [int(path.stem.removeprefix("round-")) for path in self._folder.glob("round-*.safetensors")]

    def _path(self, round_number: int) -> Path:
        return self._folder / f"round-{round_number:06d}.safetensors"


def _write(path: Path, content: bytes) -> None:
    """Write and sync beside the place, then rename: the name never stands for half a file."""
    beside = path.with_suffix(".part")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
