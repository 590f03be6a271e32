"""Ten hospitals and two unseen ones, each with its own scanner, gliomas, patients and habits of drawing.

    phantom_cohort(
        seed: int, *, sites: Sequence[Site] = SITES, spacing_mm: float = 2.0, split: Split | str = "training",
        skull: bool = False,
    ) -> tuple[PhantomCase, ...]

Splits: "training" (97 cases at ten sites), "validation" (2 a seen site: 20), "test" (4 a seen site: 40), "unseen"
(two sites that never train, 10 each). A PhantomCase is a federated.cases.CaseSource that holds no voxels: `read()`
builds its `Case` when asked, the same one each time; `phantom()` gives all four contrasts, the true labels and the true
brain. At 4 mm a case takes 0.1 s, at 2 mm 0.5 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.cases import Case
from federated.demographics import ETHNICITY_SHARES, Demographics, Population, draw_demographics
from federated.phantom import Phantom, build_phantom
from federated.phantom_fields import FieldOfView
from federated.phantom_scanner import Scanner
from federated.phantom_tumour import OEDEMA, TumourHabit

VALIDATION_CASES, TEST_CASES = 2, 4
"""At each seen site."""


class Split(StrEnum):
    """What a case is for."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"
    UNSEEN = "unseen"


@dataclass(frozen=True)
class Site:
    """One hospital.

    Attributes:
        cases: That it trains on; of an unseen site, that it is tested on.
        missing: By contrast, the chance that a case lacks it; T1ce is always there, being the reference.
        drawing_mm: By how much its readers draw the whole tumour too wide, or too narrow if negative; in training cases
            only, so that every site is tested against the truth.
        seen: Whether it takes part in training.
    """

    name: str
    cases: int
    scanner: Scanner = field(default_factory=Scanner)
    habit: TumourHabit = field(default_factory=TumourHabit)
    population: Population = field(default_factory=Population)
    missing: Mapping[str, float] = field(default_factory=dict)
    drawing_mm: float = 0.0
    seen: bool = True


def _shares(black: float, asian: float, other: float) -> Mapping[str, float]:
    shares = dict(zip(tuple(ETHNICITY_SHARES)[1:], (black, asian, other), strict=True))
    return {"white": 1 - sum(shares.values())} | shares


# Sizes are skewed as in FeTS 2022 (23 sites: 511, 382, 47, 35, 35, 34, 33, 30, 22, 15, ... 4 cases), but flatter, so
# that every site has enough cases to train on. 97 together.
SITES = (
    Site("site-01", 20),
    Site("site-02", 14, Scanner(gain=300, contrast=0.9, noise=0.02), TumourHabit(core_ml=34), drawing_mm=1.0),
    Site(
        "site-03",
        12,
        Scanner(gain=2200, gamma=1.12, bias=0.10),
        population=Population(ethnicity_shares=_shares(0.30, 0.03, 0.05)),
    ),
    Site(
        "site-04",
        10,
        Scanner(gain=700, contrast=1.2, noise=0.035),
        TumourHabit(non_enhancing=0.45, core_ml=38),
        Population(older_years=-6),
    ),
    Site("site-05", 8, Scanner(gain=1200, slice_mm=5.0), missing={"FLAIR": 0.35}, drawing_mm=-1.0),
    Site(
        "site-06",
        8,
        Scanner(gain=150, gamma=0.88, noise=0.045, blur_mm=1.2),
        TumourHabit(core_ml=18),
        Population(older_years=7),
    ),
    Site(
        "site-07",
        7,
        Scanner(gain=450, bias=0.14, contrast=0.85),
        TumourHabit(oedema_ratio=2.4),
        Population(ethnicity_shares=_shares(0.03, 0.35, 0.05)),
        missing={"T1": 0.4},
    ),
    Site("site-08", 6, Scanner(gain=3000, blur_mm=1.5), TumourHabit(multifocal=0.35), drawing_mm=1.5),
    Site("site-09", 6, Scanner(gain=1000, noise=0.06, slice_mm=4.0), TumourHabit(deep=3), Population(female_odds=1.6)),
    Site(
        "site-10",
        6,
        Scanner(gain=600, gamma=1.2, contrast=0.8, noise=0.03),
        TumourHabit(core_ml=14, oedema_ratio=1.1),
        missing={"T2": 0.3},
    ),
    Site(
        "unseen-01",
        10,
        Scanner(gain=5000, gamma=0.82, contrast=0.85, bias=0.15, noise=0.05, blur_mm=1.4),
        TumourHabit(core_ml=16, non_enhancing=0.35),
        Population(older_years=5, ethnicity_shares=_shares(0.15, 0.10, 0.10)),
        seen=False,
    ),
    Site(
        "unseen-02",
        10,
        Scanner(gain=80, gamma=1.25, contrast=1.25, bias=0.12, noise=0.04, slice_mm=6.0),
        TumourHabit(core_ml=40, oedema_ratio=2.2, multifocal=0.3),
        Population(older_years=-4, female_odds=1.4),
        missing={"T1": 0.2, "FLAIR": 0.2},
        seen=False,
    ),
)


@dataclass(frozen=True)
class PhantomCase:
    """One synthetic patient, not built yet.

    Attributes:
        index: From 0, within its site and split.
        seed: Of everything in its images.
        missing: The contrasts that its study lacks.
        low_grade: Whether the glioma has no enhancing rim.
    """

    name: str
    site: Site
    split: Split
    index: int
    seed: tuple[int, ...]
    demographics: Demographics
    missing: tuple[str, ...]
    low_grade: bool
    spacing_mm: float
    skull: bool

    def phantom(self) -> Phantom:
        """Build it: all four contrasts, with the true labels."""
        return build_phantom(
            np.random.default_rng(self.seed),
            spacing_mm=self.spacing_mm,
            skull=self.skull,
            habit=replace(self.site.habit, non_enhancing=float(self.low_grade)),
            scanner=self.site.scanner,
            age_years=self.demographics.age_years,
        )

    def read(self) -> Case:
        """Build it as its site has it: without the missing contrasts, in training as the site's readers drew it."""
        phantom = self.phantom()
        labels = phantom.labels
        if self.split is Split.TRAINING and self.site.drawing_mm:
            labels = _drawn(np.random.default_rng([*self.seed, 1]), phantom, self.spacing_mm, self.site.drawing_mm)
        images = {contrast: image for contrast, image in phantom.images.items() if contrast not in self.missing}
        return Case(self.name, images, labels, self.demographics, self.site.name)


def phantom_cohort(
    seed: int,
    *,
    sites: Sequence[Site] = SITES,
    spacing_mm: float = 2.0,
    split: Split | str = Split.TRAINING,
    skull: bool = False,
) -> tuple[PhantomCase, ...]:
    """Plan the cases of one split; none is built before it is read.

    Args:
        seed: The same seed gives the same cases; on another grid or with the skull they are of the same patients.
        sites: Who takes part.
        spacing_mm: Of the cases' isotropic grid.
        split: Which cases; no two splits share one.
        skull: Whether the cases are heads, instead of stripped brains.
    """
    split = Split(split)
    chosen = [site for site in sites if site.seen is (split is not Split.UNSEEN)]
    counts = {Split.VALIDATION: VALIDATION_CASES, Split.TEST: TEST_CASES}
    return tuple(
        _plan_case(seed, site, split, index, spacing_mm, skull)
        for site in chosen
        for index in range(counts.get(split, site.cases))
    )


def _plan_case(seed: int, site: Site, split: Split, index: int, spacing_mm: float, skull: bool) -> PhantomCase:
    key = (seed, crc32(site.name.encode()), list(Split).index(split), index)
    rng = np.random.default_rng([*key, 2])
    low_grade = bool(rng.random() < site.habit.non_enhancing)
    demographics = draw_demographics(rng, site.population, low_grade=low_grade)
    missing = tuple(contrast for contrast, chance in sorted(site.missing.items()) if rng.random() < chance)
    name = f"{site.name}-{split}-{index:03d}"
    return PhantomCase(name, site, split, index, key, demographics, missing, low_grade, spacing_mm, skull)


def _drawn(rng: np.random.Generator, phantom: Phantom, spacing_mm: float, wider_mm: float) -> npt.NDArray[np.uint8]:
    """The labels as a reader draws them who goes too far, or not far enough; the core stays."""
    labels = phantom.labels
    whole = labels > 0
    if not whole.any():
        return labels
    outside = ndimage.distance_transform_edt(~whole, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(whole, sampling=spacing_mm)
    # The border lies half a voxel before the first voxel beyond it; the hand trembles by half a voxel.
    from_border = np.where(whole, spacing_mm / 2 - inside, outside - spacing_mm / 2)
    trembling = FieldOfView(labels.shape, spacing_mm).smooth_field(rng, 8.0) * (spacing_mm / 3)
    drawn = phantom.brain & (from_border + trembling < wider_mm)
    redrawn = np.where(drawn & ~whole, np.uint8(OEDEMA), labels)
    redrawn[~drawn & (labels == OEDEMA)] = 0
    return redrawn
