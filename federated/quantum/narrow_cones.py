"""Heisenberg's picture on a CPU, for light cones of up to four wires (the product's have three): compiled loops.

The sums of heisenberg.py, but little is kept between their steps: the 27 terms that three wires bring to a sample are
added up while its sines and cosines are in registers; a fourth wire brings three times as many.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

Tensor = torch.Tensor

WIDEST: Final = 4
_BLOCK_WIRES: Final = 3
"""A cone of fewer wires gets some that do not matter."""
_DTYPES: Final = {torch.float32: np.float32, torch.float64: np.float64}
_SAMPLES: Final = 4096
"""That are worked on at once: what they need stays in the cache."""


def fits(angles: Tensor, cone_width: int) -> bool:
    """Whether the loops are for such a circuit and such a place."""
    return angles.device.type == "cpu" and cone_width <= WIDEST


def expectations(angles: Tensor, coefficients: Tensor, wires: Tensor) -> Tensor:
    """Expectation values of a batch.

    Args:
        angles: (wires, batch), radian.
        coefficients: (cones, observables a cone, 3^width).
        wires: Of each cone; (cones, width).

    Returns:
        (observables, batch).
    """
    from federated.quantum import narrow_cone_loops as loops  # numba is imported with the first circuit

    cones, shared = _cones(coefficients, wires)
    answer = angles.new_empty(len(cones), angles.shape[1])
    place = _array(answer)
    for start in range(0, angles.shape[1], _SAMPLES):
        loops.forward(*_waves(angles, start), cones, shared, place, start)
    return answer


def gradients(upstream: Tensor, angles: Tensor, coefficients: Tensor, wires: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sum(upstream * expectations) by angles and coefficients."""
    from federated.quantum import narrow_cone_loops as loops

    cones, shared = _cones(coefficients, wires)
    by_angles = torch.zeros_like(angles, memory_format=torch.contiguous_format)
    # Thousands of pieces may be added up: in double precision.
    slope, place, by_shared = _array(upstream.contiguous()), _array(by_angles), np.zeros(shared.shape)
    for start in range(0, angles.shape[1], _SAMPLES):
        loops.backward(slope, *_waves(angles, start), cones, shared, place, by_shared, start)
    constants = by_shared.reshape(len(shared), coefficients.shape[2], -1)[..., 0]
    return by_angles, torch.from_numpy(constants).to(coefficients).reshape(coefficients.shape)


def _cones(coefficients: Tensor, wires: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Four wires for each observable, and its coefficients in blocks of 27: the first of four wires, which tells the
    blocks apart, comes last.
    """
    cones, observables, strings = coefficients.shape
    places = np.zeros((cones, observables, WIDEST), np.int64)
    places[..., : wires.shape[1]] = np.roll(_array(wires), -(wires.shape[1] // WIDEST), axis=1)[:, None]
    # Of a wire that does not matter only the constant has a coefficient, the first of three.
    features = max(strings, 3**_BLOCK_WIRES)
    shared = np.zeros((cones * observables, strings, features // strings), _DTYPES[coefficients.dtype])
    shared[..., 0] = _array(coefficients).reshape(-1, strings)
    return places.reshape(-1, WIDEST), shared.reshape(len(shared), -1, 3**_BLOCK_WIRES)


def _waves(angles: Tensor, start: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cosines and sines of some samples, contiguous; torch computes many at once."""
    piece = angles.detach()[:, start : start + _SAMPLES].contiguous()
    return piece.cos().numpy(), piece.sin().numpy()


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().numpy()
