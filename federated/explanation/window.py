"""A network looked at around one lesion: the same answer as on the whole head, for a fraction of the work.

An instance norm divides by the statistics of what it is given, so a network that is given a part of a head answers
otherwise. Here the norms keep the statistics that they had on the whole head; what remains of the difference comes from
the window's border, and `Window.answer_whole_head` lets anybody see how large it is. A perturbation inside the window
does not move the statistics either; on the whole head it would, slightly.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from federated.decision import decide
from federated.inference import run_network
from federated.model_file import Model
from federated.models import build_network
from federated.preprocessing import ModelInput
from federated.resampling import Grid, translation

Tensor = torch.Tensor
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]

MARGIN_MM: Final = 16.0
"""Of tissue around the lesion that the network is shown."""
BALL_MM: Final = 8.0
"""Where nothing is outlined, a ball of this radius is explained, around the place that the model holds most likely."""
SMOOTH_MM: Final = 4.0
"""What is likely by one voxel alone does not count."""


@dataclass(frozen=True, eq=False)
class Window:
    """One lesion, and the network that looks at it.

    Attributes:
        network: With its norms held fixed; maps (1, channels, ...) to logits.
        channels: float32 (channels, slices, rows, columns), the window's part of the model's input.
        contrasts: How many of the channels are images; the rest are flags.
        region: bool (slices, rows, columns): the lesion, whose mean logit of whole tumour is what is explained.
        head: bool, same shape.
        box: Where the window lies on the model's grid.
        grid: Of the window.
        temperature: The logits of whole tumour are divided by it.
        outlined: Whether the model outlined anything; if not, the region is where it came nearest to it.
        share: Of the outlined tumour that the region holds; the rest is in other pieces.
        answer_whole_head: The answer with the whole head in view, to compare `answer` with.
    """

    network: torch.nn.Module
    channels: Tensor
    contrasts: int
    region: Tensor
    head: Mask
    box: Box
    grid: Grid
    temperature: float
    outlined: bool
    share: float
    answer_whole_head: float

    def answer(self, images: Tensor) -> Tensor:
        """The mean calibrated logit of whole tumour over the region.

        Args:
            images: float32 (batch, contrasts, slices, rows, columns) instead of the window's own; flags stay.

        Returns:
            (batch,).
        """
        flags = self.channels[None, self.contrasts :].expand(len(images), -1, -1, -1, -1)
        logits = self.network(torch.cat([images, flags], dim=1))[:, 0]
        means: Tensor = logits[:, self.region].mean(dim=1) / self.temperature
        return means

    @property
    def images(self) -> Tensor:
        """float32 (contrasts, slices, rows, columns)."""
        return self.channels[: self.contrasts]


def trained_network(model: Model, weights: Mapping[str, Tensor] | None = None) -> torch.nn.Module:
    """The model's network, ready to answer; with other weights where they are given."""
    network = build_network(model.network)
    network.load_state_dict({name: tensor.float() for name, tensor in (weights or model.weights).items()})
    return network.eval().requires_grad_(requires_grad=False)


def open_window(
    model: Model, network: torch.nn.Module, model_input: ModelInput, *, margin_mm: float = MARGIN_MM
) -> Window:
    """Find the largest piece that the network outlines, and look at it.

    Args:
        model: For its decision.
        network: Of that model.
        model_input: The whole head.
        margin_mm: Of tissue around the piece; the more, the nearer `answer` comes to that of the whole head.
    """
    channels = torch.from_numpy(model_input.channels)
    with torch.inference_mode():
        logits = run_network(network, channels, model.network.stride)
    temperatures = torch.tensor(model.decision.temperatures)[:, None, None, None]
    probabilities = (logits / temperatures).sigmoid().numpy() * model_input.head
    voxel_ml = float(np.prod(model_input.grid.spacing_mm)) / 1000
    labels = decide(probabilities, voxel_ml, model.decision)
    region, share = _largest(labels > 0)
    outlined = bool(region.any())
    if not outlined:
        region = _likeliest(probabilities[0], model_input.head, model_input.grid.spacing_mm)
    box = _box(region, round(margin_mm / float(model_input.grid.spacing_mm.min())), model.network.stride)
    starts = [part.start for part in box]
    temperature = float(model.decision.temperatures[0])
    return Window(
        network=hold_norms(network, channels, model.network.stride),
        channels=channels[(slice(None), *box)].contiguous(),
        contrasts=len(channels) // 2,
        region=torch.from_numpy(region[box].copy()),
        head=model_input.head[box],
        box=box,
        grid=Grid(
            (box[0].stop - starts[0], box[1].stop - starts[1], box[2].stop - starts[2]),
            model_input.grid.affine_lps @ translation(starts),
        ),
        temperature=temperature,
        outlined=outlined,
        share=share,
        answer_whole_head=float(logits[0][torch.from_numpy(region)].mean()) / temperature,
    )


def with_network(window: Window, network: torch.nn.Module, model_input: ModelInput, stride: int) -> Window:
    """The same window, looked at by another network of that shape."""
    return replace(window, network=hold_norms(network, torch.from_numpy(model_input.channels), stride))


def hold_norms(network: torch.nn.Module, channels: Tensor, stride: int) -> torch.nn.Module:
    """A copy of a network whose instance norms keep the statistics that they have on this input.

    Args:
        network: Stays as it is.
        channels: (channels, slices, rows, columns), the whole head.
        stride: See federated.inference.run_network.
    """
    copy = deepcopy(network)
    names = [name for name, module in copy.named_modules() if isinstance(module, torch.nn.InstanceNorm3d)]
    moments = {name: _Moments() for name in names}
    hooks = [copy.get_submodule(name).register_forward_pre_hook(moments[name]) for name in names]
    with torch.inference_mode():
        run_network(copy, channels, stride)
    for hook in hooks:
        hook.remove()
    for name in names:
        parent, _, own = name.rpartition(".")
        norm = copy.get_submodule(name)
        setattr(copy.get_submodule(parent), own, moments[name].held(norm))
    return copy.eval()


class HeldNorm(torch.nn.Module):
    """x times scale plus shift, for each channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, features: Tensor) -> Tensor:
        """Apply."""
        return features * self.scale + self.shift


class _Moments:
    """Mean and variance of what a norm was given, over all the windows that it saw."""

    def __init__(self) -> None:
        self._sum: Tensor = torch.zeros(())
        self._squares: Tensor = torch.zeros(())
        self._count = 0

    def __call__(self, _module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        features = given[0].detach().double()
        self._sum = self._sum + features.sum(dim=(0, 2, 3, 4))
        self._squares = self._squares + features.square().sum(dim=(0, 2, 3, 4))
        self._count += features.numel() // features.shape[1]

    def held(self, norm: torch.nn.Module) -> HeldNorm:
        mean = self._sum / self._count
        variance = (self._squares / self._count - mean.square()).clamp(min=0)
        if not isinstance(norm, torch.nn.InstanceNorm3d):
            raise TypeError("Only instance norms are held.")
        scale = (variance + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach().double()
        shift = -mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias.detach().double()
        return HeldNorm(
            scale.float()[None, :, None, None, None].clone(), shift.float()[None, :, None, None, None].clone()
        )


def _largest(mask: Mask) -> tuple[Mask, float]:
    """The largest connected piece, and its share of the whole."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if not count:
        return mask, 0.0
    sizes = np.bincount(pieces.ravel())[1:]
    return pieces == int(sizes.argmax()) + 1, float(sizes.max() / sizes.sum())


def _likeliest(probability: npt.NDArray[np.float32], head: Mask, spacing_mm: npt.NDArray[np.float64]) -> Mask:
    """A ball around the place in the head where the smoothed probability is highest."""
    smooth = np.where(head, ndimage.gaussian_filter(probability, SMOOTH_MM / spacing_mm), -1.0)
    centre = np.unravel_index(int(smooth.argmax()), smooth.shape)
    squares_mm2 = [
        ((np.arange(length) - at) * step) ** 2 for length, at, step in zip(head.shape, centre, spacing_mm, strict=True)
    ]
    distance_mm2 = squares_mm2[0][:, None, None] + squares_mm2[1][:, None] + squares_mm2[2]
    ball: Mask = distance_mm2 <= BALL_MM**2
    return ball & head


def _box(region: Mask, margin: int, stride: int) -> Box:
    """The region's box with a margin, its corners on multiples of the stride, so that pooling falls as on the head."""
    found = np.argwhere(region)
    low = np.maximum(found.min(axis=0) - margin, 0) // stride * stride
    high = np.minimum(-(-(found.max(axis=0) + 1 + margin) // stride) * stride, region.shape)
    slices, rows, columns = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return slices, rows, columns
