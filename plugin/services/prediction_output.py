"""What `qfl predict` writes: a mask and an uncertainty map as NIfTI, a picture, and the measurements as JSON."""

import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from federated.contrast_order import contrast_order_fault
from federated.measurement import RegionMeasure, measure_regions
from federated.nifti import encode_nifti
from federated.ports import ModelIdentity, Prediction
from plugin.errors import OutputFolderError
from plugin.services.prediction_input import REFERENCE, SEQUENCES, InputKind, PredictionInput
from plugin.services.prediction_overlay import render_overlay
from plugin.services.regions import to_measurement
from plugin.services.report_facts import RESEARCH_USE, findings_sentence

MASK, UNCERTAINTY, OVERLAY, MEASUREMENTS = "mask.nii.gz", "uncertainty.nii.gz", "overlay.png", "measurements.json"
BRATS_VALUES: Final = {0: 0, 1: 1, 2: 2, 3: 4}
"""Enhancing tumour is 4 in BraTS' files."""
_BRATS_TABLE = np.array([BRATS_VALUES[label] for label in range(4)], np.uint8)


def encode_results(case: PredictionInput, model: ModelIdentity, prediction: Prediction) -> dict[str, bytes]:
    """The mask, the uncertainty map and the picture, by file name. The same prediction gives the same bytes."""
    measured = _measure(case, prediction)
    measurements = [to_measurement(one) for one in measured]
    lines = (
        findings_sentence(measurements, bool(prediction.labels.any())),
        f"Confidence {prediction.confidence:.0%}: the outline's expected overlap with a reader's (Dice).",
        f"{model.name}, version {model.version[:12]}",
    )
    return {
        MASK: encode_nifti(_BRATS_TABLE[prediction.labels], case.grid),
        UNCERTAINTY: encode_nifti(prediction.uncertainty, case.grid),
        OVERLAY: render_overlay(
            case.images, SEQUENCES, REFERENCE, prediction.labels, prediction.uncertainty, measurements, lines
        ),
    }


def describe_results(
    case: PredictionInput, model: ModelIdentity, prediction: Prediction, timings_s: Mapping[str, float]
) -> dict[str, Any]:
    """The content of measurements.json.

    No name of a person or a file stands in it: what came in is told by sequence, and DICOM series by UID.

    Returns:
        research_use: What the result is not.
        software, model: Names and versions; the model's version is the digest that stands everywhere else too.
        input: kind; sequences_present and sequences_missing; series, what each was taken for ("" is a file's UID) and
            why; the reference sequence with its grid: shape (i, j, k), spacing_mm and affine_ras (4 rows), as in the
            mask's header.
        labels: What the mask's values mean.
        findings: One sentence. tumour_found: whether the mask holds anything.
        confidence: Expected Dice of the whole tumour's outline, 0 to 1.
        regions: key, label, volume_ml, long_axis_mm, short_axis_mm and their product_mm2 (None without the region),
            is_measurable after RANO, and confidence, the mean probability within the region.
        warnings: What a reader must know.
        timings_s: Seconds, by step.
        files: What else was written, and what it holds.
    """
    measured = _measure(case, prediction)
    found = bool(prediction.labels.any())
    return {
        "research_use": RESEARCH_USE,
        "software": {"name": "qfl-hospital-plugin", "version": version("qfl-hospital-plugin")},
        "model": {"name": model.name, "version": model.version},
        "input": _describe_input(case),
        "labels": {
            str(BRATS_VALUES[label]): meaning for label, meaning in ((0, "background"), *model.label_map.items())
        },
        "findings": findings_sentence([to_measurement(one) for one in measured], found),
        "tumour_found": found,
        "confidence": round(prediction.confidence, 4),
        "regions": [_describe_region(one) for one in measured],
        "warnings": [*case.warnings, *_order_warnings(case, prediction), *prediction.warnings],
        "timings_s": {step: round(seconds, 2) for step, seconds in timings_s.items()},
        "files": {
            MASK: "labels in the geometry of the reference",
            UNCERTAINTY: "entropy of the labels, 0 (sure) to 1, in the geometry of the reference",
            OVERLAY: "three planes of each sequence with the regions outlined",
        },
    }


def prepare_folder(folder: Path) -> None:
    """Make the folder, and see that it can be written to, before the work is done.

    Raises:
        OutputFolderError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise _not_writable(folder, fault) from fault


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none; files of these names from an earlier run are replaced.

    Each is complete before it gets its name, and the last one, which is removed first, gets it last: where it is, all
    belong together.

    Raises:
        OutputFolderError: One cannot be written.
    """
    written: dict[str, Path] = {}
    try:
        try:
            for name, content in files.items():
                handle, temporary = tempfile.mkstemp(prefix=".qfl-", suffix=".part", dir=folder)
                written[name] = Path(temporary)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                written[name].chmod(0o644)
            (folder / list(files)[-1]).unlink(missing_ok=True)
            for name, path in written.items():
                path.replace(folder / name)
        finally:
            for path in written.values():
                path.unlink(missing_ok=True)
    except OSError as fault:
        raise _not_writable(folder, fault) from fault


def _measure(case: PredictionInput, prediction: Prediction) -> tuple[RegionMeasure, ...]:
    return measure_regions(prediction.labels, prediction.probabilities, case.images[REFERENCE].affine_lps)


def _order_warnings(case: PredictionInput, prediction: Prediction) -> list[str]:
    """In a 4-D file only the order says what a volume is; fluid, oedema and enhancement tell when it is wrong."""
    if case.kind is not InputKind.NIFTI_4D:
        return []
    fault = contrast_order_fault(case.images, prediction.labels)
    return [f"The volumes may not be in the order {', '.join(SEQUENCES)}: {fault}."] if fault else []


def _describe_input(case: PredictionInput) -> dict[str, Any]:
    affine = case.grid.affine_ras
    return {
        "kind": case.kind.value,
        "sequences_present": [name for name in SEQUENCES if name in case.images],
        "sequences_missing": [name for name in SEQUENCES if name not in case.images],
        "series": [
            {"used_as": use.contrast, "series_instance_uid": use.series_instance_uid, "reason": use.reason}
            for use in case.uses
        ],
        "reference": {
            "sequence": REFERENCE,
            "shape": list(case.grid.shape),
            "spacing_mm": [round(float(step), 6) for step in np.linalg.norm(affine[:3, :3], axis=0)],
            "affine_ras": affine.tolist(),
        },
    }


def _describe_region(one: RegionMeasure) -> dict[str, Any]:
    return {
        "key": one.key,
        "label": one.label,
        "volume_ml": round(one.volume_ml, 3),
        "long_axis_mm": _rounded(one.long_axis_mm),
        "short_axis_mm": _rounded(one.short_axis_mm),
        "product_mm2": _rounded(one.product_mm2),
        "is_measurable": one.is_measurable,
        "confidence": _rounded(one.confidence, 4),
    }


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def _not_writable(folder: Path, fault: OSError) -> OutputFolderError:
    return OutputFolderError(
        f"{folder}: expected a folder that can be written to, got '{fault.strerror}'; choose another one."
    )
