"""Random variants of training cases, in batches on the training device.

A site's cases are few: each batch shows them deformed, mirrored, with each other's tumours, from other scanners and
protocols, with contrasts missing and with a skull-like shell. What is drawn for a case comes from a generator on the
CPU, voxel noise from one on the device, so nothing waits for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch.nn import functional

from federated.errors import TrainingSettingsError

Tensor = torch.Tensor
VOLUME = (-3, -2, -1)
ZERO_OF_THE_SCANNER = -4.0
"""About where an image's raw intensity is 0, after scaling to median 0 and standard deviation 1 inside the head."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases side by side.

    Attributes:
        images: float32 (batch, contrasts, slices, rows, columns), scaled, 0 outside the head.
        depth: uint8 (batch, slices, rows, columns): how many of these nested regions hold the voxel: head, whole
            tumour, tumour core, enhancing tumour.
        present: float32 (batch, contrasts), 0 or 1.
    """

    images: Tensor
    depth: Tensor
    present: Tensor

    def channels(self) -> Tensor:
        """What the network reads: images, then one flag channel each."""
        flags = self.present[:, :, None, None, None]
        return torch.cat([self.images * flags, flags.expand_as(self.images)], dim=1)

    def head(self) -> Tensor:
        """float32 (batch, 1, ...), 0 or 1."""
        return (self.depth[:, None] > 0).float()

    def regions(self) -> Tensor:
        """float32 (batch, 3, ...), 0 or 1: whole tumour, tumour core, enhancing tumour."""
        return torch.stack([self.depth > level for level in (1, 2, 3)], dim=1).float()


@dataclass(frozen=True)
class Augmentation:
    """How strongly cases vary.

    Attributes:
        spacing_mm: Of the cases' grid.
        rotation_rad, shift_mm: Limits, for each axis.
        log_scale, warp_mm: Standard deviations.
        transplant: Chance of a case to receive another one's tumour.
        coarse, sharpness, noise: Chances of an image to come in thick slices, smoothed or sharpened, noisy.
        shell: Chance of a case to have its skull.
        drop: Chance of each droppable contrast to be absent.
        droppable: Indices of the contrasts that may be absent.

    Raises:
        TrainingSettingsError: A number is out of range.
    """

    spacing_mm: float = 2.0
    rotation_rad: float = 0.4
    log_scale: float = 0.12
    shift_mm: float = 12.0
    warp_mm: float = 4.0
    transplant: float = 0.4
    coarse: float = 0.3
    sharpness: float = 0.3
    noise: float = 0.5
    shell: float = 0.12
    drop: float = 0.12
    droppable: tuple[int, ...] = (0, 2, 3)

    def __post_init__(self) -> None:
        """Check each number."""
        limits = {"spacing_mm": (0.5, 10.0), "rotation_rad": (0.0, 3.2), "shift_mm": (0.0, 100.0), "warp_mm": (0, 30)}
        for each in fields(self):
            value = getattr(self, each.name)
            low, high = limits.get(each.name, (0.0, 1.0))
            if each.name != "droppable" and not low <= value <= high:
                raise TrainingSettingsError(
                    f"Augmentation: expected {each.name} from {low:g} to {high:g}, got {value!r}."
                )


class Randomness:
    """The two generators of a training: its choices, on the CPU, and voxel noise, on the device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.choices = torch.Generator("cpu").manual_seed(seed)
        self.voxels = torch.Generator(device).manual_seed(seed)
        self.device = device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers from low to high, on the CPU."""
        return torch.rand(shape, generator=self.choices) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and standard deviation 1, on the CPU."""
        return torch.randn(shape, generator=self.choices)

    def chosen(self, probability: float, count: int) -> list[int]:
        """The indices below count that are chosen, each with this probability."""
        return (self.uniform(count) < probability).nonzero().flatten().tolist()

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.choices))

    def noise(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and standard deviation 1, on the device."""
        return torch.randn(shape, generator=self.voxels, device=self.device)


def augment(
    batch: Batch,
    settings: Augmentation,
    rng: Randomness,
    patch: tuple[int, int, int] | None = None,
    centres: Tensor | None = None,
) -> Batch:
    """Make a random variant of each case of a batch.

    Args:
        batch: On the device of rng; is left as it is.
        settings: How strongly.
        rng: The same state gives the same variants.
        patch: (slices, rows, columns) of the variants; that of the batch unless given.
        centres: Middle of each patch, (batch, 3), in voxels from the middle of the case; there unless given.
    """
    varied = _deform(batch, settings, rng, patch or _size(batch.images), centres)
    for case in rng.chosen(settings.transplant, len(varied.images)):
        _transplant(varied, case, rng)
    images = _contrast(varied.images, rng)
    _resolution(images, settings, rng)
    _add_noise(images, settings.noise, rng)
    head, depth = varied.head(), varied.depth
    for case in rng.chosen(settings.shell, len(images)):
        images[case], head[case] = _with_shell(images[case], head[case], settings.spacing_mm, rng)
        depth[case] = torch.maximum(depth[case], head[case, 0].to(depth.dtype))
    images.mul_(head).clamp_(-8, 8)
    return Batch(images, depth, _drop(batch.present, settings, rng))


def plain(batch: Batch) -> Batch:
    """The cases themselves, as float32."""
    return replace(batch, images=batch.images.float())


def _size(images: Tensor) -> tuple[int, int, int]:
    slices, rows, columns = images.shape[-3:]
    return slices, rows, columns


def _deform(
    batch: Batch, settings: Augmentation, rng: Randomness, patch: tuple[int, int, int], centres: Tensor | None
) -> Batch:
    """Mirror, rotate, scale, shear, shift and warp; only what the patch shows is computed."""
    count, size = len(batch.images), torch.tensor(_size(batch.images), dtype=torch.float32)
    mirror = 1 - 2 * (rng.uniform(count, 3) < 0.5).float()
    scale = torch.exp(settings.log_scale * rng.normal(count, 1) + 0.4 * settings.log_scale * rng.normal(count, 3))
    rotation = _rotations(rng.uniform(count, 3, low=-settings.rotation_rad, high=settings.rotation_rad))
    matrix = rotation * (mirror * scale)[:, None, :] + 0.25 * settings.log_scale * rng.normal(count, 3, 3)
    limit = settings.shift_mm / settings.spacing_mm
    middle = rng.uniform(count, 3, low=-limit, high=limit) + (0 if centres is None else centres)
    knots = settings.warp_mm / settings.spacing_mm * rng.normal(count, 3, 6, 6, 6)
    # grid_sample counts from -1 to 1 over the whole axis, in the order (columns, rows, slices).
    to_unit = 2 / size
    planes = _interpolated(knots * to_unit[:, None, None, None], patch, rng.device)
    planes += _on(rng.device, middle * to_unit)[:, :, None, None, None]
    for axis, length in enumerate(patch):
        steps = torch.arange(length) - (length - 1) / 2
        line = matrix[:, :, axis, None] * to_unit[:, None] * steps
        planes += _on(rng.device, line).reshape(count, 3, *(length if axis == each else 1 for each in range(3)))
    grid = planes.flip(1).movedim(1, -1)
    images = functional.grid_sample(batch.images.float(), grid, mode="bilinear", align_corners=False)
    depth = functional.grid_sample(batch.depth[:, None].float(), grid, mode="nearest", align_corners=False)
    return Batch(images, depth[:, 0].to(torch.uint8), batch.present)


def _rotations(angles: Tensor) -> Tensor:
    """Rotation matrices (batch, 3, 3) about the three axes, one after the other."""
    cosine, sine = angles.cos(), angles.sin()
    matrix = torch.eye(3).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3).repeat(len(angles), 1, 1)
        turn[:, first, first] = turn[:, second, second] = cosine[:, axis]
        turn[:, first, second], turn[:, second, first] = -sine[:, axis], sine[:, axis]
        matrix = matrix @ turn
    return matrix


def _transplant(batch: Batch, case: int, rng: Randomness) -> None:
    """Give a case the tumour of its neighbour with its surroundings, elsewhere; after CarveMix, arXiv:2108.06883."""
    size = _size(batch.images)
    offset = [rng.whole(-(length // 6), length // 6) for length in size]
    mirrored = [-3 + axis for axis in rng.chosen(0.5, 3)]
    donor = batch.depth[case - 1]
    box = _tumour_box(donor)
    if box is None:
        return
    target = [
        (max(low + by, 0), min(high + by, length)) for (low, high), by, length in zip(box, offset, size, strict=True)
    ]
    if any(high <= low for low, high in target):
        return
    source = tuple(slice(low - by, high - by) for (low, high), by in zip(target, offset, strict=True))
    place = tuple(slice(low, high) for low, high in target)
    depth, images = donor[source].flip(mirrored), batch.images[case - 1][:, *source].flip(mirrored)
    around = functional.max_pool3d((depth > 1)[None].float(), 5, stride=1, padding=2)
    # Padded here: what the image's edge has cut to one or two voxels is too thin for the pooling's own padding.
    carved = functional.avg_pool3d(functional.pad(around, (1,) * 6), 3, stride=1)
    carved *= ((depth > 0) & (batch.depth[case][place] > 0))[None]
    batch.images[case][:, *place] = torch.lerp(batch.images[case][:, *place], images, carved)
    batch.depth[case][place] = torch.where(carved[0] > 0.5, depth, batch.depth[case][place])


def _tumour_box(depth: Tensor, margin: int = 3) -> list[tuple[int, int]] | None:
    """Start and stop of the tumour with a margin, along each axis; None where there is none."""
    tumour = depth > 1
    box = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        where = tumour.amax(others).nonzero().flatten()
        if not len(where):
            return None
        box.append((max(int(where[0]) - margin, 0), min(int(where[-1]) + 1 + margin, depth.shape[axis])))
    return box


def _contrast(images: Tensor, rng: Randomness) -> Tensor:
    """A bent intensity curve, as gamma does, and a bias field; then a jitter of brightness and contrast."""
    count, contrasts = images.shape[:2]
    # Monotonous from -8 to 8.
    bend = (0.04 * rng.normal(count, contrasts)).clamp(-0.06, 0.06)
    scale, shift = torch.exp(0.15 * rng.normal(count, contrasts)), 0.2 * rng.normal(count, contrasts)
    knots = rng.uniform(count, contrasts, 1, 1, 1, high=0.15) * rng.normal(count, contrasts, 3, 3, 3)
    # The bias multiplies raw intensities: it acts on the distance from the scanner's own zero.
    raw = scale[:, :, None, None, None] * (1 + knots)
    changed = _interpolated(raw, _size(images), images.device).mul_(images - ZERO_OF_THE_SCANNER)
    changed.addcmul_(images * _per_image(scale * bend, images), images)
    return changed.add_(_per_image(shift + scale * ZERO_OF_THE_SCANNER, images))


def _resolution(images: Tensor, settings: Augmentation, rng: Randomness) -> None:
    """Thick slices for some images; others smoother or sharper. All along one axis of the batch."""
    size, flat = list(_size(images)), images.flatten(0, 1)
    axis, factor = rng.whole(0, 2), float(rng.uniform(1, low=1.3, high=3.2))
    thick = rng.chosen(settings.coarse, len(flat))
    others = [each for each in rng.chosen(settings.sharpness, len(flat)) if each not in thick]
    chosen = thick + others
    if not chosen:
        return
    amount = torch.cat([torch.ones(len(thick)), rng.uniform(len(others), low=-0.4, high=0.8)])
    coarse = [max(int(length / factor), 4) if index == axis else length for index, length in enumerate(size)]
    index = _on(images.device, torch.tensor(chosen))
    sharp = flat[index]
    blurred = functional.interpolate(sharp[None], size=coarse, mode="area")
    blurred = functional.interpolate(blurred, size=size, mode="trilinear", align_corners=False)[0]
    flat[index] = torch.lerp(sharp, blurred, _on(images.device, amount)[:, None, None, None])


def _add_noise(images: Tensor, probability: float, rng: Randomness) -> None:
    flat = images.flatten(0, 1)
    for chosen in rng.chosen(probability, len(flat)):
        flat[chosen].add_(rng.noise(*_size(images)), alpha=float(rng.uniform(1, high=0.3)))


def _with_shell(images: Tensor, head: Tensor, spacing_mm: float, rng: Randomness) -> tuple[Tensor, Tensor]:
    """Fluid, skull and scalp around a brain; the scaling of the images shifts, as it would with them.

    Args:
        images: (contrasts, slices, rows, columns).
        head: (1, slices, rows, columns); the brain.
        spacing_mm: Of the grid.
        rng: Of the shell.

    Returns:
        The images, and the head with its shell.
    """
    contrasts, thickness = len(images), max(1, round(4 / spacing_mm))
    inner = _dilate(head, thickness)
    outer = _dilate(inner, thickness)
    gap, scalp = rng.uniform(contrasts, low=-3.0, high=1.0), rng.uniform(contrasts, low=-1.0, high=4.0)
    layers = (inner - head) * _per_image(gap, images) + (outer - inner) * _per_image(scalp, images)
    texture = _interpolated(1 + 0.3 * rng.normal(1, contrasts, 12, 12, 12), _size(images), images.device)[0]
    scale, shift = rng.uniform(contrasts, low=0.6, high=1.1), 0.3 * rng.normal(contrasts)
    return (images + layers * texture) * _per_image(scale, images) + _per_image(shift, images), outer


def _dilate(head: Tensor, voxels: int) -> Tensor:
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * voxels + 1, voxels
        head = functional.max_pool3d(head, kernel, stride=1, padding=padding)
    return head


def _drop(present: Tensor, settings: Augmentation, rng: Randomness) -> Tensor:
    kept = torch.ones(present.shape)
    for contrast in settings.droppable:
        kept[rng.chosen(settings.drop, len(kept)), contrast] = 0
    return present * _on(present.device, kept)


def _interpolated(knots: Tensor, size: Sequence[int], device: torch.device) -> Tensor:
    return functional.interpolate(_on(device, knots), size=tuple(size), mode="trilinear", align_corners=True)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return _on(images.device, values)[..., None, None, None]


def _on(device: torch.device, values: Tensor) -> Tensor:
    return values.to(device, non_blocking=True)
