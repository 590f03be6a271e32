"""A cohort with a planted bias, and networks that are trained on it with one set of case weights.

Women are few among the training cases, most of their tumours there are small, and their scanner is worse wherever they
are: in training, in validation and in the test. Everybody else is as the phantom's sites have it.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from federated.balancing.balance_settings import BalanceSettings, BalanceSolver
from federated.balancing.cohort_table import LARGE, CohortCase, groups_of, size_outcomes
from federated.balancing.fairness_filter import Filtered, filter_cohort
from federated.balancing.image_features import image_features
from federated.balancing.operating_point import dice_by_threshold
from federated.cases import Example, to_example
from federated.phantom_sites import PhantomCase, phantom_cohort
from federated.preprocessing import Preprocessing
from federated.presets import PRESETS, choose_preset
from federated.sampling import CaseWeights, Split
from federated.training import train
from federated.training_request import TrainingRequest

CPU: Final = torch.device("cpu")
BARE: Final = "no weights"
NETWORK: Final = choose_preset(TrainingRequest("tiny", arm="mlp")).network
"""The tiny preset's, with an MLP where its circuit is: what is measured is how cases are drawn."""


@dataclass(frozen=True)
class Plant:
    """The planted bias.

    Attributes:
        women: Training cases of women that are kept.
        large: How many of these have a tumour above the median of all cases.
        noise, blur_mm, contrast: Of the women's scanner.
        cohort_seed: Of the phantom's cases.
        test_seeds, validation_seeds: Of the cohorts whose splits of that name are put together.
    """

    women: int = 14
    large: int = 3
    noise: float = 0.10
    blur_mm: float = 2.4
    contrast: float = 0.6
    cohort_seed: int = 2026
    validation_seeds: tuple[int, ...] = (2026, 2027)
    test_seeds: tuple[int, ...] = (2026, 2027)
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Cases:
    """Prepared cases with their groups."""

    examples: Sequence[Example]
    groups: Sequence[dict[str, str]]

    @property
    def sexes(self) -> list[str]:
        """Of each case."""
        return [known["sex"] for known in self.groups]


@dataclass(frozen=True, eq=False)
class BiasedData:
    """The three sets of cases; no two share one."""

    training: Cases
    validation: Cases
    test: Cases

    def digest(self) -> str:
        """Of all voxels and labels."""
        return Split(self.training.examples, self.test.examples, self.validation.examples).digest()

    def table(self) -> list[CohortCase]:
        """The training cases as the filter takes them."""
        outcomes = size_outcomes([float((each.labels > 0).sum()) for each in self.training.examples])
        return [
            CohortCase(example.name, known, outcome)
            for example, known, outcome in zip(self.training.examples, self.training.groups, outcomes, strict=True)
        ]


def build_data(plant: Plant) -> BiasedData:
    """Build the cases; some minutes."""
    everybody = _build(plant, "training", (plant.cohort_seed,))
    outcomes = size_outcomes([float((each.labels > 0).sum()) for each in everybody.examples])
    kept, wanted = [], {True: plant.large, False: plant.women - plant.large}
    for place, (sex, outcome) in enumerate(zip(everybody.sexes, outcomes, strict=True)):
        is_large = outcome == LARGE
        if sex == "F":
            wanted[is_large] -= 1
        if sex != "F" or wanted[is_large] >= 0:
            kept.append(place)
    training = Cases([everybody.examples[place] for place in kept], [everybody.groups[place] for place in kept])
    return BiasedData(
        training, _build(plant, "validation", plant.validation_seeds), _build(plant, "test", plant.test_seeds)
    )


def choose_weights(data: BiasedData, solver: BalanceSolver) -> Filtered:
    """Run the filter on the training cases."""
    features = np.array([image_features(example) for example in data.training.examples])
    return filter_cohort(data.table(), BalanceSettings(("sex",), solver), features)


def weights_name(weights: Sequence[float] | None) -> str:
    """The same weights, the same name: arms that chose alike share their trainings."""
    return "bare" if weights is None else hashlib.sha256(repr(tuple(weights)).encode()).hexdigest()[:12]


def train_and_score(
    data: BiasedData, weights: Sequence[float] | None, *, seed: int, steps: int, learning_rate: float
) -> dict[str, Any]:
    """Train one network.

    Returns:
        Dice by case, region and threshold of operating_point.THRESHOLDS, on validation and test cases.
    """
    preset = PRESETS["tiny"]
    settings = replace(
        preset.settings,
        steps=steps,
        seed=seed,
        learning_rate=learning_rate,
        average_decay=0.97,
        validate_every=steps,
    )
    chosen = None if weights is None else CaseWeights(tuple(weights))
    started = time.process_time()
    trained = train(Split(synthetic=data.training.examples, case_weights=chosen), NETWORK, settings, CPU)
    tables = {
        name: dice_by_threshold(Split(validation=cases.examples), NETWORK, trained.weights, CPU)
        for name, cases in (("validation", data.validation), ("test", data.test))
    }
    return {
        "seed": seed,
        "cpu_seconds": round(time.process_time() - started, 1),
        "loss": round(float(np.mean(trained.losses[-20:])), 4),
        **{name: np.round(table, 4).tolist() for name, table in tables.items()},
    }


def describe_plant(plant: Plant, data: BiasedData) -> dict[str, Any]:
    """For the result file."""
    counted = {name: data.__dict__[name].sexes for name in ("training", "validation", "test")}
    return {
        **asdict(plant),
        "cases": {name: {sex: sexes.count(sex) for sex in "FM"} for name, sexes in counted.items()},
        "data_sha256": data.digest(),
    }


def _build(plant: Plant, split: str, seeds: Sequence[int]) -> Cases:
    examples, groups = [], []
    spacing_mm = PRESETS["tiny"].spacing_mm
    preprocessing = replace(Preprocessing(), spacing_mm=spacing_mm)
    for seed in seeds:
        for source in phantom_cohort(seed, spacing_mm=spacing_mm, split=split)[: plant.limit]:
            case = _degraded(source, plant).read()
            # Cohorts of several seeds name their cases alike.
            examples.append(replace(to_example(case, preprocessing), name=f"{seed}-{case.name}"))
            groups.append(groups_of(case.demographics, case.site))
    return Cases(examples, groups)


def _degraded(case: PhantomCase, plant: Plant) -> PhantomCase:
    if case.demographics.sex != "F":
        return case
    scanner = replace(case.site.scanner, noise=plant.noise, blur_mm=plant.blur_mm, contrast=plant.contrast)
    return replace(case, site=replace(case.site, scanner=scanner))
