"""What sites tell of themselves, checked before anyone reads it: numbers of a whole site, all finite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from federated.energy import ENERGY_SOURCES
from federated.errors import UpdateError
from federated.rounds.messages import Reply

WHOLE_TUMOUR: Final = "whole-tumour"
_MOST_CASES: Final = 10_000_000
_MOST_SECONDS: Final = 30 * 86_400.0
_MOST_NAMES: Final = 200
_DEEPEST: Final = 4


@dataclass(frozen=True)
class Trained:
    """What came with an update.

    Attributes:
        examples: Cases it was trained on, at least 1.
        epsilon: What it cost each patient.
        loss: Mean over the site's cases; None where it is not told.
        seconds: Of the site's own work.
        joules: None where they are not known.
        energy_source: How joules are known; see federated.energy.
    """

    examples: int
    epsilon: float = 0.0
    loss: float | None = None
    seconds: float | None = None
    joules: float | None = None
    energy_source: str | None = None


@dataclass(frozen=True)
class Evaluated:
    """What a site says of the new model.

    Attributes:
        dice: By region, mean over its held-out cases; None where there are none.
        groups: By subgroup, as the site's rules let them out.
        cases: Held out.
        other: Everything else, e.g. "auc" and "personal".
    """

    dice: Mapping[str, float | None] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    cases: int = 0
    seconds: float | None = None
    joules: float | None = None
    energy_source: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)


def read_trained(site: str, reply: Reply) -> Trained:
    """The figures of a TRAIN answer.

    Raises:
        UpdateError: They cannot be right; the message names the site.
    """
    header = reply.header
    figures = _mapping(site, header, "figures")
    examples = header.get("examples")
    if type(examples) is not int or not 1 <= examples <= _MOST_CASES:
        raise UpdateError(f"{site}: expected the number of its cases, got {examples!r:.40}.")
    return Trained(
        examples,
        _number(site, header, "epsilon", 0.0, math.inf) or 0.0,
        _number(site, figures, "loss", -math.inf, math.inf),
        _number(site, figures, "seconds", 0.0, _MOST_SECONDS),
        _number(site, figures, "joules", 0.0, math.inf),
        _energy_source(site, figures),
    )


def read_evaluated(site: str, reply: Reply) -> Evaluated:
    """The figures of an EVALUATE answer.

    Raises:
        UpdateError: They cannot be right; the message names the site.
    """
    figures = dict(_mapping(site, reply.header, "figures"))
    dice = _mapping(site, figures, "dice")
    cases = figures.get("cases") or 0
    if type(cases) is not int or not 0 <= cases <= _MOST_CASES:
        raise UpdateError(f"{site}: expected the number of its held-out cases, got {cases!r:.40}.")
    source = _energy_source(site, figures)
    _check_tree(site, {**figures, "energy_source": None}, _DEEPEST)
    named = {"dice", "groups", "cases", "seconds", "joules", "energy_source"}
    return Evaluated(
        {name: _number(site, dice, name, 0.0, 1.0) for name in dice},
        _mapping(site, figures, "groups"),
        cases,
        _number(site, figures, "seconds", 0.0, _MOST_SECONDS),
        _number(site, figures, "joules", 0.0, math.inf),
        source,
        {name: value for name, value in figures.items() if name not in named},
    )


def _mapping(site: str, figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = figures.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > _MOST_NAMES:
        raise UpdateError(f"{site}: expected {name} as an object of at most {_MOST_NAMES} names, got something else.")
    return found


def _number(site: str, figures: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    found = figures.get(name)
    if found is None:
        return None
    if type(found) not in {int, float} or not low <= found <= high or not math.isfinite(found):
        raise UpdateError(f"{site}: expected {name[:40]} as a number from {low:g} to {high:g}, got {found!r:.40}.")
    return float(found)


def _energy_source(site: str, figures: Mapping[str, Any]) -> str | None:
    found = figures.get("energy_source")
    if found is not None and found not in ENERGY_SOURCES:
        raise UpdateError(f"{site}: expected energy_source as one of {', '.join(ENERGY_SOURCES)}, got another.")
    return found


def _check_tree(site: str, value: Any, depth: int) -> None:
    """Other figures are shown as they come, so they are only names and finite numbers, and few of them."""
    if isinstance(value, dict) and depth and len(value) <= _MOST_NAMES:
        for name, item in value.items():
            if not name.isprintable() or len(name) > _MOST_NAMES:
                raise UpdateError(f"{site}: expected printable names of its figures, got others.")
            _check_tree(site, item, depth - 1)
    elif value is not None and (type(value) not in {int, float, bool} or not math.isfinite(value)):
        raise UpdateError(f"{site}: expected figures as finite numbers, got {type(value).__name__}.")
