"""What a training minimises."""

import torch
from torch.nn import functional

Tensor = torch.Tensor


def region_loss(logits: Tensor, regions: Tensor) -> Tensor:
    """Soft Dice over the batch plus binary cross-entropy, each the mean over the regions.

    Dice alone saturates on a region that a batch hardly shows, cross-entropy alone drowns small regions in background;
    their sum is what nnU-Net found robust (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    Args:
        logits: (batch, regions, slices, rows, columns), of any precision; the loss is computed in float32.
        regions: float32, same shape, 0 or 1.
    """
    logits, axes = logits.float(), (0, 2, 3, 4)
    probabilities = logits.sigmoid()
    overlap, total = (probabilities * regions).sum(axes), (probabilities + regions).sum(axes)
    soft_dice = (2 * overlap + 1) / (total + 1)
    return 1 - soft_dice.mean() + functional.binary_cross_entropy_with_logits(logits, regions)
