"""A reading by seven rules, beside the network: what the outlined tumour's make-up speaks for, in words.

A zero-order Sugeno system. Each quantity has two terms whose degrees add up to 1, a rule's degree is the product of its
terms' degrees, and the degrees of all rules add up to 1; the score is the rules' values, weighted by their degrees. So
the score grows, or stays, with enhancement, with enclosed necrosis and with oedema, whatever the others are; and a
larger volume moves it away from 0.5, never towards it. The terms' bounds and the rules' values were written down, not
fitted: ring enhancement around necrosis is the hallmark of glioblastoma on MRI, and most diffuse gliomas of low grade
take up no contrast.

Research use only. It reads the outlines that a model, or a reader, drew; it is no grading and no diagnosis, which need
tissue: some low-grade tumours enhance, and some high-grade ones do not.

References:
    Takagi and Sugeno (1985), doi:10.1109/TSMC.1985.6313399; Louis et al. (2021), doi:10.1093/neuonc/noab106;
    Scott et al. (2002), doi:10.1212/01.wnl.0000032502.80434.b5 (how often gliomas that do not enhance are malignant).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.decision import CORE, ENHANCING, OEDEMA

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

RESEARCH_USE: Final = "Research use only: a reading of outlines by rules, no grading and no diagnosis."
LEAST_CORE_ML: Final = 0.1
"""Ratios to a core below it are taken to this."""
HIGH_FROM: Final = 0.5
"""A score from here on speaks for high grade where only two answers are allowed."""


@dataclass(frozen=True)
class TumourFeatures:
    """What the rules look at.

    Attributes:
        volume_ml: Of the whole tumour.
        enhancing_ratio: Enhancing tumour over tumour core, 0 to 1.
        necrosis_share: Share of the tumour core that takes up no contrast and lies enclosed by what does, 0 to 1.
        oedema_ratio: Oedema over tumour core.
    """

    volume_ml: float
    enhancing_ratio: float
    necrosis_share: float
    oedema_ratio: float


@dataclass(frozen=True)
class FiredRule:
    """A rule that had a say.

    Attributes:
        text: In plain words.
        degree: Of its conditions, 0 to 1; all rules' degrees add up to 1.
        value: What it speaks for: 0 low grade, 1 high grade.
    """

    text: str
    degree: float
    value: float


@dataclass(frozen=True)
class FuzzyReading:
    """What the rules say.

    Attributes:
        score: 0 (features of low grade) to 1 (of high grade).
        memberships: By conclusion, 0 to 1; they add up to 1.
        conclusion: The one of highest degree.
        terms: By condition, its degree.
        fired: The rules with a degree above 0, strongest first.
    """

    features: TumourFeatures
    score: float
    memberships: Mapping[str, float]
    conclusion: str
    terms: Mapping[str, float]
    fired: tuple[FiredRule, ...]

    @property
    def speaks_for_high_grade(self) -> bool:
        """The reading where only two answers are allowed."""
        return self.score >= HIGH_FROM


LOW, UNCLEAR, HIGH = "low-grade features likely", "indeterminate", "high-grade features likely"


@dataclass(frozen=True)
class _Quantity:
    """What a rule's condition looks at: its second term begins at `low` and is full from `high` on."""

    get: Callable[[TumourFeatures], float]
    low: float
    high: float
    first: str
    second: str


_TERMS: Final[Mapping[str, _Quantity]] = {
    "volume": _Quantity(
        lambda found: found.volume_ml, 0.5, 2.0, "the tumour is tiny", "the tumour is large enough to read"
    ),
    "enhancement": _Quantity(
        lambda found: found.enhancing_ratio, 0.05, 0.20, "little of its core enhances", "its core enhances"
    ),
    "necrosis": _Quantity(
        lambda found: found.necrosis_share,
        0.02,
        0.10,
        "no necrosis is enclosed by enhancement",
        "necrosis is enclosed by enhancement",
    ),
    "oedema": _Quantity(lambda found: found.oedema_ratio, 0.5, 1.5, "there is little oedema", "there is much oedema"),
}
_RULES: Final[tuple[tuple[Mapping[str, bool], float], ...]] = (
    # Conditions: True for the second term. Together they cover every case once.
    ({"volume": False}, 0.5),
    ({"volume": True, "enhancement": False, "necrosis": False, "oedema": False}, 0.05),
    ({"volume": True, "enhancement": False, "necrosis": False, "oedema": True}, 0.25),
    ({"volume": True, "enhancement": False, "necrosis": True}, 0.5),
    ({"volume": True, "enhancement": True, "necrosis": False, "oedema": False}, 0.65),
    ({"volume": True, "enhancement": True, "necrosis": False, "oedema": True}, 0.8),
    ({"volume": True, "enhancement": True, "necrosis": True}, 0.95),
)
RULES: Final = len(_RULES)
_SOFT: Final = ((0.2, 0.4), (0.6, 0.8))
"""Between these scores one conclusion passes into the next."""


def measure_features(labels: Labels, voxel_ml: float) -> TumourFeatures | None:
    """Take the quantities from outlines; None where nothing is outlined.

    Args:
        labels: (slices, rows, columns): 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        voxel_ml: Volume of one voxel.
    """
    if not labels.any():
        return None
    enhancing, rest = labels == ENHANCING, labels == CORE
    core_ml = float((enhancing | rest).sum() * voxel_ml)
    enclosed = rest & _enclosed(enhancing)
    divisor = max(core_ml, LEAST_CORE_ML)
    return TumourFeatures(
        volume_ml=float((labels > 0).sum() * voxel_ml),
        enhancing_ratio=float(enhancing.sum() * voxel_ml / divisor),
        necrosis_share=float(enclosed.sum() * voxel_ml / divisor),
        oedema_ratio=float((labels == OEDEMA).sum() * voxel_ml / divisor),
    )


def read_features(features: TumourFeatures) -> FuzzyReading:
    """Let the rules speak; the same quantities give the same reading.

    Raises:
        ValueError: A quantity is negative or not finite.
    """
    for name, value in vars(features).items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name}: expected a number from 0, got {value!r}.")
    terms: dict[str, float] = {}
    for quantity in _TERMS.values():
        full = _ramp(quantity.get(features), quantity.low, quantity.high)
        terms |= {quantity.first: 1 - full, quantity.second: full}
    fired = [_fire(conditions, value, terms) for conditions, value in _RULES]
    score = sum(rule.degree * rule.value for rule in fired)
    memberships = _conclude(score)
    return FuzzyReading(
        features=features,
        score=score,
        memberships=memberships,
        conclusion=max(memberships, key=lambda name: memberships[name]),
        terms=terms,
        fired=tuple(sorted((rule for rule in fired if rule.degree > 0), key=lambda rule: -rule.degree)),
    )


def _fire(conditions: Mapping[str, bool], value: float, terms: Mapping[str, float]) -> FiredRule:
    words = [_TERMS[name].second if second else _TERMS[name].first for name, second in conditions.items()]
    conclusions = _conclude(value)
    conclusion = max(conclusions, key=lambda name: conclusions[name])
    text = f"If {' and '.join(words)}, then {conclusion} ({value:g})."
    return FiredRule(text, math.prod(terms[word] for word in words), value)


def _conclude(score: float) -> dict[str, float]:
    above_low, above_unclear = (_ramp(score, low, high) for low, high in _SOFT)
    return {LOW: 1 - above_low, UNCLEAR: above_low - above_unclear, HIGH: above_unclear}


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to low, 1 from high on, straight between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _enclosed(enhancing: Mask) -> Mask:
    """What a rim goes round, seen in two of three directions at least: rims have gaps."""
    votes = np.zeros(enhancing.shape, np.uint8)
    window = ndimage.find_objects(enhancing.astype(np.uint8))
    if not window:
        return votes > 0
    box = window[0]
    rim = np.pad(enhancing[box], 1)
    for axis in range(3):
        filled = np.stack([_filled(plane) for plane in np.moveaxis(rim, axis, 0)])
        votes[box] += np.moveaxis(filled, 0, axis)[1:-1, 1:-1, 1:-1]
    inside: Mask = votes >= 2
    return inside & ~enhancing


def _filled(plane: Mask) -> Mask:
    """A plane's rim, closed over gaps of two voxels, with what it encloses."""
    if not plane.any():
        return plane
    closed = ndimage.binary_closing(np.pad(plane, 2), iterations=2)
    filled: Mask = ndimage.binary_fill_holes(closed)[2:-2, 2:-2]
    return filled
