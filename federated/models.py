"""The network: a small SegResNet after Myronenko (2018), arXiv:1810.11654, as MONAI builds it."""

from dataclasses import dataclass

import torch
from monai.networks.nets.segresnet import SegResNet
from monai.networks.utils import pixelshuffle, pixelunshuffle


@dataclass(frozen=True)
class NetworkConfig:
    """What the network looks like; part of the model version.

    Attributes:
        in_channels: Contrasts and their flags.
        regions: Logits: whole tumour, tumour core, enhancing tumour.
        fold: So many neighbours along each axis become channels before the first layer, and logits unfold again behind
            the last: a processor handles many channels on few voxels several times faster than the reverse.
        init_filters: Feature channels at the first level; they double at each level.
        blocks_down, blocks_up: Residual blocks at each level, down and back up.
        norm_groups: Of the group normalisation.
    """

    in_channels: int = 8
    regions: int = 3
    fold: int = 2
    init_filters: int = 16
    blocks_down: tuple[int, ...] = (1, 2, 2)
    blocks_up: tuple[int, ...] = (1, 1)
    norm_groups: int = 8

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of it."""
        return int(self.fold * 2 ** (len(self.blocks_down) - 1))


class _Folded(torch.nn.Module):
    """A network that sees fold^3 neighbouring voxels as channels of one (space to depth)."""

    def __init__(self, network: torch.nn.Module, fold: int) -> None:
        super().__init__()
        self._network = network
        self._fold = fold

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Fold, apply, unfold; the spatial shape stays."""
        logits = self._network(pixelunshuffle(channels, spatial_dims=3, scale_factor=self._fold))
        unfolded: torch.Tensor = pixelshuffle(logits, spatial_dims=3, scale_factor=self._fold)
        return unfolded


def build_network(config: NetworkConfig) -> torch.nn.Module:
    """Build the network with fresh weights.

    Returns:
        Maps float32 (batch, in_channels, slices, rows, columns) to logits (batch, regions, slices, rows, columns).
    """
    voxels = config.fold**3
    network = SegResNet(
        spatial_dims=3,
        init_filters=config.init_filters,
        in_channels=config.in_channels * voxels,
        out_channels=config.regions * voxels,
        norm=("GROUP", {"num_groups": config.norm_groups}),
        blocks_down=config.blocks_down,
        blocks_up=config.blocks_up,
    )
    return _Folded(network, config.fold)
