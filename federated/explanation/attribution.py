"""Integrated gradients through the hybrid network, quantum layers included, and whether they depend on what it learned.

An attribution says by how much each voxel of each contrast moved the answer away from that of a brain of median
brightness throughout; all of them add up to the difference of the two answers (completeness), but for the integral's
own error, which is reported.

A map that stays the same when the weights are replaced by random ones shows the image, not the model (Adebayo et al.
2018, arXiv:1810.03292). The check replaces them from the last layer to the first and compares the maps.

References:
    Sundararajan et al. (2017), arXiv:1703.01365.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from federated.explanation.window import Window, trained_network, with_network
from federated.model_file import Model
from federated.models import build_network
from federated.ports import Progress
from federated.preprocessing import ModelInput

Floats = npt.NDArray[np.float32]
Tensor = torch.Tensor

STEPS: Final = 24
"""Of the integral, by Gauss-Legendre quadrature."""
CHECK_STEPS: Final = 5
"""For the check, whose maps are only compared."""
SHARES: Final = (0.5, 1.0)
"""Of the weight tensors that are replaced, from the network's end."""
MOST_ALIKE: Final = 0.5
"""A map of random weights that is more like the trained one's than this fails the check."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each voxel of each contrast contributed.

    Attributes:
        values: float32 (contrasts, slices, rows, columns), on the window.
        answer: Of the images.
        baseline: The answer of a brain of median brightness.
    """

    values: Floats
    answer: float
    baseline: float

    @property
    def total(self) -> Floats:
        """All contrasts together; float32 (slices, rows, columns)."""
        total: Floats = self.values.sum(axis=0)
        return total

    @property
    def gap(self) -> float:
        """By how much the parts miss the whole, as a share of it."""
        whole = self.answer - self.baseline
        return abs(float(self.values.sum(dtype=np.float64)) - whole) / max(abs(whole), 1e-6)


@dataclass(frozen=True)
class SanityStage:
    """One comparison with a network whose last weights are random.

    Attributes:
        share: Of the weight tensors that are random.
        rank_correlation: Spearman's, of the signed maps inside the head.
        rank_correlation_absolute: The same of their absolute values; these share the image's edges, whatever the
            weights, so they are alike to some degree always.
        similarity: SSIM of the absolute values, each divided by its 99th percentile.
    """

    share: float
    rank_correlation: float
    rank_correlation_absolute: float
    similarity: float


@dataclass(frozen=True)
class SanityCheck:
    """Whether the attribution depends on what the network learned."""

    stages: tuple[SanityStage, ...]
    seed: int

    @property
    def passed(self) -> bool:
        """Whether, with all weights random, the signed map and the picture of its size both became another one."""
        last = self.stages[-1]
        return max(last.rank_correlation, last.similarity) < MOST_ALIKE


def attribute(window: Window, *, steps: int = STEPS) -> Attribution:
    """Integrate the gradients of the window's answer from median brightness to the images.

    Args:
        window: One lesion.
        steps: More make the gap smaller.
    """
    from captum.attr import IntegratedGradients

    images = window.images[None]
    found = IntegratedGradients(window.answer).attribute(
        images, baselines=torch.zeros_like(images), n_steps=steps, method="gausslegendre", internal_batch_size=1
    )
    with torch.inference_mode():
        answer, baseline = (float(window.answer(each)) for each in (images, torch.zeros_like(images)))
    return Attribution(found[0].detach().float().numpy(), answer, baseline)


def check_sanity(
    model: Model,
    window: Window,
    model_input: ModelInput,
    *,
    seed: int = 0,
    steps: int = CHECK_STEPS,
    shares: tuple[float, ...] = SHARES,
    progress: Progress = lambda _: None,
) -> SanityCheck:
    """Compare the attribution with those of networks whose weights are random from some layer to the end.

    Args:
        model: Of the window.
        window: One lesion.
        model_input: The whole head, for the norms of each network.
        seed: Of the random weights.
        steps: Of each integral.
        shares: Of the weight tensors that are replaced; the last is to be 1.
        progress: Called after each network.
    """
    trained = attribute(window, steps=steps).total
    fresh = _fresh_weights(model, seed)
    stages = []
    for number, share in enumerate(shares, start=1):
        network = trained_network(model, _mixed(model.weights, fresh, share))
        other = attribute(with_network(window, network, model_input, model.network.stride), steps=steps).total
        stages.append(_compare(trained, other, window.head, share))
        progress(number / len(shares))
    return SanityCheck(tuple(stages), seed)


def _fresh_weights(model: Model, seed: int) -> Mapping[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(model.network).state_dict()


def _mixed(weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights, the last ones replaced; fresh is in the network's own order, from its input to its output."""
    names = list(fresh)
    replaced = set(names[len(names) - max(1, round(share * len(names))) :])
    return {name: fresh[name] if name in replaced else weights[name] for name in names}


def _compare(first: Floats, second: Floats, head: npt.NDArray[np.bool_], share: float) -> SanityStage:
    inside = (first[head], second[head])
    return SanityStage(
        share=share,
        rank_correlation=_spearman(*inside),
        rank_correlation_absolute=_spearman(*(np.abs(each) for each in inside)),
        similarity=_ssim(np.abs(first), np.abs(second)),
    )


def _spearman(first: Floats, second: Floats) -> float:
    """0 where one map is the same everywhere, so that nothing can be said of its order."""
    from scipy import stats

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def _ssim(first: Floats, second: Floats) -> float:
    from skimage.metrics import structural_similarity

    scaled = [np.clip(each / max(float(np.percentile(each, 99)), 1e-12), 0, 1) for each in (first, second)]
    edge = min(7, min(first.shape) // 2 * 2 - 1)
    return float(structural_similarity(*scaled, data_range=1.0, win_size=edge))  # type: ignore[no-untyped-call]
