"""What a federated strategy adds to a site's training: which weights learn, what pulls them, what is corrected."""

import hashlib
from collections.abc import Collection, Mapping

import torch
from safetensors.torch import save

Tensor = torch.Tensor


class Guide:
    """Changes gradients between the backward pass and the optimiser's step; without arguments it changes nothing.

    Corrections and pulls are added after the gradient's norm is clipped, so that clipping does not bend them.
    """

    def __init__(
        self,
        *,
        learns: Collection[str] | None = None,
        pull: float = 0.0,
        towards: Mapping[str, Tensor] | None = None,
        correction: Mapping[str, Tensor] | None = None,
        done: int = 0,
        of: int | None = None,
    ) -> None:
        """Guide one training.

        Args:
            learns: Names of the weights that learn; None for all that can.
            pull: mu of the term mu/2 |w - towards|^2; Li et al. (2020), arXiv:1812.06127.
            towards: Where the pull goes; by name, float32.
            correction: Added to each gradient, by name, float32, as SCAFFOLD does; the gradients before it are then
                summed up for mean_gradient.
            done: Steps of the whole run, of which this training is a part, before it; for the learning rate.
            of: Steps of the whole run; None where this training is the whole.
        """
        self.learns = None if learns is None else frozenset(learns)
        self._pull, self._towards = pull, dict(towards or {}) if pull else {}
        self._correction = dict(correction) if correction is not None else None
        self._done, self._of = done, of
        self._sum: dict[str, Tensor] = {}

    def may_learn(self, name: str) -> bool:
        """Whether the weight of that name learns."""
        return self.learns is None or name in self.learns

    def place(self, step: int, steps: int) -> tuple[int, int]:
        """Where the step of this training stands in the whole run: steps before it, and steps in all."""
        return self._done + step, self._of or steps

    def adjust(self, weights: Mapping[str, torch.nn.Parameter]) -> None:
        """Change the gradients of these weights in place."""
        with torch.no_grad():
            for name, weight in weights.items():
                if weight.grad is None:
                    continue
                if self._correction is not None:
                    self._sum[name] = self._sum[name].add_(weight.grad) if name in self._sum else weight.grad.clone()
                    weight.grad.add_(self._on(weight, self._correction, name))
                if name in self._towards:
                    weight.grad.add_(weight - self._on(weight, self._towards, name), alpha=self._pull)

    def mean_gradient(self, steps: int) -> dict[str, Tensor]:
        """Mean of the gradients before their correction, float32 on the CPU; only of a training with a correction.

        Where the optimiser is plain gradient descent, this is option II of SCAFFOLD's control variate,
        c_i - c + (x - y) / (K eta); unlike that expression it also holds for Adam and for a changing learning rate.
        """
        return {name: (total.float() / steps).cpu().contiguous() for name, total in self._sum.items()}

    def tensors(self) -> Mapping[str, Tensor]:
        """What a checkpoint must hold of it."""
        return self._sum

    def restore(self, tensors: Mapping[str, Tensor], weights: Mapping[str, torch.nn.Parameter]) -> None:
        """Go on from what tensors gave; in the memory layout of the weights, so that sums round alike."""
        self._sum = {name: torch.empty_like(weights[name]).copy_(total).detach() for name, total in tensors.items()}

    def describe(self) -> dict[str, object]:
        """What decides how it changes a training, as JSON; empty where it changes nothing."""
        found: dict[str, object] = {}
        if self.learns is not None:
            found["learns"] = sorted(self.learns)
        if self._of is not None or self._done:
            found["place"] = [self._done, self._of]
        if self._towards:
            found["pull"] = [self._pull, _digest(self._towards)]
        if self._correction is not None:
            found["correction"] = _digest(self._correction)
        return found

    @staticmethod
    def _on(weight: torch.nn.Parameter, tensors: dict[str, Tensor], name: str) -> Tensor:
        """The tensor on the weight's device; moved there once."""
        if tensors[name].device != weight.device:
            tensors[name] = tensors[name].to(weight.device)
        return tensors[name]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(save({name: each.cpu().contiguous() for name, each in sorted(tensors.items())})).hexdigest()
