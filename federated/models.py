"""The model family, from one configuration: the hybrid network, its controls, and two classical baselines.

Every network maps float32 (batch, in_channels, slices, rows, columns) to logits (batch, regions, slices, rows, columns)
of whole tumour, tumour core and enhancing tumour.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

import torch

from federated.errors import NetworkConfigError
from federated.hybrid import HybridNet
from federated.quantum.slot import Kind, SlotConfig

REGIONS: Final = 3


@dataclass(frozen=True)
class HybridConfig:
    """The hybrid network or one of its controls; part of the model version.

    Attributes:
        in_channels: Contrasts and their flags.
        filters: Channels at half resolution and at each level below.
        detail: Channels at full resolution, before the head.
        neck: What sits on the deepest features; None for nothing at all.
        head: What answers voxel by voxel at full resolution; None for a plain projection.
    """

    in_channels: int = 8
    filters: tuple[int, ...] = (24, 48, 96)
    detail: int = 8
    neck: SlotConfig | None = field(default_factory=SlotConfig)
    head: SlotConfig | None = field(default_factory=lambda: SlotConfig(wires=4))

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of it."""
        return int(2 ** len(self.filters))


@dataclass(frozen=True)
class UNetConfig:
    """MONAI's residual 3D U-Net with instance norm, the strong classical baseline."""

    in_channels: int = 8
    filters: tuple[int, ...] = (16, 32, 64, 128)
    res_units: int = 2

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of it."""
        return int(2 ** (len(self.filters) - 1))


@dataclass(frozen=True)
class SegResNetConfig:
    """MONAI's SegResNet after Myronenko (2018), arXiv:1810.11654, with instance norm."""

    in_channels: int = 8
    init_filters: int = 16
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of it."""
        return int(2 ** (len(self.blocks_down) - 1))


NetworkConfig = HybridConfig | UNetConfig | SegResNetConfig


def _hybrid(kind: Kind) -> HybridConfig:
    return HybridConfig(neck=SlotConfig(kind), head=SlotConfig(kind, wires=4))


ARMS: Final[Mapping[str, NetworkConfig]] = {
    "hybrid": _hybrid("quantum"),
    "hybrid-neck": replace(_hybrid("quantum"), head=SlotConfig("identity", wires=4)),
    "hybrid-head": replace(_hybrid("quantum"), neck=SlotConfig("identity")),
    "no-entangler": _hybrid("no-entangler"),
    "frozen": _hybrid("frozen"),
    "mlp": _hybrid("mlp"),
    "wide-mlp": _hybrid("wide-mlp"),
    "identity": _hybrid("identity"),
    "unet": UNetConfig(),
    "segresnet": SegResNetConfig(),
}
"""By name: the hybrid, its ablations and controls, and the baselines."""


def build_network(config: NetworkConfig) -> torch.nn.Module:
    """Build a network with fresh weights.

    Raises:
        NetworkConfigError: A number is out of range.
    """
    _check(config)
    if isinstance(config, HybridConfig):
        return HybridNet(config.in_channels, REGIONS, config.filters, config.detail, config.neck, config.head)
    # Imported by whoever needs a baseline: MONAI takes longer to import than everything else together.
    if isinstance(config, UNetConfig):
        from monai.networks.nets.unet import UNet

        return UNet(
            3,
            config.in_channels,
            REGIONS,
            config.filters,
            (2,) * (len(config.filters) - 1),
            num_res_units=config.res_units,
            norm=("INSTANCE", {"affine": True}),
        )
    from monai.networks.nets.segresnet import SegResNet

    return SegResNet(
        3,
        config.init_filters,
        config.in_channels,
        REGIONS,
        norm=("INSTANCE", {"affine": True}),
        blocks_down=config.blocks_down,
        blocks_up=config.blocks_up,
    )


def _check(config: NetworkConfig) -> None:
    for name, value in asdict(config).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(1 <= number <= 1024 for number in numbers if isinstance(number, int)) or numbers == ():
            raise NetworkConfigError(f"{type(config).__name__}: expected {name} from 1 to 1024, got {value!r}.")


_ARCHITECTURES: Final[Mapping[str, type[HybridConfig] | type[UNetConfig] | type[SegResNetConfig]]] = {
    "hybrid": HybridConfig,
    "unet": UNetConfig,
    "segresnet": SegResNetConfig,
}


def describe_network(config: NetworkConfig) -> dict[str, Any]:
    """A configuration as JSON, with its architecture's name."""
    name = next(name for name, cls in _ARCHITECTURES.items() if isinstance(config, cls))
    return {"architecture": name, **{key: _plain(value) for key, value in asdict(config).items()}}


def parse_network(card: Mapping[str, Any]) -> NetworkConfig:
    """The configuration that describe_network wrote.

    Raises:
        NetworkConfigError: The architecture is unknown, or a field is missing, unknown or of the wrong kind.
    """
    cls = _ARCHITECTURES.get(str(card.get("architecture")))
    if cls is None:
        raise NetworkConfigError(
            f"Expected an architecture of {', '.join(_ARCHITECTURES)}, got {card.get('architecture')!r}."
        )
    names = {each.name for each in fields(cls)}
    if set(card) - {"architecture"} != names:
        raise NetworkConfigError(f"{cls.__name__}: expected the fields {sorted(names)}, got {sorted(card)}.")
    try:
        return cls(**{name: _parse(name, card[name]) for name in names})
    except (TypeError, ValueError) as fault:
        raise NetworkConfigError(f"{cls.__name__}: {fault}.") from fault


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parse(name: str, value: Any) -> Any:
    if name in {"neck", "head"}:
        return None if value is None else SlotConfig(**value)
    if isinstance(value, list):
        return tuple(int(number) for number in value)
    return int(value)
