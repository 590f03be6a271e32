"""One case, explained: its lesion, the supervoxels with their weights, the attribution and its check."""

import time
from dataclasses import dataclass

from federated.explanation.attribution import Attribution, SanityCheck, attribute, check_sanity
from federated.explanation.lime_supervoxels import SAMPLES, LocalExplanation, explain_window
from federated.explanation.supervoxels import Supervoxels, cut_supervoxels
from federated.explanation.window import Window, open_window, trained_network
from federated.model_file import Model
from federated.ports import Progress
from federated.preprocessing import ModelInput


@dataclass(frozen=True, eq=False)
class CaseExplanation:
    """Why the model answered as it did.

    Attributes:
        seconds: By part: "window", "local", "attribution", "check".
    """

    window: Window
    supervoxels: Supervoxels
    local: LocalExplanation
    attribution: Attribution
    sanity: SanityCheck
    seconds: dict[str, float]


def explain_case(
    model: Model, model_input: ModelInput, *, samples: int = SAMPLES, seed: int = 0, progress: Progress = lambda _: None
) -> CaseExplanation:
    """Explain one case; the same input, samples and seed give the same explanation on one machine.

    Args:
        model: That is explained.
        model_input: Made with the model's preprocessing.
        samples: Of the local explanation.
        seed: Of what is drawn.
        progress: Called as the work goes on.
    """
    began = time.monotonic()
    window = open_window(model, trained_network(model), model_input)
    supervoxels = cut_supervoxels(window)
    opened = time.monotonic()
    local = explain_window(
        window, supervoxels, samples=samples, seed=seed, progress=lambda share: progress(0.05 + 0.55 * share)
    )
    explained = time.monotonic()
    attribution = attribute(window)
    attributed = time.monotonic()
    progress(0.75)
    sanity = check_sanity(model, window, model_input, seed=seed, progress=lambda share: progress(0.75 + 0.25 * share))
    seconds = {
        "window": opened - began,
        "local": explained - opened,
        "attribution": attributed - explained,
        "check": time.monotonic() - attributed,
    }
    return CaseExplanation(window, supervoxels, local, attribution, sanity, seconds)
