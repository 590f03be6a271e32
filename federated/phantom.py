"""A synthetic head with a glioma, seeded: for tests, for comparisons between sites, and as extra training cases.

Anatomy is the MNI152 template's, bent anew for each case; the tumour grows along its white matter. The same generator
state gives the same head on every grid, but for what voxels of another size cannot show.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from federated.phantom_anatomy import BRAIN_MM, HEAD_MM, Anatomy, build_anatomy, draw_pose
from federated.phantom_fields import FieldOfView, Floats
from federated.phantom_head import Shell, build_shell, dura
from federated.phantom_scanner import CONTRASTS, MOTTLE, TISSUES, Scanner, acquire, draw_brightness
from federated.phantom_tumour import (
    ENHANCING,
    NECROTIC,
    OEDEMA,
    Tumour,
    TumourHabit,
    displace,
    grow,
    plan_tumour,
    vessels,
    white_matter_lesions,
)
from federated.ports import Image

USUAL_HABIT, USUAL_SCANNER = TumourHabit(), Scanner()


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic case.

    Attributes:
        images: By contrast, float32 (slices, rows, columns), LPS-aligned.
        labels: uint8, same grid: 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        brain: bool, same grid: the true brain, whether the skull is shown or not.
    """

    images: Mapping[str, Image]
    labels: npt.NDArray[np.uint8]
    brain: npt.NDArray[np.bool_]


def build_phantom(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] | None = None,
    spacing_mm: float = 2.0,
    tumour: bool = True,
    skull: bool = False,
    noise: float | None = None,
    habit: TumourHabit = USUAL_HABIT,
    scanner: Scanner = USUAL_SCANNER,
    age_years: float | None = None,
) -> Phantom:
    """Build one head.

    Args:
        rng: The same state gives the same phantom.
        shape: (slices, rows, columns); None gives the head the room it needs. A head that has less room is shrunk.
        spacing_mm: Isotropic.
        tumour: Whether there is one.
        skull: Whether skull, scalp, eyes and neck are shown; else the background is exactly 0.
        noise: Instead of the scanner's, as a fraction of white matter's brightness.
        habit: What tumours are like.
        scanner: What images are like.
        age_years: The older, the more fluid and the more white-matter lesions that are no tumour; None draws it.
    """
    room = HEAD_MM if skull else BRAIN_MM
    view = FieldOfView(shape or usual_shape(spacing_mm, skull=skull), spacing_mm)
    pose = draw_pose(rng, view, room_mm=room)
    plan = plan_tumour(rng, pose, habit)
    if tumour:
        pose = displace(pose, plan)
    drawn_age = float(rng.uniform(25, 85))
    age = drawn_age if age_years is None else age_years
    anatomy = build_anatomy(rng, pose, age)
    lesions = white_matter_lesions(rng, anatomy, age)
    enhancing_vessels = vessels(rng, anatomy)
    grown = grow(rng, anatomy, plan) if tumour else None
    shell = build_shell(rng, anatomy) if skull else None
    membrane = dura(rng, anatomy)
    parts = _fractions(anatomy, grown, lesions, enhancing_vessels, membrane, shell)
    settings = scanner if noise is None else replace(scanner, noise=noise)
    brightness = draw_brightness(rng, settings)
    texture = 1 + np.float32(0.03) * view.smooth_field(rng, 5.0)
    grain = view.smooth_field(rng, 7.0)
    images = {}
    for contrast in CONTRASTS:
        ideal = sum(values * brightness[contrast][TISSUES.index(tissue)] for tissue, values in parts.items()) * texture
        if grown is not None:
            # Tumours are mottled, each contrast its own way.
            mottle = (grain + view.smooth_field(rng, 6.0)) / np.float32(np.sqrt(2))
            ideal *= 1 + np.float32(MOTTLE[contrast]) * mottle * grown.density
        visible = None if skull else anatomy.brain
        images[contrast] = Image(acquire(rng, ideal, view, settings, visible), view.affine_lps)
    labels = np.zeros(view.shape, np.uint8) if grown is None else grown.labels
    return Phantom(images, labels, anatomy.brain)


def usual_shape(spacing_mm: float, *, skull: bool = False) -> tuple[int, int, int]:
    """The grid that holds a usual brain, or a usual head: a multiple of 16 mm along each axis."""
    millimetres = (192, 224, 192) if skull else (144, 176, 144)
    slices, rows, columns = (round(length / spacing_mm) for length in millimetres)
    return slices, rows, columns


def _fractions(
    anatomy: Anatomy,
    tumour: Tumour | None,
    lesions: Floats,
    enhancing_vessels: Floats,
    membrane: Floats,
    shell: Shell | None,
) -> dict[str, Floats]:
    """How much of each tissue every voxel holds; what comes later replaces what was there."""
    parts = {"csf": anatomy.csf, "grey": anatomy.grey, "white": anatomy.white}
    parts = _replace(parts, "lesion", np.float32(0.8) * lesions)
    parts = _replace(parts, "bone", membrane)
    parts = _replace(parts, "vessel", np.float32(0.8) * enhancing_vessels)
    if tumour is not None:
        for tissue, label in (("oedema", OEDEMA), ("necrosis", NECROTIC), ("enhancing", ENHANCING)):
            parts = _replace(parts, tissue, tumour.density * (tumour.labels == label))
    if shell is not None:
        parts["csf"] = parts["csf"] + shell.csf
        parts["bone"] = parts["bone"] + shell.bone
        parts |= {"fat": shell.fat, "muscle": shell.muscle}
    return parts


def _replace(parts: dict[str, Floats], tissue: str, share: Floats) -> dict[str, Floats]:
    kept = 1 - share
    return {name: fraction * kept for name, fraction in parts.items()} | {tissue: share}
