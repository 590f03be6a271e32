"""Whether the contrasts of a stripped brain are what their names say: fluid, oedema and enhancement tell."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from federated.ports import Image

Mask = npt.NDArray[np.bool_]

_STRIPPED = 0.2
"""Share of exact zeros from which on a volume is taken for a stripped brain."""
_FLUID_PERCENTILE = 98
_MIN_VOXELS = 30
_MARGIN = 0.5
"""In robust standard deviations; six TCGA gliomas and the phantoms stay within it."""
_LEAST_FLUID = 0.02
"""Share of what is brightest on T2 that is dark on FLAIR."""
_BRIGHTER = (
    ("FLAIR", "T1", 2, "oedema"),
    ("FLAIR", "T1ce", 2, "oedema"),
    ("T1ce", "T1", 3, "enhancing tumour"),
)


def contrast_order_fault(images: Mapping[str, Image], labels: npt.NDArray[np.uint8] | None = None) -> str | None:
    """Say what contradicts the names of a stripped brain's contrasts; None when nothing does.

    What is brightest on T2 is fluid, which is dark on FLAIR and T1. Where labels are given, oedema is brighter on FLAIR
    than on T1 and T1ce, and enhancing tumour brighter on T1ce than on T1. Finds nearly every exchange of T2 with FLAIR
    or T1, and with labels most others; says nothing of a head with its skull, where fat hides fluid.

    Args:
        images: By contrast, on one grid.
        labels: On that grid.
    """
    brain = np.logical_and.reduce([image.voxels != 0 for image in images.values()])
    if not _MIN_VOXELS < brain.sum() < (1 - _STRIPPED) * brain.size:
        return None
    healthy = brain if labels is None else brain & (labels == 0)
    if healthy.sum() < _MIN_VOXELS:
        return None
    scaled = {contrast: _scaled(image.voxels, healthy) for contrast, image in images.items()}
    if "T2" in scaled:
        fluid = healthy & (scaled["T2"] >= np.percentile(scaled["T2"][healthy], _FLUID_PERCENTILE))
        for contrast in ("FLAIR", "T1"):
            if contrast in scaled and scaled[contrast][fluid].mean() > 0:
                return f"expected what is brightest on T2 to be fluid, dark on {contrast}, it is bright there"
    if labels is None:
        return None
    for brighter, darker, label, what in _BRIGHTER:
        inside = brain & (labels == label)
        if brighter not in scaled or darker not in scaled or inside.sum() < _MIN_VOXELS:
            continue
        if scaled[brighter][inside].mean() < scaled[darker][inside].mean() - _MARGIN:
            return f"expected {what} to be brighter on {brighter} than on {darker}, it is darker"
    return None


def no_dark_fluid(images: Mapping[str, Image]) -> bool:
    """Whether a stripped brain's T2 and FLAIR cannot both be what their names say, whatever tumour it holds.

    Of what is brightest on T2 some is fluid, which is dark on FLAIR: a tenth at least in six TCGA gliomas, four fifths
    in most, next to nothing once the two are exchanged.
    """
    brain = np.logical_and.reduce([image.voxels != 0 for image in images.values()])
    if not {"T2", "FLAIR"} <= set(images) or not _MIN_VOXELS < brain.sum() < (1 - _STRIPPED) * brain.size:
        return False
    t2, flair = (_scaled(images[contrast].voxels, brain) for contrast in ("T2", "FLAIR"))
    bright = brain & (t2 >= np.percentile(t2[brain], _FLUID_PERCENTILE))
    return bool((flair[bright] < -_MARGIN).mean() < _LEAST_FLUID)


def _scaled(voxels: npt.NDArray[np.float32], inside: Mask) -> npt.NDArray[np.float32]:
    """Median 0 and, by the median absolute deviation, standard deviation 1 inside."""
    values = voxels[inside]
    middle = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - middle))
    scaled: npt.NDArray[np.float32] = (voxels - middle) / max(float(deviation), 1e-9)
    return scaled
