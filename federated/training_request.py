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
        balance: Attributes whose groups are evened out by case weights; empty for none.
        balance_solver: Of federated.balancing.balance_settings; None for its usual one.
        max_gap: Bound on the gap between the groups of balance, by which thresholds are chosen; None for no bound.
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
    balance: tuple[str, ...] = ()
    balance_solver: str | None = None
    max_gap: float | None = None


def describe_request(request: TrainingRequest) -> dict[str, Any]:
    """A request as JSON."""
    return {**asdict(request), "held_out": list(request.held_out), "balance": list(request.balance)}


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
        "balance": (list,),
        "max_gap": (int, float),
    }
    # What was written down before cases could be weighed lacks these.
    document = {"balance": [], "balance_solver": None, "max_gap": None, **document}
    if set(document) != {each.name for each in fields(TrainingRequest)}:
        raise TrainingSettingsError(f"Not a training request: its fields are {', '.join(sorted(document))}.")
    for name, value in document.items():
        is_missing = value is None and name not in {"preset", "device", "held_out", "balance"}
        if not is_missing and (not isinstance(value, kinds.get(name, (str,))) or isinstance(value, bool)):
            raise TrainingSettingsError(f"Not a training request: {name} is {value!r}.")
    lists = {name: tuple(str(each) for each in document[name]) for name in ("held_out", "balance")}
    return TrainingRequest(**{**document, **lists})
