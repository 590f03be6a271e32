"""The hybrid network: a compact residual encoder-decoder with a quantum neck and a voxel-wise quantum head."""

from itertools import pairwise

import torch
from torch.nn import functional

from federated.quantum.slot import Slot, SlotConfig

Tensor = torch.Tensor


class HybridNet(torch.nn.Module):
    """Maps (batch, in_channels, slices, rows, columns) to logits (batch, regions, ...); sizes are multiples of stride.

    The convolutions work from half resolution downwards; the head joins their features with the raw contrasts at full
    resolution, where thin rims are decided voxel by voxel.
    """

    def __init__(
        self,
        in_channels: int,
        regions: int,
        filters: tuple[int, ...],
        detail: int,
        neck: SlotConfig | None,
        head: SlotConfig | None,
    ) -> None:
        super().__init__()
        sizes = [in_channels, *filters]
        self.down = torch.nn.ModuleList(
            torch.nn.Sequential(_convolution(narrow, wide, stride=2), Residual(wide))
            for narrow, wide in pairwise(sizes)
        )
        self.neck = Bottleneck(filters[-1], neck) if neck else torch.nn.Identity()
        self.up = torch.nn.ModuleList(
            torch.nn.Sequential(_convolution(wide + narrow, narrow), Residual(narrow))
            for narrow, wide in zip(filters[-2::-1], filters[:0:-1], strict=True)
        )
        self.detail = torch.nn.Conv3d(in_channels, detail, 3, padding=1, bias=False)
        self.coarse = torch.nn.Conv3d(filters[0], detail, 1)
        self.mix = torch.nn.Sequential(_norm(detail), torch.nn.LeakyReLU(0.01), torch.nn.Conv3d(detail, detail, 1))
        self.head = VoxelHead(detail, head, regions)

    def forward(self, channels: Tensor) -> Tensor:
        """Logits at full resolution."""
        skips = []
        features = channels
        for level in self.down:
            features = level(features)
            skips.append(features)
        features = self.neck(features)
        for level, skip in zip(self.up, skips[-2::-1], strict=True):
            features = level(torch.cat([_double(features), skip], dim=1))
        logits: Tensor = self.head(self.mix(_double(self.coarse(features)) + self.detail(channels)))
        return logits


class Residual(torch.nn.Module):
    """x + f(x), two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            _convolution(channels, channels),
            torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Apply."""
        return functional.leaky_relu(features + self.body(features), 0.01)


class Bottleneck(torch.nn.Module):
    """A slot on the deepest features, added to them."""

    def __init__(self, channels: int, slot: SlotConfig) -> None:
        super().__init__()
        self.inward = torch.nn.Conv3d(channels, slot.wires, 1)
        self.slot = Slot(slot)
        self.outward = torch.nn.Conv3d(slot.wires, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Apply."""
        angles = self.inward(features).movedim(1, -1)
        added: Tensor = self.outward(self.slot(angles).movedim(-1, 1))
        return features + added


class VoxelHead(torch.nn.Module):
    """Projection, slot and projection, the same at every voxel."""

    def __init__(self, channels: int, slot: SlotConfig | None, regions: int) -> None:
        super().__init__()
        self.inward = torch.nn.Conv3d(channels, slot.wires, 1) if slot else torch.nn.Identity()
        self.slot = Slot(slot) if slot else torch.nn.Identity()
        self.outward = torch.nn.Conv3d(slot.wires if slot else channels, regions, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.outward(self.slot(self.inward(features).movedim(1, -1)).movedim(-1, 1))
        return logits


def _convolution(inward: int, outward: int, stride: int = 1) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv3d(inward, outward, 3, stride, padding=1, bias=False), _norm(outward), torch.nn.LeakyReLU(0.01)
    )


def _norm(channels: int) -> torch.nn.Module:
    return torch.nn.InstanceNorm3d(channels, affine=True)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)
