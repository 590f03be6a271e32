"""What a person asks to be trained: a preset, and what is wanted otherwise. Needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from federated.errors import TrainingSettingsError


@dataclass(frozen=True)
class TrainingRequest:
    """A preset's name and overrides; None, or empty, leaves what the preset has.

    Attributes:
        device: "auto", "cpu" or "cuda"; auto takes a GPU where there is one.
        data: Folder of labelled cases, instead of the preset's; where the preset has only synthetic cases, they are
            left out.
        held_out: Cases of data that are not trained on.
    """

    preset: str
    device: str = "auto"
    arm: str | None = None
    steps: int | None = None
    seed: int | None = None
    learning_rate: float | None = None
    batch: int | None = None
    threads: int | None = None
    precision: str | None = None
    data: str | None = None
    held_out: tuple[str, ...] = ()


def describe_request(request: TrainingRequest) -> dict[str, Any]:
    """A request as JSON."""
    return {**asdict(request), "held_out": list(request.held_out)}


def parse_request(document: Mapping[str, Any]) -> TrainingRequest:
    """The request that describe_request wrote.

    Raises:
        TrainingSettingsError: A field is missing, unknown or of the wrong kind.
    """
    kinds: dict[str, tuple[type, ...]] = {
        "steps": (int,),
        "seed": (int,),
        "batch": (int,),
        "threads": (int,),
        "learning_rate": (int, float),
        "held_out": (list,),
    }
    if set(document) != {each.name for each in fields(TrainingRequest)}:
        raise TrainingSettingsError(f"Not a training request: its fields are {', '.join(sorted(document))}.")
    for name, value in document.items():
        is_missing = value is None and name not in {"preset", "device", "held_out"}
        if not is_missing and (not isinstance(value, kinds.get(name, (str,))) or isinstance(value, bool)):
            raise TrainingSettingsError(f"Not a training request: {name} is {value!r}.")
    return TrainingRequest(**{**document, "held_out": tuple(str(name) for name in document["held_out"])})
