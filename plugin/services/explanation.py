"""Explain one case from files, by hand: why the model outlined what it outlined. No hospital, no database."""

import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.ports import Image, ModelIdentity, Prediction, Progress
from plugin.services.explanation_picture import Maps, render_explanation
from plugin.services.prediction_input import REFERENCE, SEQUENCES, PredictionInput, read_input
from plugin.services.prediction_output import prepare_folder, write_files
from plugin.services.report_facts import RESEARCH_USE

if TYPE_CHECKING:
    from federated.explanation.case import CaseExplanation
    from federated.explanation.fuzzy_reading import FuzzyReading

PICTURE, EXPLANATION = "explanation.png", "explanation.json"
TOP: Final = 8
"""Supervoxels that are listed."""
_SECOND: Final = "FLAIR"
"""Shown beside the reference: it shows oedema, the reference does not."""
StepProgress = Callable[[str, float], None]
"""Takes what is being done, and the finished fraction of the whole, 0 to 1."""


def explain(
    source: Path, folder: Path, model_folder: Path, *, samples: int, seed: int, progress: StepProgress
) -> dict[str, Any]:
    """Read a case, segment and explain it, and write explanation.png and explanation.json.

    Args:
        source: See plugin.services.prediction_input.read_input.
        folder: Is made when it is not there; files of an earlier run are replaced.
        model_folder: Of the model.
        samples: Of the local explanation.
        seed: Of what is drawn.
        progress: Called as the work goes on.

    Returns:
        The content of explanation.json; see describe_explanation.

    Raises:
        PredictionError, DicomIngestError: The input or the folder cannot be used.
        ModelFileError: The model cannot be used.
        ModelInputError: An image that the model cannot take.
    """
    from federated.explanation.case import explain_case
    from federated.explanation.fuzzy_reading import measure_features, read_features
    from federated.inference import TorchSegmenter
    from federated.model_file import load_model
    from federated.preprocessing import to_model_input

    prepare_folder(folder)
    model, identity = load_model(model_folder)
    began = time.monotonic()
    case = read_input(source, _part(progress, "reading", 0.0, 0.05))
    segmenter = TorchSegmenter(model, identity)
    prediction = segmenter.segment(case.images, REFERENCE, _part(progress, "segmenting", 0.05, 0.15))
    segmented = time.monotonic()
    model_input = to_model_input(case.images, REFERENCE, model.preprocessing)
    explained = explain_case(
        model, model_input, samples=samples, seed=seed, progress=_part(progress, "explaining", 0.15, 0.95)
    )
    voxel_ml = abs(float(np.linalg.det(case.images[REFERENCE].affine_lps[:3, :3]))) / 1000
    features = measure_features(prediction.labels, voxel_ml)
    reading = None if features is None else read_features(features)
    timings_s = {"segment": segmented - began, **explained.seconds}
    document = describe_explanation(case, identity, prediction, explained, reading, timings_s)
    progress("writing", 0.95)
    files = {
        PICTURE: _draw(case, prediction, explained, document),
        EXPLANATION: (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
    write_files(folder, files)
    progress("done", 1.0)
    return document


def describe_explanation(
    case: PredictionInput,
    model: ModelIdentity,
    prediction: Prediction,
    explained: "CaseExplanation",
    reading: "FuzzyReading | None",
    timings_s: Mapping[str, float],
) -> dict[str, Any]:
    """The content of explanation.json. No name of a person or a file stands in it.

    Returns:
        research_use, software, model: As in measurements.json.
        sequences: present and missing ones.
        explained: What number is explained, and of which part of the tumour.
        local: LIME over supervoxels: r2_held_out is its fidelity, faithful whether it reaches the bar; top, the
            supervoxels of largest weight.
        attribution: Integrated gradients: gap, by how much they miss completeness; by_sequence, their sums.
        sanity: What becomes of the attribution when weights are random.
        reading: The rules' reading; None where nothing was outlined.
        warnings, timings_s, files.
    """
    window, local = explained.window, explained.local
    present = [name for name in SEQUENCES if name in case.images]
    return {
        "research_use": RESEARCH_USE,
        "software": {"name": "qfl-hospital-plugin", "version": version("qfl-hospital-plugin")},
        "model": {"name": model.name, "version": model.version},
        "sequences": {"present": present, "missing": [name for name in SEQUENCES if name not in case.images]},
        "explained": {
            "what": "mean calibrated logit of whole tumour over the largest piece outlined"
            if window.outlined
            else "mean calibrated logit of whole tumour where the model came nearest to outlining one",
            "tumour_outlined": window.outlined,
            "share_of_tumour": _rounded(window.share),
            "answer": _rounded(local.answer),
            "answer_with_whole_head_in_view": _rounded(window.answer_whole_head),
        },
        "local": _describe_local(explained),
        "attribution": {
            "method": "integrated gradients, from a brain of median brightness",
            "gap": _rounded(explained.attribution.gap),
            "answer": _rounded(explained.attribution.answer),
            "baseline_answer": _rounded(explained.attribution.baseline),
            "by_sequence": {
                name: _rounded(float(values.sum(dtype=np.float64)))
                for name, values in zip(model.contrasts, explained.attribution.values, strict=True)
            },
        },
        "sanity": _describe_sanity(explained),
        "reading": None if reading is None else describe_reading(reading),
        "warnings": [*case.warnings, *prediction.warnings, *_warnings(explained)],
        "timings_s": {step: round(seconds, 2) for step, seconds in timings_s.items()},
        "files": {PICTURE: "supervoxel weights and attribution over the images"},
    }


def describe_reading(reading: "FuzzyReading") -> dict[str, Any]:
    """The rules' reading as JSON."""
    from federated.explanation.fuzzy_reading import RESEARCH_USE as NO_DIAGNOSIS

    return {
        "what": NO_DIAGNOSIS,
        "conclusion": reading.conclusion,
        "score": _rounded(reading.score),
        "memberships": {name: _rounded(degree) for name, degree in reading.memberships.items()},
        "features": {name: _rounded(value) for name, value in vars(reading.features).items()},
        "terms": {name: _rounded(degree) for name, degree in reading.terms.items()},
        "fired_rules": [
            {"rule": rule.text, "degree": _rounded(rule.degree), "value": rule.value} for rule in reading.fired
        ],
    }


def _describe_local(explained: "CaseExplanation") -> dict[str, Any]:
    from federated.explanation.fidelity import LOCAL_FIDELITY

    local = explained.local
    return {
        "method": "LIME over SLIC supervoxels; pieces are replaced by the brain's median",
        "r2_held_out": _rounded(local.r2_held_out),
        "r2_fitted": _rounded(local.r2),
        "faithful_from": LOCAL_FIDELITY,
        "faithful": local.r2_held_out >= LOCAL_FIDELITY,
        "samples": local.samples,
        "seed": local.seed,
        "supervoxels": explained.supervoxels.count,
        "intercept": _rounded(local.intercept),
        "top": _top_pieces(explained),
    }


def _top_pieces(explained: "CaseExplanation") -> list[dict[str, Any]]:
    window, labels = explained.window, explained.supervoxels.labels
    images, region = window.images.numpy(), window.region.numpy()
    voxel_ml = float(np.prod(window.grid.spacing_mm)) / 1000
    weights = np.array(explained.local.weights)
    found = []
    for piece in np.argsort(-np.abs(weights), kind="stable")[:TOP]:
        mask = labels == piece + 1
        centre = window.grid.affine_lps @ [*np.argwhere(mask).mean(axis=0), 1.0]
        found.append(
            {
                "supervoxel": int(piece) + 1,
                "weight": _rounded(float(weights[piece])),
                "volume_ml": _rounded(float(mask.sum()) * voxel_ml),
                "centre_lps_mm": [round(float(at), 1) for at in centre[:3]],
                "share_in_tumour": _rounded(float(region[mask].mean())),
                "mean_brightness": [_rounded(float(image[mask].mean())) for image in images],
            }
        )
    return found


def _describe_sanity(explained: "CaseExplanation") -> dict[str, Any]:
    from federated.explanation.attribution import MOST_ALIKE

    check = explained.sanity
    return {
        "what": "attribution of the trained network against that of networks whose last weights are random",
        "passed": check.passed,
        "most_alike_allowed": MOST_ALIKE,
        "seed": check.seed,
        "stages": [{name: _rounded(value) for name, value in vars(stage).items()} for stage in check.stages],
    }


def _warnings(explained: "CaseExplanation") -> list[str]:
    found = []
    document = _describe_local(explained)
    if not document["faithful"]:
        found.append(
            f"The local explanation follows the model poorly (R2 {document['r2_held_out']:.2f}, expected "
            f"{document['faithful_from']:.2f} or more): do not rely on the supervoxels' weights."
        )
    if not explained.sanity.passed:
        found.append("The attribution hardly changes when the weights are random: it shows the image, not the model.")
    if explained.window.share < 1 and explained.window.outlined:
        found.append(f"The piece that is explained is {explained.window.share:.0%} of what was outlined.")
    return found


def _draw(
    case: PredictionInput, prediction: Prediction, explained: "CaseExplanation", document: Mapping[str, Any]
) -> bytes:
    weights = np.concatenate([[0.0], explained.local.weights]).astype(np.float32)
    maps = Maps(
        pieces=explained.supervoxels.labels.astype(np.uint8),
        weights=weights[explained.supervoxels.labels],
        attribution=explained.attribution.total,
        affine_lps=explained.window.grid.affine_lps,
    )
    images: Mapping[str, Image] = case.images
    return render_explanation(images, REFERENCE, _SECOND, prediction.labels, maps, _lines(document))


def _lines(document: Mapping[str, Any]) -> list[str]:
    local, attribution, reading = document["local"], document["attribution"], document["reading"]
    last = document["sanity"]["stages"][-1]
    verdict = "it depends on what the model learned" if document["sanity"]["passed"] else "IT HARDLY CHANGES"
    lines = [
        "Why the model answered so",
        f"Explained: {document['explained']['what']} ({document['explained']['answer']:+.2f}).",
        f"Local explanation: LIME over {local['supervoxels']} supervoxels, {local['samples']} samples; R2 "
        f"{local['r2_held_out']:.2f} on samples it was not fitted to: "
        f"{'faithful' if local['faithful'] else 'NOT FAITHFUL'} (bar {local['faithful_from']}).",
        "Largest weights: " + "; ".join(map(_piece, local["top"][:3])) + ".",
        f"Attribution: integrated gradients over all sequences; parts miss the whole by {attribution['gap']:.1%}.",
        f"Check of the attribution: with random weights its rank correlation is {last['rank_correlation']:+.2f}, its "
        f"similarity {last['similarity']:.2f}: {verdict}.",
    ]
    if reading is not None:
        features = reading["features"]
        lines.append(
            f"Reading by rules (no diagnosis): {reading['conclusion']} ({reading['score']:.2f}); "
            f"{features['volume_ml']:.0f} ml, {features['enhancing_ratio']:.0%} of the core enhances, "
            f"{features['necrosis_share']:.0%} enclosed necrosis, oedema {features['oedema_ratio']:.1f} times the core."
        )
    return [*lines, f"{document['model']['name']}, version {document['model']['version'][:12]}"]


def _piece(piece: Mapping[str, Any]) -> str:
    left, posterior, superior = piece["centre_lps_mm"]
    return (
        f"{piece['weight']:+.2f} by {piece['volume_ml']:.1f} ml at LPS {left:.0f}, {posterior:.0f}, {superior:.0f} mm"
    )


def _part(progress: StepProgress, step: str, start: float, stop: float) -> Progress:
    return lambda fraction: progress(step, start + (stop - start) * fraction)


def _rounded(value: float) -> float:
    return round(float(value), 4)
