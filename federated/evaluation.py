"""How a model does on a site's held-out cases, case by case: Dice at a fixed threshold, and the area under the ROC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from federated.cases import Example
from federated.metrics import REGIONS, Mask, dice_of_masks
from federated.models import NetworkConfig, build_network
from federated.numerics import autocast
from federated.validation import to_device

Floats = npt.NDArray[np.float64]
THRESHOLD: Final = 0.5
"""Not chosen on the cases that it is measured on."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one model.

    Attributes:
        dice: (cases, regions), 0 to 1; 1 where a region is neither drawn nor found.
        auc: (cases, regions) over the voxels of the head, 0 to 1; NaN where a case has a region nowhere or everywhere.
    """

    dice: Floats
    auc: Floats

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Means over the cases by region, as JSON; None where no case has one."""
        return {"dice": _means(self.dice), "auc": _means(self.auc)}


def evaluate(
    network_config: NetworkConfig,
    weights: Mapping[str, torch.Tensor],
    examples: Sequence[Example],
    device: torch.device,
    precision: str = "float32",
) -> Scores:
    """Measure a model on cases, each looked at once, without mirrors and smoothing.

    Args:
        network_config: The network.
        weights: Of all its layers.
        examples: On grids in multiples of the network's stride.
        device: Where to compute.
        precision: Of convolutions: "float32" or "bfloat16".
    """
    network = build_network(network_config).to(device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    network.load_state_dict(dict(weights))
    dice, auc = np.empty((len(examples), len(REGIONS))), np.empty((len(examples), len(REGIONS)))
    for row, case in enumerate(to_device(examples, device)):
        with torch.inference_mode(), autocast(precision, device):
            logits = network(case.channels)[0]
        found, drawn, head = (
            each.float().cpu().numpy() for each in (logits.float().sigmoid(), case.regions, case.head)
        )
        for column in range(len(REGIONS)):
            inside, truth = head > 0, drawn[column] > 0
            dice[row, column] = dice_of_masks((found[column] > THRESHOLD) & inside, truth)
            auc[row, column] = area_under_roc(found[column][inside], truth[inside])
    return Scores(dice, auc)


def area_under_roc(scores: npt.NDArray[np.float32], positive: Mask) -> float:
    """The chance that a positive scores higher than a negative, ties counting half; NaN without both kinds.

    References:
        Mann and Whitney (1947), doi:10.1214/aoms/1177730491.
    """
    count = int(positive.sum())
    others = positive.size - count
    if not count or not others:
        return float("nan")
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _means(values: Floats) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for column, region in enumerate(REGIONS):
        known = values[:, column][~np.isnan(values[:, column])]
        found[region] = float(known.mean()) if known.size else None
    return found
