"""What surrounds a phantom's brain: fluid, skull, scalp, eyes, face and neck, crudely."""

from dataclasses import dataclass

import numpy as np

from federated.phantom_anatomy import Anatomy
from federated.phantom_fields import Floats
from federated.phantom_tumour import Mask

_EYES_MM = ((-38.0, -58.0, 33.0), (-38.0, -58.0, -33.0))
"""Centres in the template, (z, y, x) in LPS."""
_EYE_RADIUS_MM, _SOCKET_RADIUS_MM = 12.0, 19.0
_FACE_MM, _FACE_RADII_MM = (-62.0, -38.0, 0.0), (56.0, 52.0, 58.0)
_NECK_BELOW_MM, _NECK_BACK_MM, _NECK_RADIUS_MM = -45.0, 28.0, 62.0
_FLUID_MM, _INNER_TABLE_MM, _MARROW_MM, _OUTER_TABLE_MM = 2.5, 4.0, 6.5, 8.0


@dataclass(frozen=True, eq=False)
class Shell:
    """Fractions of the tissues around the brain (slices, rows, columns); the rest is air."""

    csf: Floats
    bone: Floats
    fat: Floats
    muscle: Floats


def build_shell(rng: np.random.Generator, anatomy: Anatomy) -> Shell:
    """Wrap a brain in layers of varying thickness."""
    view, places = anatomy.view, anatomy.template_mm
    away = np.where(anatomy.brain, np.float32(0), (-anatomy.depth_mm).clip(0))
    scalp = np.float32(_OUTER_TABLE_MM + rng.uniform(4, 8)) + view.smooth_field(rng, 40.0)
    outside = ~anatomy.brain
    # The template ends below the brain stem; what its last slice continues into is the spinal canal.
    canal = outside & (anatomy.depth_mm > 0)
    fluid = outside & (away <= _FLUID_MM)
    marrow = (away > _INNER_TABLE_MM) & (away <= _MARROW_MM)
    bone = (away > _FLUID_MM) & (away <= _OUTER_TABLE_MM) & ~marrow
    head = away <= scalp
    face = _ellipsoid(places, _FACE_MM, _FACE_RADII_MM)
    radius = np.hypot(places[1] - np.float32(_NECK_BACK_MM), places[2]) / np.float32(_NECK_RADIUS_MM)
    neck = np.where(places[0] < _NECK_BELOW_MM, radius, np.float32(9))
    body = np.minimum(face, neck)
    # Skin and fat lie on muscle; fields of either sign make sinuses and fat planes.
    grain = view.smooth_field(rng, 9.0)
    soft = outside & (body < 1) & ~fluid & ~bone & ~marrow
    air = soft & (face < 0.8) & (neck > 1) & (grain > 1.0)
    rim = soft & ((body > 0.88) | (grain < -1.1)) & ~air
    eyes, sockets = (
        np.logical_or.reduce([_ellipsoid(places, centre, (radius_mm,) * 3) < 1 for centre in _EYES_MM]) & (away > 2)
        for radius_mm in (_EYE_RADIUS_MM, _SOCKET_RADIUS_MM)
    )
    scalp_fat = head & (away > _OUTER_TABLE_MM) & (body >= 1)
    fat = (scalp_fat | rim | sockets) & ~eyes
    muscle = soft & ~air & ~rim & ~sockets & ~eyes
    return Shell(
        csf=_fraction(fluid | eyes | canal),
        bone=_fraction(bone & ~eyes & ~sockets),
        fat=_fraction(fat) + np.float32(0.55) * _fraction(marrow & ~fat & ~eyes),
        muscle=_fraction(muscle),
    )


def dura(rng: np.random.Generator, anatomy: Anatomy) -> Floats:
    """Share of dark membrane and bone at the brain's edge, which a stripped brain keeps, 0 to 1."""
    thickness = np.float32(2.2) + anatomy.view.smooth_field(rng, 18.0)
    share: Floats = ((thickness - anatomy.depth_mm) / np.float32(2.0)).clip(0, 0.8) * anatomy.brain
    return share


def _ellipsoid(places_mm: Floats, centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> Floats:
    """1 on the surface, less inside."""
    total = sum(
        ((axis - np.float32(at)) / np.float32(radius)) ** 2
        for axis, at, radius in zip(places_mm, centre_mm, radii_mm, strict=True)
    )
    return np.sqrt(np.asarray(total, np.float32))


def _fraction(mask: Mask) -> Floats:
    return mask.astype(np.float32)
