"""Probabilities that mean what they say: temperatures fixed on validation data, and how well they hold elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from federated.errors import TrainingDataError

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TEMPERATURES = (0.05, 20.0)
"""Lowest and highest that is tried."""
BINS = 15
"""Of equal width, as in Guo et al. 2017."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What was predicted against what was there, in bins of equal width from 0 to 1.

    Attributes:
        counts: int64 (bins,), voxels in each bin.
        predicted: float64 (bins,), their mean probability; NaN in an empty bin.
        observed: float64 (bins,), the share of them that belongs to the region; NaN in an empty bin.
    """

    counts: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        """Mean of |predicted - observed| over all voxels, 0 to 1: the expected calibration error."""
        filled = self.counts > 0
        gaps = np.abs(self.predicted - self.observed)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))


def fit_temperatures(
    logits: Sequence[Floats], truths: Sequence[Mask], inside: Sequence[Mask]
) -> tuple[float, float, float]:
    """Find the temperature of each region that makes validation voxels most likely.

    The likelihood has one maximum, so a bounded search in the logarithm of the temperature finds it.

    Args:
        logits: Of each case, (3, slices, rows, columns): whole tumour, tumour core, enhancing tumour. With the mirrored
            answers in front, (mirrors, 3, slices, rows, columns), it is their mean probability that is fitted.
        truths: Of each case, where the regions are; (3, slices, rows, columns).
        inside: Of each case, the voxels that count: the brain and what is near it; (slices, rows, columns).

    Returns:
        One for each region; 1 for a region that no case, or every voxel, shows.

    Raises:
        TrainingDataError: There is no case, the numbers of cases differ, or no voxel counts.

    References:
        Guo et al. 2017, arXiv:1706.04599: temperature scaling.
    """
    if not logits or not len(logits) == len(truths) == len(inside):
        raise TrainingDataError(
            "Expected as many logits, truths and masks, at least one, "
            f"got {len(logits)}, {len(truths)} and {len(inside)}; calibrate on whole validation cases."
        )
    if not any(mask.any() for mask in inside):
        raise TrainingDataError("No validation voxel lies inside the head; choose other validation cases.")
    whole, core, enhancing = (_fit(*_voxels(region, logits, truths, inside)) for region in range(3))
    return whole, core, enhancing


def reliability_curve(probabilities: npt.ArrayLike, truth: npt.ArrayLike, bins: int = BINS) -> ReliabilityCurve:
    """Compare one region's probabilities with what was there.

    Args:
        probabilities: Of the voxels that count, those inside the head; any shape.
        truth: Whether each belongs to the region; of the same shape.
        bins: Of equal width.

    Raises:
        ValueError: There is no voxel, the shapes differ, or a probability is outside 0 to 1.
    """
    predicted = np.asarray(probabilities, np.float64).ravel()
    positive = np.asarray(truth, bool).ravel()
    if not predicted.size or predicted.size != positive.size:
        raise ValueError(f"Expected as many probabilities as truths, got {predicted.size} and {positive.size}.")
    if not 0 <= predicted.min() <= predicted.max() <= 1:
        raise ValueError(f"Expected probabilities from 0 to 1, got {predicted.min():g} to {predicted.max():g}.")
    # A probability of 1 belongs to the last bin.
    index = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(index, predicted, bins) / counts
        share = np.bincount(index, positive, bins) / counts
    return ReliabilityCurve(counts.astype(np.int64), mean, share)


def expected_calibration_error(probabilities: npt.ArrayLike, truth: npt.ArrayLike, bins: int = BINS) -> float:
    """By how much one region's probability misses the share of voxels that belong to it, on average over voxels.

    Bins are of equal width and hold the region's own probability, not that of the likelier answer. Most voxels of a
    head are surely healthy, and count: state beside the number which voxels were taken.

    Args:
        probabilities, truth, bins: As of reliability_curve, which raises the same.

    References:
        Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv:1706.04599.
    """
    return reliability_curve(probabilities, truth, bins).expected_error


def _voxels(
    region: int, logits: Sequence[Floats], truths: Sequence[Mask], inside: Sequence[Mask]
) -> tuple[npt.NDArray[np.float64], Mask]:
    """One region's logits (mirrors, voxels) and truth (voxels,) over all cases."""
    rows = [
        case[..., region, :, :, :][..., mask].reshape(-1, int(mask.sum()))
        for case, mask in zip(logits, inside, strict=True)
    ]
    truth = [case[region][mask].astype(bool) for case, mask in zip(truths, inside, strict=True)]
    return np.concatenate(rows, axis=1).astype(np.float64), np.concatenate(truth)


def _fit(logits: npt.NDArray[np.float64], truth: Mask) -> float:
    if truth.all() or not truth.any():
        return 1.0
    # log(1 - sigmoid(z)) = log sigmoid(-z): one expression for both kinds of voxel.
    signed = np.where(truth, logits, -logits)

    def surprise(log_temperature: float) -> float:
        likelihoods = -np.logaddexp(0, -signed / np.exp(log_temperature))
        # The logarithm of their mean over the mirrors, but for a constant.
        return -float(np.logaddexp.reduce(likelihoods, axis=0).mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded").x))
