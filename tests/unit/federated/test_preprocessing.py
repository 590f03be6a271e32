import functools
import hashlib
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from federated.errors import ModelInputError
from federated.phantom import build_phantom
from federated.ports import Image
from federated.preprocessing import Preprocessing, to_model_input, to_reference_grid
from federated.resampling import Grid
from tests.fakes.landmark_head import LANDMARKS_LPS, THICK_AXIAL, head_image, motion

PLAIN = Preprocessing()
LANDMARK_LPS = np.array([23.0, -31.0, 14.0])
"""Left, anterior and superior of the middle: a flip or a swap of axes moves it by centimetres."""


def affine(directions, spacing, shape, centre=(2.0, -5.0, 3.0)):
    """Array axes along the given LPS directions, the middle of the volume at centre."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(directions, float).T * spacing
    matrix[:3, 3] = np.array(centre) - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix


def turned(directions, degrees):
    """Turned about an axis that is none of the three."""
    axis = np.array([1.0, 2.0, 3.0]) / math.sqrt(14)
    angle = math.radians(degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return [rotation @ np.array(direction, float) for direction in directions]


L, P, S = (1, 0, 0), (0, 1, 0), (0, 0, 1)
R, A, INFERIOR = (-1, 0, 0), (0, -1, 0), (0, 0, -1)
GRIDS = [
    pytest.param((S, P, L), (1.0, 1.0, 1.0), (150, 190, 160), id="axial 1 mm"),
    pytest.param((INFERIOR, P, L), (5.0, 1.0, 1.0), (30, 190, 160), id="axial thick, from above"),
    pytest.param((L, INFERIOR, P), (1.0, 1.0, 1.0), (160, 150, 190), id="sagittal"),
    pytest.param((R, INFERIOR, P), (4.0, 0.8, 0.8), (40, 190, 240), id="sagittal thick, from the left"),
    pytest.param((P, INFERIOR, L), (2.0, 1.0, 1.0), (95, 150, 160), id="coronal"),
    pytest.param((A, INFERIOR, R), (3.0, 2.0, 2.0), (64, 75, 80), id="coronal mirrored"),
    pytest.param(turned((S, P, L), 25), (1.0, 1.0, 1.0), (150, 190, 160), id="oblique"),
    pytest.param(turned((L, INFERIOR, P), -40), (3.0, 1.0, 1.5), (60, 170, 140), id="oblique sagittal, anisotropic"),
    pytest.param((S, P, L), (3.0, 3.0, 3.0), (50, 64, 54), id="axial 3 mm"),
    pytest.param((S, P, L), (4.0, 0.5, 0.5), (38, 380, 320), id="axial half a millimetre"),
]


def head_with_landmark(directions, spacing, shape):
    """A sphere of 60 mm on an exactly empty background, with a bright ball at the landmark."""
    matrix = affine(directions, spacing, shape)
    return Image(_sphere(matrix.tobytes(), shape), matrix)


@functools.lru_cache(maxsize=len(GRIDS))
def _sphere(matrix, shape):
    matrix = np.frombuffer(matrix).reshape(4, 4).astype(np.float32)
    points = np.moveaxis(np.indices(shape, np.float32), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]
    # A mild slope keeps the scaling from being degenerate.
    voxels = 100 + 0.1 * points[..., 0]
    voxels[np.linalg.norm(points - np.float32([2, -5, 3]), axis=-1) > 60] = 0
    voxels += 900 * np.exp(-0.5 * (np.linalg.norm(points - LANDMARK_LPS.astype(np.float32), axis=-1) / 5) ** 2)
    voxels[voxels < 1] = 0
    return voxels.astype(np.float32)


def centre_of(values, matrix, above):
    """Centre of mass of what is above a level, in LPS."""
    weights = np.clip(values - above, 0, None)
    where = np.argwhere(weights > 0)
    index = (where * weights[weights > 0][:, None]).sum(axis=0) / weights.sum()
    return matrix[:3, :3] @ index + matrix[:3, 3]


@pytest.mark.parametrize(("directions", "spacing", "shape"), GRIDS)
def test_a_landmark_keeps_its_place_on_the_models_grid(directions, spacing, shape):
    image = head_with_landmark(directions, spacing, shape)
    found = to_model_input({"T1ce": image}, "T1ce", Preprocessing(clip=1000.0))
    channel = found.channels[1]
    place = centre_of(channel, found.grid.affine_lps, above=channel.max() / 3)
    assert np.linalg.norm(place - LANDMARK_LPS) < 0.6
    assert found.skull_stripped


@pytest.mark.parametrize(("directions", "spacing", "shape"), GRIDS)
def test_a_landmark_keeps_its_place_on_the_way_back(directions, spacing, shape):
    image = head_with_landmark(directions, spacing, shape)
    grid = to_model_input({"T1ce": image}, "T1ce", PLAIN).grid
    index = np.stack([*np.indices(grid.shape), np.ones(grid.shape)], axis=-1)
    distance = np.linalg.norm(index @ grid.affine_lps[:3].T - LANDMARK_LPS, axis=-1)
    ball = np.exp(-0.5 * (distance / 5) ** 2).astype(np.float32)
    back = to_reference_grid(np.stack([ball, ball / 2, ball * 0]), grid, image)
    assert back.shape == (3, *shape)
    assert np.linalg.norm(centre_of(back[0], image.affine_lps, above=0.2) - LANDMARK_LPS) < 0.4
    assert back[0].max() == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(back[1], back[0] / 2, atol=1e-6)
    assert not back[2].any()


def test_contrasts_of_different_grids_meet_in_one_place():
    reference = head_with_landmark((S, P, L), (1.0, 1.0, 1.0), (150, 190, 160))
    flair = head_with_landmark(turned((L, INFERIOR, P), 15), (4.0, 1.0, 1.0), (45, 170, 190))
    found = to_model_input({"T1ce": reference, "FLAIR": flair}, "T1ce", Preprocessing(clip=1000.0))
    places = [
        centre_of(found.channels[channel], found.grid.affine_lps, above=found.channels[channel].max() / 3)
        for channel in (1, 3)
    ]
    assert np.linalg.norm(places[0] - places[1]) < 1.0
    assert found.present == ("T1ce", "FLAIR")


def test_one_millimetre_becomes_exact_block_means():
    rng = np.random.default_rng(1)
    fine = rng.uniform(50, 150, (60, 64, 56)).astype(np.float32)
    fine[:8] = fine[-8:] = 0
    fine[:, :8] = fine[:, -8:] = 0
    fine[:, :, :8] = fine[:, :, -8:] = 0
    found = to_model_input({"T1ce": Image(fine, affine((S, P, L), (1, 1, 1), fine.shape))}, "T1ce", PLAIN)
    blocks = fine.reshape(30, 2, 32, 2, 28, 2).mean(axis=(1, 3, 5))[4:-4, 4:-4, 4:-4]
    scaled = found.channels[1][found.head].reshape(blocks.shape)
    # Scaling is linear: correlation 1 means the same values up to scale.
    assert np.corrcoef(scaled.ravel(), blocks.ravel())[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.median(scaled) == pytest.approx(0, abs=1e-5)


def test_an_absent_contrast_is_zeros_and_unflagged():
    phantom = build_phantom(np.random.default_rng(0))
    images = {contrast: image for contrast, image in phantom.images.items() if contrast != "T2"}
    found = to_model_input(images, "T1ce", PLAIN)
    assert not found.channels[2].any()
    assert found.channels[4:, 0, 0, 0].tolist() == [1, 1, 0, 1]
    assert found.present == ("T1", "T1ce", "FLAIR")


def test_scaling_forgets_the_scanners_units():
    phantom = build_phantom(np.random.default_rng(0))
    # Zero stays the background, as in a masked DICOM series.
    rescaled = {contrast: Image(image.voxels * 7.5, image.affine_lps) for contrast, image in phantom.images.items()}
    first, second = (to_model_input(images, "T1ce", PLAIN).channels for images in (phantom.images, rescaled))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_grid_is_a_multiple_of_the_stride_and_holds_the_head_with_its_margin():
    phantom = build_phantom(np.random.default_rng(4), shape=(70, 81, 69))
    found = to_model_input(phantom.images, "T1ce", PLAIN)
    assert all(length % PLAIN.stride == 0 for length in found.grid.shape)
    where = np.argwhere(found.head)
    assert where.min() >= PLAIN.margin_voxels
    assert (where.max(axis=0) < np.array(found.grid.shape) - PLAIN.margin_voxels).all()


BRATS = Path(__file__).parents[3] / "sandbox" / "data" / "brats_tcga_2mm"


@pytest.mark.parametrize(
    ("case", "digest"),
    [
        ("Brats18_TCIA01_378_1", "e55e9f39588285189d4a4090e44b4f0ea774b302afc09a9ffe03c4f2642a8e83"),
        ("Brats18_TCIA01_499_1", "616351cde24c03d9675460f72ad3ef4ad5751e2e1eb434ba509c80c2224469f1"),
        ("Brats18_TCIA02_370_1", "2b37ebe25abb08715c5f3276f10c58c945630f119dcf881f81bf5556670a561f"),
        ("Brats18_TCIA03_265_1", "cdbc7856529f2725e043298aa03e65c573e4c45bf22f9b22c55b2f12aa950b42"),
        ("Brats18_TCIA10_637_1", "47bc9c3429af84f1d759c21cdbcd79532ac65782992f2cdda267feafcd1898c5"),
        ("Brats18_TCIA13_623_1", "c70fcff2ba09c679822e81de9d806299934147273cdff96c04f180fe32b21516"),
    ],
)
def test_the_model_reads_the_voxels_that_it_was_trained_on(case, digest):
    file = nibabel.load(BRATS / f"{case}_t1_t1ce_t2_flair_2mm.nii.gz")
    voxels = np.asarray(file.dataobj, np.float32)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ file.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    images = {
        contrast: Image(np.ascontiguousarray(voxels[..., index].T), matrix)
        for index, contrast in enumerate(PLAIN.contrasts)
    }
    found = to_model_input(images, "T1ce", PLAIN)
    assert (found.prepared, found.skull_stripped, found.brain_extracted) == (True, True, False)
    assert (found.registrations, found.notes) == ((), ())
    assert hashlib.sha256(found.channels.tobytes()).hexdigest() == digest


def test_a_native_study_becomes_what_a_prepared_one_is():
    phantom = build_phantom(np.random.default_rng(2), skull=True)
    images = {contrast: phantom.images[contrast] for contrast in ("T1ce", "FLAIR")}
    found = to_model_input(images, "T1ce", PLAIN)
    assert (found.prepared, found.skull_stripped, found.brain_extracted) == (False, False, True)
    assert found.notes == ()
    truth = to_model_input(
        {contrast: Image(image.voxels * phantom.brain, image.affine_lps) for contrast, image in images.items()},
        "T1ce",
        PLAIN,
    )
    assert truth.prepared
    offset = np.round((truth.grid.affine_lps - found.grid.affine_lps)[[2, 1, 0], 3] / PLAIN.spacing_mm).astype(int)
    index = np.argwhere(truth.head)
    same = index + offset
    assert found.head[tuple(same.T)].mean() > 0.98
    assert found.head.sum() < 1.1 * truth.head.sum()
    for channel in (1, 3):
        native, prepared = found.channels[channel][tuple(same.T)], truth.channels[channel][tuple(index.T)]
        assert np.corrcoef(native, prepared)[0, 1] > 0.95
        assert not found.channels[channel][~found.head].any()


def test_a_patient_who_moved_between_sequences_is_laid_on_the_reference():
    moved = motion((3, -2, 4), (2, -4, 3))
    images = {"T1ce": head_image("T1ce"), "FLAIR": head_image("FLAIR", THICK_AXIAL, moved)}
    found = to_model_input(images, "T1ce", Preprocessing(clip=1000.0))
    (registration,) = found.registrations
    assert registration.contrast == "FLAIR"
    assert not found.prepared
    assert any(note.startswith("FLAIR was moved by 5.") and "to fit T1ce" in note for note in found.notes)
    for landmark in LANDMARKS_LPS:
        middle = np.round((np.linalg.inv(found.grid.affine_lps) @ [*landmark, 1])[:3]).astype(int)
        start = middle - 5
        window = tuple(slice(low, low + 11) for low in start)
        matrix = found.grid.affine_lps.copy()
        matrix[:3, 3] += matrix[:3, :3] @ start
        for channel in (1, 3):
            values = found.channels[channel][window]
            place = centre_of(values, matrix, above=(values.max() + np.median(values)) / 2)
            assert np.linalg.norm(place - landmark) < 1.5


def test_a_head_whose_brain_is_not_found_is_read_whole_and_says_so(monkeypatch):
    monkeypatch.setattr("federated.preprocessing.extract_brain", lambda *_: None)
    phantom = build_phantom(np.random.default_rng(2), spacing_mm=3.0, skull=True)
    found = to_model_input({"T1ce": phantom.images["T1ce"]}, "T1ce", PLAIN)
    assert (found.skull_stripped, found.brain_extracted) == (False, False)
    assert [note.split(":")[0] for note in found.notes] == ["The brain could not be told from the skull"]
    assert found.head.sum() * 0.008 > 2500


def test_a_stripped_study_that_is_not_aligned_is_not_prepared():
    stripped = {contrast: head_image(contrast, stripped=True) for contrast in ("T1ce", "T2")}
    assert to_model_input(stripped, "T1ce", PLAIN).prepared
    shifted = stripped["T2"].affine_lps.copy()
    shifted[:3, 3] += (0, 6, 0)
    found = to_model_input({**stripped, "T2": Image(stripped["T2"].voxels, shifted)}, "T1ce", PLAIN)
    assert (found.prepared, found.skull_stripped, found.brain_extracted) == (False, True, False)
    assert found.registrations[0].shift_mm == pytest.approx(6, abs=0.5)


def test_a_head_on_masked_air_is_not_taken_for_a_brain():
    phantom = build_phantom(np.random.default_rng(2), spacing_mm=3.0, skull=True)
    voxels = phantom.images["T1ce"].voxels.copy()
    voxels[voxels < 0.1 * voxels.max()] = 0
    found = to_model_input({"T1ce": Image(voxels, phantom.images["T1ce"].affine_lps)}, "T1ce", PLAIN)
    assert not found.skull_stripped
    assert not found.prepared


GOOD = head_with_landmark((S, P, L), (4.0, 4.0, 4.0), (40, 48, 40))


def spoiled(**change):
    voxels, matrix = GOOD.voxels.copy(), GOOD.affine_lps.copy()
    if "voxel" in change:
        voxels[3, 4, 5] = change["voxel"]
    if "scale" in change:
        matrix[:3, :3] *= change["scale"]
    return Image(change.get("voxels", voxels), change.get("affine", matrix))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(spoiled(voxel=np.nan), "expected finite voxels", id="NaN"),
        pytest.param(spoiled(voxel=np.inf), "expected finite voxels", id="infinity"),
        pytest.param(spoiled(voxels=np.full((40, 48, 40), 7, np.float32)), "every voxel is 7", id="constant"),
        pytest.param(spoiled(voxels=np.zeros((0, 48, 40), np.float32)), "expected 1 to", id="empty"),
        pytest.param(spoiled(voxels=np.zeros((48, 40), np.float32)), "3 dimensions", id="flat"),
        pytest.param(spoiled(scale=0.1), "field of view of 30 to 600 mm", id="too small a field of view"),
        pytest.param(spoiled(scale=4.5), "field of view of 30 to 600 mm", id="too large a field of view"),
        pytest.param(spoiled(scale=0), "voxel spacing of 0.1 to 20 mm, got 0 x 0 x 0 mm", id="no spacing"),
        pytest.param(spoiled(scale=10), "voxel spacing of 0.1 to 20 mm", id="spacing in other units"),
        pytest.param(spoiled(voxels=GOOD.voxels[:1]), "at least 2 slices, rows and columns, got shape", id="one slice"),
        pytest.param(spoiled(voxels=GOOD.voxels[None]), "3 dimensions, got shape", id="four dimensions"),
        pytest.param(spoiled(affine=np.diag([4.0, 4.0, 0.0, 1.0])), "got 4 x 4 x 0 mm", id="slices on each other"),
        pytest.param(spoiled(affine=np.full((4, 4), np.nan)), "4 x 4 finite numbers", id="affine of NaN"),
        pytest.param(spoiled(affine=4 * np.eye(3)), r"4 x 4 finite numbers .* shape \(3, 3\)", id="affine of 3 x 3"),
        pytest.param(spoiled(affine=4 * np.eye(4)), "last row", id="projective affine"),
        pytest.param(
            spoiled(affine=GOOD.affine_lps @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
            "orthogonal voxel axes, got a shear of 5.7 degrees; resample",
            id="shear",
        ),
    ],
)
def test_refuses_what_no_model_can_read(image, message):
    with pytest.raises(ModelInputError, match=message):
        to_model_input({"T1ce": image}, "T1ce", PLAIN)


def test_refuses_a_case_without_its_reference():
    with pytest.raises(ModelInputError, match="needs T1ce, got FLAIR; its contrasts are T1, T1ce, T2, FLAIR"):
        to_model_input({"FLAIR": GOOD}, "T1ce", PLAIN)


def test_refuses_a_contrast_that_lies_elsewhere():
    elsewhere = GOOD.affine_lps.copy()
    elsewhere[:3, 3] += 500
    with pytest.raises(ModelInputError, match="T2: does not reach the head"):
        to_model_input({"T1ce": GOOD, "T2": Image(GOOD.voxels, elsewhere)}, "T1ce", PLAIN)


def test_probabilities_outside_the_reference_are_left_out():
    grid = Grid((16, 16, 16), affine((S, P, L), (2, 2, 2), (16, 16, 16), centre=(0, 0, 0)))
    far = Image(np.zeros((8, 8, 8), np.float32), affine((S, P, L), (5, 5, 5), (8, 8, 8), centre=(400, 0, 0)))
    assert not to_reference_grid(np.ones((3, 16, 16, 16), np.float32), grid, far).any()
