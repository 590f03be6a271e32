"""Gliomas that grow along white matter in a phantom's head, and what looks like a tumour and is none."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy import ndimage

from federated.phantom_anatomy import Anatomy, Pose, Template, load_template, sample, template_factor
from federated.phantom_fields import FieldOfView, Floats

Mask = npt.NDArray[np.bool_]

NECROTIC, OEDEMA, ENHANCING = 1, 2, 3

PLACES = (
    # Chance; centre in the template (z, y, x), LPS, mm, on the left; Larjavaara S et al., Neuro-Oncology 9:319 (2007).
    (0.40, (28.0, -36.0, 28.0)),  # frontal
    (0.27, (-14.0, 16.0, 44.0)),  # temporal
    (0.16, (38.0, 46.0, 30.0)),  # parietal
    (0.05, (10.0, 80.0, 24.0)),  # occipital
    (0.08, (6.0, -4.0, 36.0)),  # insula
    (0.04, (18.0, 22.0, 10.0)),  # corpus callosum, thalamus
)
_SCATTER_MM = 9.0


@dataclass(frozen=True)
class TumourHabit:
    """What a site's gliomas are like; a share is the chance of each case.

    Attributes:
        core_ml: Median volume of the tumour core; cases vary by a factor of about two both ways.
        oedema_ratio: Median volume of oedema as a multiple of the core's.
        non_enhancing: Share without an enhancing rim: most of these enhance nowhere, some in tiny foci.
        solid: Share, of the enhancing ones, that enhance nearly throughout.
        multifocal: Share with a second focus.
        mass_effect: Largest fraction of the core's volume that pushes tissue away instead of replacing it.
        deep: By how much likelier central places are than usual.
    """

    core_ml: float = 28.0
    oedema_ratio: float = 1.6
    non_enhancing: float = 0.22
    solid: float = 0.15
    multifocal: float = 0.12
    mass_effect: float = 0.6
    deep: float = 1.0


@dataclass(frozen=True, eq=False)
class TumourPlan:
    """A glioma before it is grown.

    Attributes:
        centres_mm: (z, y, x) in the grid, one for each focus, the main one first.
        core_ml, oedema_ml: Volumes, all foci together.
        push: Fraction of the core's volume that displaces tissue.
        enhancement: "ring", "solid", "foci" or "none".
        rim_mm: Mean thickness of the enhancing rim.
    """

    centres_mm: tuple[npt.NDArray[np.float64], ...]
    core_ml: float
    oedema_ml: float
    push: float
    enhancement: str
    rim_mm: float


@dataclass(frozen=True, eq=False)
class Tumour:
    """A glioma as it has grown.

    Attributes:
        labels: uint8: 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        density: 0 to 1: how far tissue is replaced; oedema fades towards its edge.
    """

    labels: npt.NDArray[np.uint8]
    density: Floats


def plan_tumour(rng: np.random.Generator, pose: Pose, habit: TumourHabit) -> TumourPlan:
    """Draw where a glioma lies, its size and its kind; as many numbers are drawn on every grid."""
    template = load_template(template_factor(pose.view.spacing_mm))
    usual = pose.scale**3
    core = habit.core_ml * usual * float(np.exp(np.clip(rng.normal(0, 0.7), -1.6, 1.2)))
    low_grade, solid, foci = (rng.random() < share for share in (habit.non_enhancing, habit.solid, 0.4))
    enhancement = ("foci" if foci else "none") if low_grade else ("solid" if solid else "ring")
    oedema = core * habit.oedema_ratio * float(np.exp(np.clip(rng.normal(0, 0.6), -1.2, 1.0)))
    first = _centre(rng, pose, template, habit)
    second = first + rng.uniform(18, 34) * _direction(rng) * pose.scale
    centres = (first, second) if rng.random() < habit.multifocal else (first,)
    push, rim = float(rng.uniform(0.1, habit.mass_effect)), float(rng.uniform(2.5, 6.5))
    return TumourPlan(centres, core, oedema, push, enhancement, rim)


def displace(pose: Pose, plan: TumourPlan) -> Pose:
    """Push tissue away from a tumour, as an incompressible mass would; less so towards the skull."""
    view = pose.view
    centre = plan.centres_mm[0]
    distance = np.maximum(view.distance_mm(centre), np.float32(0.1))
    pushed_mm3 = np.float32(plan.push * plan.core_ml * 1000 * 3 / (4 * np.pi))
    origin = np.cbrt((distance**3 - pushed_mm3).clip(0))
    (depth,) = sample(load_template(template_factor(view.spacing_mm)), pose.template_mm, range(3, 4))
    toward = (1 - origin / distance) * (depth / np.float32(15)).clip(0, 1)
    nearest = _nearest(view, centre)
    places = pose.template_mm.copy()
    for axis in range(3):
        places[axis] += toward * (places[axis][nearest] - places[axis])
    return Pose(view, places, pose.scale)


def grow(rng: np.random.Generator, anatomy: Anatomy, plan: TumourPlan) -> Tumour:
    """Let a tumour grow to its volumes: the core nearly everywhere, oedema like fingers along white matter."""
    view = anatomy.view
    ridges = np.exp(0.55 * view.smooth_field(rng, 14.0) + 0.3 * view.smooth_field(rng, 6.0))
    fingers = np.exp(0.5 * view.smooth_field(rng, 8.0))
    soft = anatomy.white + np.float32(0.75) * anatomy.grey + np.float32(0.12) * anatomy.csf
    arrival = _arrival(ridges * soft, anatomy, plan)
    core = _first(arrival, anatomy.brain & (anatomy.csf < 0.85), plan.core_ml, view)
    soft = anatomy.white + np.float32(0.16) * anatomy.grey + np.float32(0.015) * anatomy.csf
    # Inside the core the front runs at once, so oedema starts from the core's surface.
    arrival = _arrival(np.where(core, np.float32(100), fingers * soft), anatomy, plan)
    whole = core | _first(arrival, anatomy.brain & ~core & (anatomy.csf < 0.6), plan.oedema_ml, view)
    labels = np.where(whole, np.uint8(OEDEMA), np.uint8(0))
    labels[core] = NECROTIC
    labels[_enhancing(rng, core, plan, view)] = ENHANCING
    fading = ndimage.gaussian_filter(whole.astype(np.float32), 5.0 / view.spacing_mm)
    density = np.where(whole, (np.float32(0.45) + fading * np.float32(0.6)).clip(0, 1), np.float32(0))
    density[core] = 1
    return Tumour(labels, density)


def white_matter_lesions(rng: np.random.Generator, anatomy: Anatomy, age_years: float) -> Floats:
    """Age's bright spots beside the ventricles and below the cortex, 0 to 1; they are no tumour."""
    amount_ml = float(np.exp(np.clip(0.055 * (age_years - 60) + rng.normal(1.0, 0.8), -3, 3.4)))
    blobs = anatomy.view.smooth_field(rng, 5.0) + np.float32(0.5) * anatomy.view.smooth_field(rng, 10.0)
    near = blobs - anatomy.ventricle_mm / np.float32(9) + np.float32(2)
    score = np.where((anatomy.white > 0.5) & (anatomy.depth_mm > 6), near, np.float32(-np.inf))
    chosen = _most(score, amount_ml, anatomy.view)
    return chosen.astype(np.float32)


def vessels(rng: np.random.Generator, anatomy: Anatomy) -> Floats:
    """What takes up contrast and is no tumour, 0 to 1: vessels of the surface, sinuses and choroid plexus."""
    view = anatomy.view
    # Where two fields vanish together there are curves.
    apart = np.hypot(view.smooth_field(rng, 8.0), view.smooth_field(rng, 8.0))
    curves = (np.float32(1.6) - apart / np.float32(0.15)).clip(0, 1)
    surface = (anatomy.depth_mm < 18) & (anatomy.csf + anatomy.grey > 0.5)
    side, height, back = anatomy.template_mm[2], anatomy.template_mm[0], anatomy.template_mm[1]
    sinus = (np.abs(side) < 4) & (anatomy.depth_mm < 4) & (height > 0) & (back > -30)
    plexus = (anatomy.ventricle_mm < 1) & (view.smooth_field(rng, 7.0) > 0.8) & (back > 10)
    bright: Floats = np.maximum(curves * surface, (sinus | plexus).astype(np.float32))
    return bright * anatomy.brain


def _centre(rng: np.random.Generator, pose: Pose, template: Template, habit: TumourHabit) -> npt.NDArray[np.float64]:
    """A place in white matter, near one of PLACES on either side."""
    chances = np.array([chance for chance, _ in PLACES])
    chances[-2:] *= habit.deep
    middle = np.array(PLACES[rng.choice(len(PLACES), p=chances / chances.sum())][1])
    wanted = middle + rng.normal(0, _SCATTER_MM, 3)
    wanted[2] *= rng.choice([-1, 1])
    white, depth = (
        sample(template, pose.template_mm, range(1, 2))[0],
        sample(template, pose.template_mm, range(3, 4))[0],
    )
    away = sum((places - np.float32(at)) ** 2 for places, at in zip(pose.template_mm, wanted, strict=True))
    fit = (white > 0.6) & (depth > 8)
    index = np.unravel_index(int(np.argmin(np.where(fit, away, np.inf))), white.shape)
    return np.array([axis.ravel()[at] for axis, at in zip(pose.view.axes_mm, index, strict=True)], np.float64)


def _direction(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def _nearest(view: FieldOfView, point_mm: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    z, y, x = (int(np.abs(axis.ravel() - at).argmin()) for axis, at in zip(view.axes_mm, point_mm, strict=True))
    return z, y, x


def _arrival(speed: Floats, anatomy: Anatomy, plan: TumourPlan) -> Floats:
    """When a front that starts at the centres arrives at each voxel; infinite where it never can within reach."""
    view = anatomy.view
    reach = round(2.0 * (3 / (4 * np.pi) * 1000 * (plan.core_ml + plan.oedema_ml)) ** (1 / 3) / view.spacing_mm) + 4
    starts = np.array([_nearest(view, centre) for centre in plan.centres_mm])
    low = np.maximum(starts.min(axis=0) - reach, 0)
    box = tuple(slice(int(start), int(stop)) for start, stop in zip(low, starts.max(axis=0) + reach + 1, strict=True))
    image = SimpleITK.GetImageFromArray(np.where(anatomy.brain, speed, np.float32(1e-4))[box])
    image.SetSpacing([view.spacing_mm] * 3)
    first = [[int(index) for index in start[::-1]] for start in starts - low]
    # A second focus starts later, so it stays smaller.
    delays = [8.0 * number for number in range(len(first))]
    times = np.full(view.shape, np.inf, np.float32)
    front = SimpleITK.FastMarching(image, trialPoints=first, initialTrialValues=delays)
    times[box] = SimpleITK.GetArrayFromImage(front)
    return times


def _first(times: Floats, allowed: Mask, volume_ml: float, view: FieldOfView) -> Mask:
    """Where a front arrives first, as much as fills a volume."""
    return _most(np.where(allowed, -times, np.float32(-np.inf)), volume_ml, view)


def _most(score: Floats, volume_ml: float, view: FieldOfView) -> Mask:
    """The voxels of highest score, as many as fill a volume; never one of minus infinity."""
    count = round(volume_ml * 1000 / view.spacing_mm**3)
    finite = score[np.isfinite(score)]
    if not count or not len(finite):
        return np.zeros(score.shape, bool)
    kept = max(len(finite) - count, 0)
    threshold = np.partition(finite, kept)[kept]
    chosen: Mask = np.isfinite(score) & (score >= threshold)
    return chosen


def _enhancing(rng: np.random.Generator, core: Mask, plan: TumourPlan, view: FieldOfView) -> Mask:
    thickness, nodules, gaps = (view.smooth_field(rng, scale) for scale in (12.0, 5.0, 16.0))
    if plan.enhancement == "none":
        return np.zeros_like(core)
    if plan.enhancement == "foci":
        return _both(core, nodules > 2.1)
    inner_mm = ndimage.distance_transform_edt(core, sampling=view.spacing_mm)
    rim = inner_mm <= np.maximum(plan.rim_mm * np.exp(0.45 * thickness), view.spacing_mm)
    if plan.enhancement == "solid":
        return _both(core, rim | (nodules + gaps < 0.8))
    return _both(core, (rim & (gaps > -1.5)) | (nodules > 2.2))


def _both(one: Mask, other: Mask) -> Mask:
    return one & other
