"""What a model does on each case of an audit; kept case by case, so that an interrupted audit goes on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from federated.calibration import BINS, reliability_curve
from federated.cases import REFERENCE, Case, CaseSource, case_digest
from federated.errors import ModelInputError
from federated.metrics import agreement, region_masks, surface_dice_of_masks
from federated.ports import Segmenter
from governance.canonical import Canonical, canonical_bytes
from governance.errors import AuditDataError
from governance.fairness.groups import GroupedCase
from plugin.services.governance.audit_cohorts import AuditCohort, case_groups

TOLERANCE_MM: Final = 2.0
"""Of the surface Dice coefficient: one voxel of the model's grid."""
WHOLE: Final = "whole-tumour"
_OF: Final = "audit-of.json"
_FOLDER: Final = "cases"

Tell = Callable[[int, int], None]
"""Takes how many cases are done, and of how many."""
Embed = Callable[[Case], Sequence[float]]
"""What the network makes of a case, as one row of numbers; empty where it has no such place."""


@dataclass(frozen=True)
class MeasuredCase:
    """One case, and what the model did on it. It holds no voxels, and no name.

    Attributes:
        name: A pseudonym: its number in the cohort.
        digest: Of its voxels and labels.
        groups: See governance.fairness.groups.
        dice, surface_dice, hausdorff_95_mm: By region.
        confidence: The Dice coefficient of the whole tumour that the model itself expects.
        drawn_ml, found_ml: By region.
        voxels: Of the whole tumour: found rightly, found wrongly, missed; and of the rest of the head.
        reliability: Of the whole tumour's probability in the head: voxels, sums of probabilities and of truths by bin.
        missing: Contrasts that the case lacks.
        slice_mm: The thickest slice of its contrasts.
        embedding: See Embed.
        seconds: That it took.
    """

    name: str
    digest: str
    groups: Mapping[str, str]
    dice: Mapping[str, float]
    surface_dice: Mapping[str, float]
    hausdorff_95_mm: Mapping[str, float]
    confidence: float
    drawn_ml: Mapping[str, float]
    found_ml: Mapping[str, float]
    voxels: tuple[int, int, int, int]
    reliability: tuple[tuple[float, ...], ...]
    missing: tuple[str, ...]
    slice_mm: float
    embedding: tuple[float, ...]
    seconds: float

    def grouped(self, outcomes: Mapping[str, float]) -> GroupedCase:
        """As fairness needs it."""
        return GroupedCase(self.name, self.groups, outcomes)


def pseudonym(number: int) -> str:
    """How an audit speaks of the case of this number, from 1, in its cohort."""
    return f"case-{number:04d}"


def measure_cohort(
    segmenter: Segmenter, embed: Embed, cohort: AuditCohort, work: Path, told: Tell, is_stopped: Callable[[], bool]
) -> tuple[MeasuredCase, ...]:
    """Measure the model on each case that is not measured yet.

    Args:
        segmenter: The model.
        embed: Of the same model.
        cohort: Its cases.
        work: Folder of this audit alone; what is finished is kept there.
        told: Is told after each case.
        is_stopped: Asked before each case whether to stop.

    Raises:
        AuditDataError: The folder holds another audit; or the model cannot read a case.
        TrainingDataError: A case cannot be read.
        KeyboardInterrupt: It was to stop; a repeated call goes on.
    """
    check_work(work, {"model": segmenter.identity.version, "cohort": cohort.key})
    folder = work / _FOLDER
    folder.mkdir(exist_ok=True)
    found = []
    for number, source in enumerate(cohort.sources, start=1):
        path = folder / f"{pseudonym(number)}.json"
        if path.exists():
            found.append(_read(path))
        else:
            if is_stopped():
                raise KeyboardInterrupt
            measured = measure_case(segmenter, embed, source, pseudonym(number))
            write_whole(path, json.dumps(asdict(measured)).encode())
            found.append(measured)
        told(number, len(cohort.sources))
    return tuple(found)


def measure_case(segmenter: Segmenter, embed: Embed, source: CaseSource, name: str) -> MeasuredCase:
    """Let the model segment a case, and compare.

    Raises:
        AuditDataError: The model cannot read it.
        TrainingDataError: It cannot be read.
    """
    started = perf_counter()
    case = source.read()
    try:
        prediction = segmenter.segment(case.images, REFERENCE, lambda _: None)
    except ModelInputError as fault:
        raise AuditDataError(f"{name}: the model cannot read it: {fault}") from fault
    found, drawn = prediction.labels, case.labels
    affine = case.images[REFERENCE].affine_lps
    spacing_mm = [float(length) for length in np.linalg.norm(affine[:3, :3], axis=0)]
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    figures = agreement(found, drawn, spacing_mm)
    masks, others = region_masks(found), region_masks(drawn)
    head = _head(case)
    return MeasuredCase(
        name=name,
        digest=case_digest(case),
        groups=case_groups(case.demographics, case.site),
        dice={region: each.dice for region, each in figures.items()},
        surface_dice={
            region: surface_dice_of_masks(masks[region], others[region], spacing_mm, TOLERANCE_MM) for region in masks
        },
        hausdorff_95_mm={region: each.hausdorff_95_mm for region, each in figures.items()},
        confidence=prediction.confidence,
        drawn_ml={region: float(mask.sum()) * voxel_ml for region, mask in others.items()},
        found_ml={region: float(mask.sum()) * voxel_ml for region, mask in masks.items()},
        voxels=_voxels(found > 0, drawn > 0, head),
        reliability=_reliability(prediction.probabilities[0][head], drawn[head] > 0),
        missing=tuple(each for each in segmenter.identity.contrasts if each not in case.images),
        slice_mm=max(float(np.linalg.norm(image.affine_lps[:3, :3], axis=0).max()) for image in case.images.values()),
        embedding=tuple(float(value) for value in embed(case)),
        seconds=perf_counter() - started,
    )


def check_work(work: Path, of: Mapping[str, Canonical]) -> None:
    """Make the folder of an audit, or check that it is of this one.

    Raises:
        AuditDataError: It holds another audit.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / _OF
    wanted = canonical_bytes(of)
    if not path.exists():
        write_whole(path, wanted)
    elif path.read_bytes() != wanted:
        raise AuditDataError(
            f"{work}: holds the unfinished audit of another model or cohort; choose another --out, or remove {work}."
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or not at all."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.replace(path)


def cohort_digest(cases: Sequence[MeasuredCase]) -> str:
    """SHA-256 over the cases' digests, whatever their order."""
    return hashlib.sha256("".join(sorted(each.digest for each in cases)).encode()).hexdigest()


def _read(path: Path) -> MeasuredCase:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        measured = MeasuredCase(**found)
    except (OSError, ValueError, TypeError) as fault:
        raise AuditDataError(
            f"{path}: is damaged ({type(fault).__name__}); remove it and repeat the command."
        ) from fault
    return replace(
        measured,
        voxels=tuple(found["voxels"]),
        reliability=tuple(tuple(row) for row in found["reliability"]),
        missing=tuple(found["missing"]),
        embedding=tuple(found["embedding"]),
    )


def _head(case: Case) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where there is signal: of a stripped image the brain, of a whole head nearly all of it."""
    voxels = case.images[REFERENCE].voxels
    mask: np.ndarray[Any, np.dtype[np.bool_]] = (voxels != voxels.min()) | (case.labels > 0)
    return mask


def _voxels(found: Any, drawn: Any, head: Any) -> tuple[int, int, int, int]:
    either = found | drawn
    return (
        int((found & drawn).sum()),
        int((found & ~drawn).sum()),
        int((drawn & ~found).sum()),
        int((head & ~either).sum()),
    )


def _reliability(probabilities: Any, truth: Any) -> tuple[tuple[float, ...], ...]:
    curve = reliability_curve(np.clip(probabilities, 0, 1), truth, BINS)
    filled = curve.counts > 0
    sums = [np.where(filled, curve.counts * np.nan_to_num(part), 0.0) for part in (curve.predicted, curve.observed)]
    return tuple(tuple(float(value) for value in row) for row in (curve.counts, *sums))
