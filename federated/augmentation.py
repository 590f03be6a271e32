"""Random variants of whole training cases, in batches on the training device.

Five subjects are few: each batch shows them deformed, mirrored, with each other's tumours, from other scanners and
protocols, with contrasts missing and with a skull-like shell.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

Tensor = torch.Tensor
VOLUME = (-3, -2, -1)


@dataclass(frozen=True, eq=False)
class Batch:
    """Whole cases side by side.

    Attributes:
        images: float32 (batch, contrasts, slices, rows, columns), scaled, 0 outside the head.
        head: float32 (batch, 1, ...), 0 or 1.
        regions: float32 (batch, 3, ...), 0 or 1: whole tumour, tumour core, enhancing tumour.
        present: float32 (batch, contrasts), 0 or 1.
    """

    images: Tensor
    head: Tensor
    regions: Tensor
    present: Tensor

    def channels(self) -> Tensor:
        """What the network reads: images, then one flag channel each."""
        flags = self.present[:, :, None, None, None]
        return torch.cat([self.images * flags, flags.expand_as(self.images)], dim=1)


@dataclass(frozen=True)
class Augmentation:
    """How strongly cases vary; a chance is per case unless said otherwise.

    Attributes:
        rotation_rad, log_scale, shift_voxels, warp_voxels: Standard deviations, but shift and rotation are limits.
        transplant: Chance to receive another case's tumour.
        drop: Chance of each droppable contrast to be absent.
        droppable: Indices of the contrasts that may be absent.
    """

    rotation_rad: float = 0.4
    log_scale: float = 0.12
    shift_voxels: float = 6.0
    warp_voxels: float = 2.0
    transplant: float = 0.4
    coarse: float = 0.3
    noise: float = 0.5
    shell: float = 0.12
    drop: float = 0.12
    droppable: tuple[int, ...] = (0, 2, 3)


def augment(batch: Batch, settings: Augmentation, rng: torch.Generator) -> Batch:
    """Make a random variant of each case of a batch.

    Args:
        batch: On any device; is left as it is.
        settings: How strongly.
        rng: On the same device.
    """
    batch = _deform(batch, settings, rng)
    batch = _transplant(batch, settings.transplant, rng)
    images = _contrast(batch.images, batch.head, rng)
    images = _coarsen(images, settings.coarse, rng)
    images = _sharpness(images, rng)
    images = _add_noise(images, settings.noise, rng)
    images, head = _add_shell(images, batch.head, settings.shell, rng)
    images = (images * head).clamp(-8, 8)
    return Batch(images, head, batch.regions, _drop(batch.present, settings, rng))


def _uniform(rng: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device) * (high - low) + low


def _chance(rng: torch.Generator, probability: float, *shape: int) -> Tensor:
    return (_uniform(rng, *shape) < probability).float()


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device)


def _smooth_field(rng: torch.Generator, batch: int, channels: int, knots: int, size: torch.Size) -> Tensor:
    coarse = _normal(rng, batch, channels, knots, knots, knots)
    return functional.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)


def _deform(batch: Batch, settings: Augmentation, rng: torch.Generator) -> Batch:
    """Mirror, rotate, scale, shear, shift and warp."""
    count, size = len(batch.images), batch.images.shape[-3:]
    angles = _uniform(rng, count, 3, low=-settings.rotation_rad, high=settings.rotation_rad)
    mirror = 1 - 2 * _chance(rng, 0.5, count, 3)
    scale = torch.exp(settings.log_scale * _normal(rng, count, 1) + 0.05 * _normal(rng, count, 3))
    matrix = _rotations(angles) * (mirror * scale)[:, None, :] + 0.03 * _normal(rng, count, 3, 3)
    shift = _uniform(rng, count, 3, low=-settings.shift_voxels, high=settings.shift_voxels)
    # grid_sample counts in (columns, rows, slices), each from -1 to 1 over the whole axis.
    half = torch.tensor([size[2], size[1], size[0]], device=rng.device, dtype=torch.float32) / 2
    axes = [torch.linspace(-length / 2 + 0.5, length / 2 - 0.5, length, device=rng.device) for length in size]
    slices, rows, columns = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([columns, rows, slices], dim=-1)
    warp = settings.warp_voxels * _smooth_field(rng, count, 3, 6, size).movedim(1, -1)
    moved = torch.einsum("bij,zyxj->bzyxi", matrix, points) + shift[:, None, None, None, :] + warp
    stacked = torch.cat([batch.images, batch.head, batch.regions], dim=1)
    sampled = functional.grid_sample(stacked, moved / half, mode="bilinear", padding_mode="zeros", align_corners=False)
    contrasts = batch.images.shape[1]
    head = (sampled[:, contrasts : contrasts + 1] > 0.5).float()
    return Batch(sampled[:, :contrasts], head, (sampled[:, contrasts + 1 :] > 0.5).float() * head, batch.present)


def _rotations(angles: Tensor) -> Tensor:
    """Rotation matrices (batch, 3, 3) about the three axes, one after the other."""
    cosine, sine = angles.cos(), angles.sin()
    matrix = torch.eye(3, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
        turn[:, first, first] = turn[:, second, second] = cosine[:, axis]
        turn[:, first, second], turn[:, second, first] = -sine[:, axis], sine[:, axis]
        matrix = matrix @ turn
    return matrix


def _transplant(batch: Batch, probability: float, rng: torch.Generator) -> Batch:
    """Give cases the tumour of another one with its surroundings, elsewhere; after CarveMix, arXiv:2108.06883."""
    count = len(batch.images)
    chosen = _chance(rng, probability, count, 1, 1, 1, 1)
    if not chosen.any():
        return batch
    offset = [int(_uniform(rng, 1, low=-12, high=13).floor()) for _ in range(3)]
    donor = torch.cat([batch.images, batch.head, batch.regions], dim=1).roll(1, dims=0).roll(offset, dims=VOLUME)
    contrasts = batch.images.shape[1]
    images, head, regions = donor[:, :contrasts], donor[:, contrasts : contrasts + 1], donor[:, contrasts + 1 :]
    around = functional.max_pool3d(regions[:, :1], 5, stride=1, padding=2)
    carved = functional.avg_pool3d(around, 3, stride=1, padding=1) * head * batch.head * chosen
    mixed = torch.lerp(batch.images, images, carved)
    return Batch(mixed, batch.head, torch.where(carved > 0.5, regions, batch.regions), batch.present)


def _contrast(images: Tensor, head: Tensor, rng: torch.Generator) -> Tensor:
    """Gamma and bias field, scaled back to the spread it had; then a jitter of brightness and contrast."""
    count, contrasts = images.shape[:2]
    per_image = (count, contrasts, 1, 1, 1)
    gamma = torch.exp(0.3 * _normal(rng, *per_image))
    changed = ((images + 4) / 12).clamp(1e-3, 2) ** gamma
    bias = _uniform(rng, *per_image, high=0.15) * _smooth_field(rng, count, contrasts, 3, images.shape[-3:])
    changed = changed * torch.exp(bias)
    mean, deviation = _moments(images, head)
    new_mean, new_deviation = _moments(changed, head)
    changed = (changed - new_mean) / new_deviation * deviation + mean
    scale = torch.exp(0.15 * _normal(rng, *per_image))
    return changed * scale + 0.2 * _normal(rng, *per_image)


def _moments(images: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    count = head.sum(VOLUME, keepdim=True).clamp(min=1)
    mean = (images * head).sum(VOLUME, keepdim=True) / count
    variance = ((images - mean) ** 2 * head).sum(VOLUME, keepdim=True) / count
    return mean, variance.clamp(min=1e-8).sqrt()


def _coarsen(images: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Thick slices along one axis, for some of the images."""
    size = list(images.shape[-3:])
    axis = int(_uniform(rng, 1, high=3).floor().clamp(max=2))
    factor = float(_uniform(rng, 1, low=1.3, high=3.2))
    coarse = [max(int(length / factor), 4) if index == axis else length for index, length in enumerate(size)]
    thick = functional.interpolate(images, size=coarse, mode="area")
    thick = functional.interpolate(thick, size=size, mode="trilinear", align_corners=False)
    return torch.lerp(images, thick, _chance(rng, probability, *images.shape[:2], 1, 1, 1))


def _sharpness(images: Tensor, rng: torch.Generator) -> Tensor:
    blurred = functional.avg_pool3d(images, 3, stride=1, padding=1, count_include_pad=False)
    amount = _uniform(rng, *images.shape[:2], 1, 1, 1, low=-0.4, high=0.8)
    return torch.lerp(images, blurred, amount * _chance(rng, 0.5, *images.shape[:2], 1, 1, 1))


def _add_noise(images: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    level = _uniform(rng, *images.shape[:2], 1, 1, 1, high=0.3) * _chance(rng, probability, *images.shape[:2], 1, 1, 1)
    return images + level * _normal(rng, *images.shape)


def _add_shell(images: Tensor, head: Tensor, probability: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fluid, skull and scalp around some of the brains; the head's scaling shifts, as it would with them."""
    count, contrasts = images.shape[:2]
    chosen = _chance(rng, probability, count, 1, 1, 1, 1)
    if not chosen.any():
        return images, head
    inner, outer = _dilate(head, 2), _dilate(head, 4)
    gap, scalp = inner - head, outer - inner
    layers = [
        layer * _uniform(rng, count, contrasts, 1, 1, 1, low=low, high=high)
        for layer, low, high in ((gap, -3.0, 1.0), (scalp, -1.0, 4.0))
    ]
    texture = 1 + 0.3 * _smooth_field(rng, count, contrasts, 12, images.shape[-3:])
    with_shell = (images + sum(layers) * texture) * _uniform(rng, count, contrasts, 1, 1, 1, low=0.6, high=1.1)
    with_shell = with_shell + 0.3 * _normal(rng, count, contrasts, 1, 1, 1)
    return torch.lerp(images, with_shell, chosen), torch.lerp(head, outer, chosen)


def _dilate(head: Tensor, voxels: int) -> Tensor:
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * voxels + 1, voxels
        head = functional.max_pool3d(head, kernel, stride=1, padding=padding)
    return head


def _drop(present: Tensor, settings: Augmentation, rng: torch.Generator) -> Tensor:
    kept = present.clone()
    for contrast in settings.droppable:
        kept[:, contrast] *= 1 - _chance(rng, settings.drop, len(present))
    return kept
