"""The loops of narrow_cones.py, which numba compiles for this processor when they are first called, and keeps.

A cone's wires are a, b, c, and where it has four, d; an angle's features are 1, its cosine and its sine. Coefficients
come in blocks of 27, one for each feature of d, in the order of the features of a, b, c, those of c change fastest. All
arrays are C-contiguous, and the innermost loops run over samples: they use all lanes of a vector.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

# Sums may be reordered; numbers that are not finite stay what they are.
_compiled: Any = njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy", nogil=True, cache=True)


@_compiled
def _on_bc(k, at, u, v, x, y):
    """What stands with a feature of a, given the waves of b and c."""
    on_1 = k[at] + x * k[at + 1] + y * k[at + 2]
    on_u = k[at + 3] + x * k[at + 4] + y * k[at + 5]
    on_v = k[at + 6] + x * k[at + 7] + y * k[at + 8]
    return on_1 + u * on_u + v * on_v


@_compiled
def _on_ac(k, at, p, q, x, y):
    """What stands with a feature of b."""
    on_1 = k[at] + x * k[at + 1] + y * k[at + 2]
    on_p = k[at + 9] + x * k[at + 10] + y * k[at + 11]
    on_q = k[at + 18] + x * k[at + 19] + y * k[at + 20]
    return on_1 + p * on_p + q * on_q


@_compiled
def _on_ab(k, at, p, q, u, v):
    """What stands with a feature of c."""
    on_1 = k[at] + u * k[at + 3] + v * k[at + 6]
    on_p = k[at + 9] + u * k[at + 12] + v * k[at + 15]
    on_q = k[at + 18] + u * k[at + 21] + v * k[at + 24]
    return on_1 + p * on_p + q * on_q


@_compiled
def forward(cosine, sine, cones, shared, answer, start):
    """Expectation values of some samples.

    Args:
        cosine, sine: Of their angles; (wires, samples).
        cones: Each cone's wires a, b, c, d; (cones, 4). Of three wires, d does not matter.
        shared: Its coefficients; (cones, 1 or 3 blocks, 27).
        answer: Where they go, from a column on; (cones, batch).
        start: That column.
    """
    samples = cosine.shape[1]
    weighted = np.empty(samples, cosine.dtype)
    for cone in range(len(cones)):
        found, d = answer[cone, start : start + samples], cones[cone, 3]
        _sums(cosine, sine, cones[cone], shared[cone, 0], found)
        for block in range(1, shared.shape[1]):
            _sums(cosine, sine, cones[cone], shared[cone, block], weighted)
            _weigh(weighted, cosine[d], sine[d], block, weighted)
            for sample in range(samples):
                found[sample] += weighted[sample]


@_compiled
def _sums(cosine, sine, wires, coefficients, found):
    """What a block's coefficients come to."""
    a, b, c = wires[0], wires[1], wires[2]
    k = to_fixed_tuple(coefficients, 27)
    # Rows by themselves: the compiler sees that neighbours are neighbours.
    ps, qs, us, vs, xs, ys = cosine[a], sine[a], cosine[b], sine[b], cosine[c], sine[c]
    for sample in range(len(found)):
        u, v, x, y = us[sample], vs[sample], xs[sample], ys[sample]
        on_p, on_q = _on_bc(k, 9, u, v, x, y), _on_bc(k, 18, u, v, x, y)
        found[sample] = _on_bc(k, 0, u, v, x, y) + ps[sample] * on_p + qs[sample] * on_q


@_compiled
def backward(slope, cosine, sine, cones, shared, by_angles, by_shared, start):
    """Gradients of sum(slope * answer). A cosine changes by the negative sine, a sine by the cosine.

    Args:
        slope: (cones, batch).
        cosine, sine, cones, shared, start: As forward has them.
        by_angles: What is added to; (wires, batch).
        by_shared: What is added to; float64 (cones, blocks, 27).
    """
    samples = cosine.shape[1]
    weighted, sums = np.empty(samples, cosine.dtype), np.empty(samples, cosine.dtype)
    first, both = np.empty(samples, cosine.dtype), np.empty(samples, cosine.dtype)
    for cone in range(len(cones)):
        wires, slopes = cones[cone], slope[cone, start : start + samples]
        d = wires[3]
        by_d = by_angles[d, start : start + samples]
        for block in range(shared.shape[1]):
            if block == 0:
                _by_waves(slopes, cosine, sine, wires, shared[cone, 0], by_angles, start)
                _by_coefficients(slopes, cosine, sine, wires, by_shared[cone, 0], first, both)
                continue
            _weigh(slopes, cosine[d], sine[d], block, weighted)
            _by_waves(weighted, cosine, sine, wires, shared[cone, block], by_angles, start)
            _by_coefficients(weighted, cosine, sine, wires, by_shared[cone, block], first, both)
            _sums(cosine, sine, wires, shared[cone, block], sums)
            change, sign = (sine[d], -1) if block == 1 else (cosine[d], 1)
            for sample in range(samples):
                by_d[sample] += sign * slopes[sample] * change[sample] * sums[sample]


@_compiled
def _by_waves(slopes, cosine, sine, wires, coefficients, by_angles, start):
    """Add a block's gradients by the angles of a, b and c."""
    samples = len(slopes)
    a, b, c = wires[0], wires[1], wires[2]
    k = to_fixed_tuple(coefficients, 27)
    ps, qs, us, vs, xs, ys = cosine[a], sine[a], cosine[b], sine[b], cosine[c], sine[c]
    by_a, by_b, by_c = (
        by_angles[a, start : start + samples],
        by_angles[b, start : start + samples],
        by_angles[c, start : start + samples],
    )
    for sample in range(samples):
        p, q, u, v, x, y = ps[sample], qs[sample], us[sample], vs[sample], xs[sample], ys[sample]
        g = slopes[sample]
        by_a[sample] += g * (p * _on_bc(k, 18, u, v, x, y) - q * _on_bc(k, 9, u, v, x, y))
        by_b[sample] += g * (u * _on_ac(k, 6, p, q, x, y) - v * _on_ac(k, 3, p, q, x, y))
        by_c[sample] += g * (x * _on_ab(k, 2, p, q, u, v) - y * _on_ab(k, 1, p, q, u, v))


@_compiled
def _by_coefficients(slopes, cosine, sine, wires, by_shared, first, both):
    """Add a block's gradients by its coefficients; `first` and `both` are for numbers in between."""
    a, b, c = wires[0], wires[1], wires[2]
    for of_a in range(3):
        _weigh(slopes, cosine[a], sine[a], of_a, first)
        for of_b in range(3):
            _weigh(first, cosine[b], sine[b], of_b, both)
            at = 9 * of_a + 3 * of_b
            _add_up(both, cosine[c], sine[c], by_shared[at : at + 3])


@_compiled
def _weigh(slopes, cosine, sine, feature, weighted):
    """Slopes times one of an angle's features."""
    if feature == 0:
        for sample in range(len(slopes)):
            weighted[sample] = slopes[sample]
    elif feature == 1:
        for sample in range(len(slopes)):
            weighted[sample] = slopes[sample] * cosine[sample]
    else:
        for sample in range(len(slopes)):
            weighted[sample] = slopes[sample] * sine[sample]


@_compiled
def _add_up(weighted, cosine, sine, sums):
    """Add the sums with each of an angle's features."""
    on_1 = on_x = on_y = weighted.dtype.type(0)
    for sample in range(len(weighted)):
        on_1 += weighted[sample]
        on_x += weighted[sample] * cosine[sample]
        on_y += weighted[sample] * sine[sample]
    sums[0] += on_1
    sums[1] += on_x
    sums[2] += on_y
