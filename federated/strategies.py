"""What the coordinator does with the mean of the updates, and what it tells a site: one state, one step a round.

FedAvg and FedProx (arXiv:1602.05629, 1812.06127) add the mean update to the weights; FedProx's pull is the sites' work.
SCAFFOLD (arXiv:1910.06378) also keeps a control variate: an update is [change of the weights, change of the control].
FedAdam (arXiv:2003.00295) takes the mean update for a gradient. With FedBN (arXiv:2102.07623) the weights of the norms
stay with each site; with Ditto (arXiv:2012.04221) each site trains a model of its own beside FedAvg's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.errors import FederationError, NetworkConfigError, RoundRecordError, UpdateError
from federated.rounds.layout import Layout, Vector, Weights, read_weights, write_weights
from federated.rounds.terms import Learning, RoundTerms, Trainable
from federated.rounds.wire import pack, unpack

if TYPE_CHECKING:
    import torch

    from federated.models import NetworkConfig

FIRST_DECAY: Final = 0.9
SECOND_DECAY: Final = 0.99
ADAPTIVITY: Final = 1e-3
"""beta_1, beta_2 and tau of FedAdam, as Reddi et al. (2021) have them; v starts at tau squared."""
MAX_STATE_BYTES: Final = 1 << 31
_HEADS: Final = {"HybridConfig": "head.", "UNetConfig": "model.2.", "SegResNetConfig": "conv_final."}
"""What stands before the names of a network's last layers."""


@dataclass(frozen=True, eq=False)
class ServerState:
    """Everything that the coordinator carries from one round to the next.

    Attributes:
        weights: Of the global model, float32, all of them.
        names: Of the weights that sites share, sorted.
        round: Rounds that are finished.
        first, second: FedAdam's moments, (size,); empty for other strategies.
        control: SCAFFOLD's control variate, (size,); empty for other strategies.
        counted: By site, the last round whose mean holds its update.
    """

    weights: Weights
    names: tuple[str, ...]
    round: int = 0
    first: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    second: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    control: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    counted: Mapping[str, int] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Of the change of the weights."""
        return Layout.of(self.weights, self.names)

    def to_bytes(self) -> bytes:
        """The state as JSON and safetensors; the same state gives the same bytes."""
        own = {"first": self.first, "second": self.second, "control": self.control}
        return pack(
            {"names": list(self.names), "round": self.round, "counted": dict(sorted(self.counted.items()))},
            {"weights": write_weights(self.weights), "own": write_weights(own)},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "ServerState":
        """What to_bytes wrote.

        Raises:
            RoundRecordError: It is damaged.
        """
        try:
            header, pieces = unpack(data, limit=MAX_STATE_BYTES)
            counted = {str(site): int(number) for site, number in header["counted"].items()}
            state = cls(
                read_weights(bytes(pieces["weights"])),
                tuple(str(name) for name in header["names"]),
                int(header["round"]),
                **read_weights(bytes(pieces["own"])),
                counted=counted,
            )
            _ = state.layout
        except (FederationError, KeyError, TypeError, ValueError, AttributeError) as fault:
            raise RoundRecordError(
                f"The coordinator's stored state is damaged ({type(fault).__name__}); go on from an earlier round."
            ) from fault
        return state


def start_state(weights: Weights, names: Sequence[str], learning: Learning) -> ServerState:
    """The state before the first round.

    Args:
        weights: To start from: fresh ones, or a released model's.
        names: Of shared_names.
        learning: Of the terms.
    """
    state = ServerState(weights, tuple(sorted(names)))
    size = state.layout.size
    if learning.strategy == "fedadam":
        second = np.full(size, ADAPTIVITY**2, np.float32)
        return replace(state, first=np.zeros(size, np.float32), second=second)
    if learning.strategy == "scaffold":
        return replace(state, control=np.zeros(size, np.float32))
    return state


def advance(state: ServerState, terms: RoundTerms, mean: Vector, sites: Sequence[str]) -> ServerState:
    """The state after a round.

    Args:
        state: Before it.
        terms: Of the round.
        mean: Of the sites' updates, float32 (update_size,).
        sites: Whose updates it holds.

    Raises:
        UpdateError: The mean is of another size, or not finite.
    """
    layout, learning = state.layout, terms.learning
    expected = update_size(layout, learning)
    if mean.shape != (expected,) or not np.isfinite(mean).all():
        raise UpdateError(f"Expected a mean update of {expected} finite numbers, got {mean.shape}.")
    change, rest = mean[: layout.size].astype(np.float64), mean[layout.size :]
    counted = {**state.counted, **dict.fromkeys(sites, terms.round)}
    state = replace(state, round=terms.round, counted=counted)
    if learning.strategy == "fedadam":
        first = FIRST_DECAY * state.first + (1 - FIRST_DECAY) * change
        second = SECOND_DECAY * state.second + (1 - SECOND_DECAY) * change**2
        state = replace(state, first=first.astype(np.float32), second=second.astype(np.float32))
        change = first / (np.sqrt(second) + ADAPTIVITY)
    if learning.strategy == "scaffold":
        # |S| / N of those that ever took part: only their control variates are in the mean of all.
        share = len(set(sites)) / len({*counted, *terms.participants})
        state = replace(state, control=(state.control + share * rest.astype(np.float64)).astype(np.float32))
    moved = layout.flatten(state.weights) + learning.server_rate * change
    return replace(state, weights={**state.weights, **layout.split(moved.astype(np.float32))})


def update_size(layout: Layout, learning: Learning) -> int:
    """Numbers in a site's update."""
    return layout.size * (2 if learning.strategy == "scaffold" else 1)


def extras(state: ServerState, terms: RoundTerms, site: str) -> dict[str, bytes]:
    """What a site needs with the weights to train: pieces of the TRAIN request, for local_work.do_work.

    Returns:
        "counted", the last round whose mean holds the site's update, so that it takes back what was lost on the way;
        for SCAFFOLD also "control", float32, little-endian.
    """
    found = {"counted": str(state.counted.get(site, 0)).encode()}
    if terms.learning.strategy == "scaffold":
        found["control"] = state.control.astype("<f4").tobytes()
    return found


def site_weight(terms: RoundTerms, examples: int) -> int:
    """What a site's update counts for in the mean: its cases, up to the terms' most, or 1."""
    return min(examples, terms.aggregation.most_cases) if terms.aggregation.weighting == "examples" else 1


def late_weight(weight: float, rounds_late: int) -> float:
    """What an update counts for that comes rounds late, where the terms merge it: polynomial staleness, alpha = 1/2.

    References:
        Xie, Koyejo and Gupta (2019), arXiv:1903.03934.
    """
    return weight / float(np.sqrt(1 + rounds_late))


def shared_names(network: "NetworkConfig", learning: Learning) -> tuple[str, ...]:
    """Names of the weights whose change leaves a site, sorted: those that learn, with FedBN without those of the norms.

    Raises:
        NetworkConfigError: Nothing would be shared.
    """
    names = trained_names(network, learning.trainable)
    if learning.strategy == "fedbn":
        norms = norm_names(network)
        names = tuple(name for name in names if name not in norms)
    if not names:
        raise NetworkConfigError("Expected weights that sites share, the network has none of that kind.")
    return names


def trained_names(network: "NetworkConfig", trainable: Trainable) -> tuple[str, ...]:
    """Names of the weights that learn at a site, sorted."""
    start = _HEADS[type(network).__name__] if trainable == "head" else ""
    weights = _skeleton(network).named_parameters()
    return tuple(sorted(name for name, weight in weights if weight.requires_grad and name.startswith(start)))


def norm_names(network: "NetworkConfig") -> frozenset[str]:
    """Names of the norms' scales and shifts."""
    from torch.nn import GroupNorm
    from torch.nn.modules.batchnorm import _NormBase

    return frozenset(
        f"{place}.{name}"
        for place, module in _skeleton(network).named_modules()
        if isinstance(module, _NormBase | GroupNorm)
        for name, _ in module.named_parameters(recurse=False)
    )


def _skeleton(network: "NetworkConfig") -> "torch.nn.Module":
    """The network for its names; nobody else's random numbers are drawn."""
    import torch

    from federated.models import build_network

    with torch.random.fork_rng(devices=[]):
        return build_network(network)
