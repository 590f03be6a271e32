"""LIME over supervoxels: a linear model of what the network answers when pieces of tissue are taken away.

Each sample keeps a random half of the supervoxels and replaces the others by the brain's median, which is 0 in the
scaled images. A ridge regression, weighted by nearness to the untouched images, predicts the answer from which pieces
were kept; its coefficients are the explanation. How well it predicts is the explanation's fidelity.

R2 is given twice: `r2` on the samples that the regression was fitted to, as the lime package reports it, and
`r2_held_out` on samples that it was not fitted to, five folds in turn. Many pieces and few samples flatter the first,
not the second: that is the one that counts.

References:
    Ribeiro et al. (2016), doi:10.1145/2939672.2939778.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from federated.explanation.supervoxels import Supervoxels
from federated.explanation.window import Window
from federated.ports import Progress

Floats = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]

SAMPLES: Final = 200
KEEP: Final = 0.5
"""Chance of each piece to be kept."""
KERNEL_WIDTH: Final = 0.25
"""Of the weights by cosine distance; the lime package's own for images."""
RIDGE: Final = 1.0
FOLDS: Final = 5
_NEGLIGIBLE: Final = 1e-9


@dataclass(frozen=True)
class LocalExplanation:
    """A linear model around one case.

    Attributes:
        weights: By piece, in order: by how much the answer falls when the piece is taken away.
        intercept: The linear model's answer with every piece taken away.
        answer: The network's own answer with every piece in place.
        r2: Weighted, on the samples that it was fitted to.
        r2_held_out: Weighted, on samples that it was not fitted to; below 0 where it predicts worse than their mean. 0
            where the answer hardly changes at all, for then nothing is explained.
    """

    weights: tuple[float, ...]
    intercept: float
    answer: float
    r2: float
    r2_held_out: float
    samples: int
    seed: int


def explain_locally(
    answer: Callable[[Kept], float],
    count: int,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> LocalExplanation:
    """Explain a function of which pieces are kept.

    Args:
        answer: Takes bool (count,), True for the pieces that are kept.
        count: Number of pieces, from 1.
        samples: How often the function is asked, the untouched case included; at least 2 * FOLDS.
        seed: The same seed gives the same explanation.
        progress: Called as the samples go on.

    Raises:
        ValueError: count or samples is out of range.
    """
    if count < 1 or samples < 2 * FOLDS:
        raise ValueError(f"Expected pieces from 1 and samples from {2 * FOLDS}, got {count} and {samples}.")
    rng = np.random.default_rng(seed)
    kept = rng.random((samples, count)) < KEEP
    kept[0] = True
    answers = np.empty(samples)
    for number, row in enumerate(kept):
        answers[number] = answer(row)
        progress((number + 1) / samples)
    return _fit(kept, answers, rng, seed)


def explain_window(
    window: Window,
    supervoxels: Supervoxels,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> LocalExplanation:
    """Explain the network's answer for a lesion by the supervoxels around it."""
    labels = torch.from_numpy(supervoxels.labels.astype(np.int64))
    images = window.images

    def answer(kept: Kept) -> float:
        # Label 0, what is not cut up, is always kept.
        shown = torch.from_numpy(np.concatenate([[True], kept]))[labels]
        with torch.inference_mode():
            return float(window.answer((images * shown)[None]))

    return explain_locally(answer, supervoxels.count, samples=samples, seed=seed, progress=progress)


def _fit(kept: Kept, answers: Floats, rng: np.random.Generator, seed: int) -> LocalExplanation:
    from lime.lime_base import LimeBase
    from sklearn.metrics import r2_score

    data = kept.astype(np.float64)
    distances, count = _distances(data), kept.shape[1]
    intercept, coefficients, r2, _ = LimeBase(_kernel, random_state=seed).explain_instance_with_data(
        data, answers[:, None], distances, 0, count, feature_selection="none", model_regressor=_ridge()
    )
    weights = np.zeros(count)
    for piece, weight in coefficients:
        weights[piece] = weight
    if float(np.ptp(answers)) <= _NEGLIGIBLE * max(1.0, abs(float(answers[0]))):
        r2 = held_out = 0.0
    else:
        predicted = _out_of_fold(data, answers, _kernel(distances), rng)
        held_out = float(r2_score(answers, predicted, sample_weight=_kernel(distances)))
    return LocalExplanation(
        weights=tuple(weights.tolist()),
        intercept=float(intercept),
        answer=float(answers[0]),
        r2=float(r2),
        r2_held_out=held_out,
        samples=len(answers),
        seed=seed,
    )


def _out_of_fold(data: Floats, answers: Floats, weights: Floats, rng: np.random.Generator) -> Floats:
    """Each sample's answer as predicted by a regression on the other folds."""
    folds = rng.permutation(len(answers)) % FOLDS
    predicted = np.empty(len(answers))
    for fold in range(FOLDS):
        inside = folds != fold
        model = _ridge().fit(data[inside], answers[inside], sample_weight=weights[inside])
        predicted[~inside] = model.predict(data[~inside])
    return predicted


def _ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=RIDGE)


def _distances(data: Floats) -> Floats:
    """Cosine distance of each row to the first, which keeps everything; 1 for a row that keeps nothing."""
    lengths = np.linalg.norm(data, axis=1) * np.linalg.norm(data[0])
    products = data @ data[0]
    cosines: Floats = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return 1 - cosines


def _kernel(distances: Floats) -> Floats:
    weights: Floats = np.sqrt(np.exp(-(distances**2) / KERNEL_WIDTH**2))
    return weights
