"""Segment one case from files, by hand: no hospital, no database."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federated.ports import Progress, Segmenter
from plugin.services.prediction_input import REFERENCE, read_input
from plugin.services.prediction_output import (
    MEASUREMENTS,
    describe_results,
    encode_results,
    prepare_folder,
    write_files,
)
from plugin.services.values import SeriesUse

StepProgress = Callable[[str, float], None]
"""Takes what is being done, and the finished fraction of the whole, 0 to 1."""


@dataclass(frozen=True)
class Predicted:
    """What a run told.

    Attributes:
        document: The content of measurements.json.
        uses: What each series, file or volume was taken for; with file names, for the person at the terminal.
    """

    document: dict[str, Any]
    uses: tuple[SeriesUse, ...]


def predict(source: Path, folder: Path, segmenter: Segmenter, progress: StepProgress) -> Predicted:
    """Read a case, segment it, and write mask, uncertainty map, picture and measurements.

    Args:
        source: See plugin.services.prediction_input.read_input.
        folder: Is made when it is not there; files of an earlier run are replaced.
        segmenter: The model.
        progress: Called as the work goes on.

    Raises:
        PredictionError, DicomIngestError: The input or the folder cannot be used.
        ModelInputError: An image that the model cannot take.
    """
    prepare_folder(folder)
    started = time.monotonic()
    case = read_input(source, _part(progress, "reading", 0.0, 0.2))
    read = time.monotonic()
    prediction = segmenter.segment(case.images, REFERENCE, _part(progress, "segmenting", 0.2, 0.9))
    segmented = time.monotonic()
    progress("writing", 0.9)
    files = encode_results(case, segmenter.identity, prediction)
    timings_s = {"read": read - started, "segment": segmented - read, "draw": time.monotonic() - segmented}
    document = describe_results(case, segmenter.identity, prediction, timings_s)
    files[MEASUREMENTS] = (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_files(folder, files)
    progress("done", 1.0)
    return Predicted(document, case.uses)


def _part(progress: StepProgress, step: str, start: float, stop: float) -> Progress:
    return lambda fraction: progress(step, start + (stop - start) * fraction)
