"""Named trainings, as data: what is trained on, which network, and how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from federated.augmentation import Augmentation
from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.cohort_table import groups_of
from federated.balancing.training_weights import weigh_cases
from federated.cases import CaseSource, Example, read_cohort, to_example
from federated.errors import TrainingDataError, TrainingSettingsError
from federated.models import ARMS, HybridConfig, NetworkConfig, SegResNetConfig, UNetConfig
from federated.phantom_sites import phantom_cohort
from federated.preprocessing import Preprocessing
from federated.sampling import Split
from federated.training_request import TrainingRequest
from federated.training_settings import TrainingSettings

DEMO_DATA: Final = Path(__file__).parent.parent / "sandbox" / "data" / "brats_tcga_2mm"
"""Six subjects of TCGA-GBM and TCGA-LGG with the BraTS labels (CC BY 3.0), at 2 mm."""
HELD_OUT_SHARE: Final = 5
"""Where nobody says which cases are held out, every fifth is."""


@dataclass(frozen=True)
class Phantoms:
    """Which synthetic cases take part.

    Attributes:
        training, validation: How many, spread over the sites in turn; None for all there are.
        seed: Of the cohort; not the training's.
    """

    training: int | None = None
    validation: int | None = None
    seed: int = 2026


@dataclass(frozen=True)
class Preset:
    """One named training.

    Attributes:
        summary: For people.
        spacing_mm: Of the model's grid.
        narrowing: The network's channels are divided by it.
        phantoms: None for none.
        data: Folder of labelled cases; None for none.
        held_out: Cases of data that are not trained on.
        balance: How the training cases are weighed against their groups; None to draw them alike.
    """

    summary: str
    settings: TrainingSettings
    arm: str = "hybrid"
    spacing_mm: float = 2.0
    narrowing: int = 1
    phantoms: Phantoms | None = None
    data: Path | None = None
    held_out: tuple[str, ...] = ()
    balance: BalanceSettings | None = None

    @property
    def network(self) -> NetworkConfig:
        """What is trained."""
        return _narrowed(ARMS[self.arm], self.narrowing)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its cases are prepared, and what the model will want of images."""
        return replace(Preprocessing(), spacing_mm=self.spacing_mm)


PRESETS: Final[Mapping[str, Preset]] = {
    "tiny": Preset(
        "eight synthetic heads at 4 mm and a narrow network: a minute, to see that everything works",
        TrainingSettings(
            steps=80,
            batch=2,
            patch=(40, 48, 40),
            learning_rate=1e-2,
            average_decay=0.9,
            validate_every=20,
            threads=1,
            augmentation=Augmentation(spacing_mm=4.0, shell=0.0),
        ),
        spacing_mm=4.0,
        narrowing=3,
        phantoms=Phantoms(training=8, validation=3),
    ),
    "phantom": Preset(
        "ten synthetic sites, 97 heads at 2 mm, and two held-out heads of each site",
        TrainingSettings(steps=2000, batch=4, validate_every=200, patience=5),
        phantoms=Phantoms(),
    ),
    "real": Preset(
        "the real subjects that come with the demo, and synthetic heads; the demo's own subject is held out",
        TrainingSettings(steps=1200, batch=4, validate_every=100, synthetic_share=0.2),
        phantoms=Phantoms(training=30, validation=0),
        data=DEMO_DATA,
        held_out=("Brats18_TCIA02_370_1",),
    ),
}


def choose_preset(request: TrainingRequest) -> Preset:
    """The preset that is asked for, with what is wanted otherwise.

    Raises:
        TrainingSettingsError: The preset, the arm or what is to be balanced is unknown, or a number is out of range.
    """
    if request.preset not in PRESETS:
        raise TrainingSettingsError(f"Expected a preset of {', '.join(PRESETS)}, got {request.preset!r}.")
    preset = PRESETS[request.preset]
    arm = request.arm or preset.arm
    if arm not in ARMS:
        raise TrainingSettingsError(f"Expected an arm of {', '.join(ARMS)}, got {arm!r}.")
    wanted = {name: getattr(request, name) for name in _OF_SETTINGS if getattr(request, name) is not None}
    chosen = replace(preset, arm=arm, settings=replace(preset.settings, **wanted), balance=_balance(request))
    if request.data is not None:
        phantoms = preset.phantoms if preset.data else None
        chosen = replace(chosen, data=Path(request.data), held_out=(), phantoms=phantoms)
    return replace(chosen, held_out=request.held_out) if request.held_out else chosen


def _balance(request: TrainingRequest) -> BalanceSettings | None:
    if request.balance:
        solver: Any = request.balance_solver or "exact"
        return BalanceSettings(request.balance, solver, seed=request.seed or 0, max_gap=request.max_gap)
    if request.balance_solver is not None or request.max_gap is not None:
        raise TrainingSettingsError("Expected what to balance, got only how; name attributes with --balance.")
    return None


_OF_SETTINGS: Final = ("steps", "seed", "learning_rate", "batch", "threads", "precision")

Gathered = Callable[[int, int], None]
"""Takes how many cases are ready, and how many there will be."""


def gather(preset: Preset, report: Gathered) -> Split:
    """Read, build and prepare the cases of a preset; the same cases each time.

    Raises:
        TrainingDataError: A folder has no cases, or none but held-out ones; a held-out one is not there; a case is
            unusable.
        BalanceDataError: The training cases cannot be balanced as the preset asks.
    """
    stored = read_cohort(preset.data) if preset.data else ()
    held_out = _held_out(preset, [source.name for source in stored])
    phantoms, validation = _phantoms(preset)
    parts = (
        [source for source in stored if source.name not in held_out],
        phantoms,
        [*(source for source in stored if source.name in held_out), *validation],
    )
    total, done = sum(len(part) for part in parts), 0
    groups: list[dict[str, str]] = []

    def prepared(source: CaseSource) -> Example:
        nonlocal done
        case = source.read()
        example = to_example(case, preset.preprocessing)
        groups.append(groups_of(case.demographics, case.site))
        done += 1
        report(done, total)
        return example

    report(0, total)
    real, synthetic, held = ([prepared(source) for source in part] for part in parts)
    if preset.balance is None:
        return Split(real, synthetic, held)
    training, count = [*real, *synthetic], len(real) + len(synthetic)
    weights = weigh_cases(training, groups[:count], preset.balance)
    return Split(real, synthetic, held, weights, groups[count:])


def _held_out(preset: Preset, names: Sequence[str]) -> Sequence[str]:
    if not names:
        if preset.held_out:
            raise TrainingDataError("Expected a folder of cases to hold some out of; synthetic cases have their own.")
        return ()
    missing = set(preset.held_out) - set(names)
    if missing:
        raise TrainingDataError(
            f"{preset.data}: expected to hold out {', '.join(sorted(missing))}, but it has only {', '.join(names)}."
        )
    # Of one to four cases none can be spared.
    held_out = preset.held_out or tuple(names[HELD_OUT_SHARE - 1 :: HELD_OUT_SHARE])
    if len(held_out) == len(names):
        raise TrainingDataError(f"{preset.data}: expected a case to train on beside the held-out ones, got none.")
    return held_out


def _phantoms(preset: Preset) -> tuple[Sequence[CaseSource], Sequence[CaseSource]]:
    """Those to train on and those held out."""
    wanted = preset.phantoms
    if wanted is None:
        return (), ()
    cohorts = (
        phantom_cohort(wanted.seed, spacing_mm=preset.spacing_mm, split=split) for split in ("training", "validation")
    )
    # The first when each site gives one in turn.
    training, validation = (sorted(cohort, key=lambda case: case.index) for cohort in cohorts)
    return training[: wanted.training], validation[: wanted.validation]


def _narrowed(config: NetworkConfig, by: int) -> NetworkConfig:
    """The same network with fewer channels."""
    if isinstance(config, HybridConfig | UNetConfig):
        return replace(config, filters=tuple(max(1, channels // by) for channels in config.filters))
    return _narrowed_segresnet(config, by)


def _narrowed_segresnet(config: SegResNetConfig, by: int) -> SegResNetConfig:
    # Its group count divides its channels: MONAI checks that they are a multiple of 8.
    return replace(config, init_filters=max(8, config.init_filters // by // 8 * 8))
