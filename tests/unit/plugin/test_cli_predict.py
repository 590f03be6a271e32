"""`qfl predict` from files to files, by a real model folder; places are checked in the world frame."""

import json
import os

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture
from scipy.spatial.transform import Rotation

from dicom_ingest.instances import encode_instance
from dicom_ingest.model import MrContrast
from plugin.cli import main
from tests.fakes.lesion_scene import LESION_RADIUS_MM, LESION_RAS, lesion_ml, paint_scene
from tests.fakes.mr_series import AXIAL, CORONAL, OBLIQUE, SAGITTAL, make_series
from tests.fakes.threshold_model import save_threshold_model

NAMES = ("t1", "t1ce", "t2", "flair")
FILES = {"mask.nii.gz", "uncertainty.nii.gz", "overlay.png", "measurements.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_threshold_model(folder)
    return folder


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("QFL_")]:
        monkeypatch.delenv(name)


def run(*arguments):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def affine(rotation_deg=(0, 0, 0), steps=(3.0, 3.0, 3.5), shape=(52, 60, 40)):
    """An affine into RAS whose array is centred on the brain; negative steps flip an axis."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix() @ np.diag(steps)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix


def check_outputs(folder, expected_affine, expected_shape, *, atol=1e-4):
    """The lesion's voxels lie where the lesion is in the world."""
    assert {path.name for path in folder.iterdir()} == FILES
    mask = nib.load(folder / "mask.nii.gz")
    assert mask.shape == expected_shape
    np.testing.assert_allclose(mask.affine, expected_affine, atol=atol)
    labels = np.asarray(mask.dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 4}
    marked = np.argwhere(labels == 4)
    points = marked @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    # Half a voxel: more is not to be had of a hard edge; a swapped or flipped axis is off by 8 mm at least.
    np.testing.assert_allclose(points.mean(axis=0), LESION_RAS, atol=1.75)
    assert np.linalg.norm(points - LESION_RAS, axis=1).max() < LESION_RADIUS_MM + 6
    uncertainty = nib.load(folder / "uncertainty.nii.gz")
    assert uncertainty.shape == expected_shape
    np.testing.assert_array_equal(uncertainty.affine, mask.affine)
    assert uncertainty.get_data_dtype() == np.float32
    values = np.asarray(uncertainty.dataobj)
    assert 0 <= values.min() < values.max() <= 1
    # Doubt lies around the lesion's edge.
    doubtful = np.argwhere(values > 0.3) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    assert np.linalg.norm(doubtful - LESION_RAS, axis=1).max() < LESION_RADIUS_MM + 8
    with Picture.open(folder / "overlay.png") as picture:
        assert picture.size[0] > 1000
    document = json.loads((folder / "measurements.json").read_text())
    whole = document["regions"][0]
    voxel_ml = abs(np.linalg.det(mask.affine)) / 1000
    assert whole["volume_ml"] == pytest.approx(len(marked) * voxel_ml, abs=0.01)
    assert whole["volume_ml"] == pytest.approx(lesion_ml(), rel=0.5)
    assert whole["product_mm2"] == pytest.approx(whole["long_axis_mm"] * whole["short_axis_mm"], rel=0.01)
    assert whole["is_measurable"]
    assert 0.5 < document["confidence"] <= 1
    np.testing.assert_allclose(document["input"]["reference"]["affine_ras"], mask.affine, atol=1e-6)
    assert document["input"]["reference"]["shape"] == list(expected_shape)
    assert document["labels"]["4"] == "enhancing"
    return document


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(affine(), id="RAS"),
        pytest.param(affine(steps=(-3.0, -3.0, 3.5)), id="LPS as DICOM has it"),
        pytest.param(affine(steps=(3.0, -3.0, -3.5)), id="two axes flipped"),
        pytest.param(affine((20, -15, 30)), id="oblique"),
    ],
)
def test_a_4d_file_gets_a_mask_in_its_own_geometry(tmp_path, model, grid):
    shape = (52, 60, 40)
    scene = paint_scene(shape, grid)
    # What is dark elsewhere is bright on T2, as fluid is.
    t2 = np.where(scene > 0, scene.max() + 1 - scene, 0)
    t1 = np.where(scene == scene.max(), 2 * scene, scene)
    nib.save(nib.Nifti1Image(np.stack([t1, scene, t2, scene], axis=-1), grid), tmp_path / "case.nii.gz")
    result = run(tmp_path / "case.nii.gz", "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.output
    document = check_outputs(tmp_path / "out", grid, shape)
    assert document["input"]["kind"] == "nifti-4d"
    # The lesion takes up less contrast than it had before.
    assert any("may not be in the order T1, T1ce, T2, FLAIR" in warning for warning in document["warnings"])
    assert document["input"]["sequences_missing"] == []


def test_files_by_sequence_may_differ_in_geometry_and_be_incomplete(tmp_path, model):
    shapes = {"t1ce": (50, 40, 58), "flair": (44, 52, 36)}
    # Axes of the T1ce: to the left, to the head, to the back.
    reference = affine(steps=(3.1, 3.3, 3.0), shape=shapes["t1ce"])
    reference[:3, :3] = np.array([[-3.1, 0, 0], [0, 0, -3.0], [0, 3.3, 0]])
    reference[:3, 3] = -reference[:3, :3] @ ((np.array(shapes["t1ce"]) - 1) / 2)
    grids = {"t1ce": reference, "flair": affine((0, 0, 10), (3.5, -3.5, 4.0), shapes["flair"])}
    for name, grid in grids.items():
        nib.save(nib.Nifti1Image(paint_scene(shapes[name], grid), grid), tmp_path / f"CASE_{name}.nii.gz")
    result = run(tmp_path, "--output", tmp_path / "results", "--model", model, "--json")
    assert result.exit_code == 0, result.output
    document = check_outputs(tmp_path / "results", reference, shapes["t1ce"])
    assert json.loads(result.stdout) == document
    assert document["input"]["sequences_missing"] == ["T1", "T2"]
    assert [warning.split()[0] for warning in document["warnings"] if "missing" in warning] == ["T1", "T2"]


@pytest.mark.parametrize(
    ("orientation", "contrasts"),
    [
        pytest.param(AXIAL, tuple(MrContrast), id="axial, all four"),
        pytest.param(SAGITTAL, (MrContrast.T1CE,), id="sagittal, T1ce alone"),
        pytest.param(OBLIQUE, (MrContrast.T1CE,), id="oblique, T1ce alone"),
    ],
)
def test_a_folder_of_dicom_series_gets_a_mask_on_the_t1ce_grid(tmp_path, model, orientation, contrasts):
    for number, contrast in enumerate(contrasts):
        # The other series are cut in another way, as in a clinical protocol.
        directions = orientation if contrast is MrContrast.T1CE else CORONAL
        write_series(tmp_path / "in" / f"S{number}", contrast, directions)
    result = run(tmp_path / "in", "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.output
    expected, shape = dicom_grid(orientation)
    document = check_outputs(tmp_path / "out", expected, shape)
    assert document["input"]["kind"] == "dicom-series"
    assert not any("order" in warning for warning in document["warnings"])
    assert [one["used_as"] for one in document["input"]["series"]] == list(contrasts)
    text = (tmp_path / "out" / "measurements.json").read_text()
    for identifying in ("Sørensen", "P0001", "ACC1", "1970"):
        assert identifying not in text + result.output


SPACING_MM, SLICES, ROWS, COLUMNS = (3.5, 3.0, 3.2), 46, 52, 50


def dicom_grid(orientation):
    """(columns, rows, slices) to RAS after PS3.3 C.7.6.2.1.1, centred on the brain; and the shape."""
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    steps = [along_row * SPACING_MM[2], along_column * SPACING_MM[1], np.cross(along_row, along_column) * SPACING_MM[0]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.column_stack(steps)
    shape = (COLUMNS, ROWS, SLICES)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix, shape


def write_series(folder, contrast, orientation):
    matrix, shape = dicom_grid(orientation)
    scene = paint_scene(shape, matrix).T.round().astype(np.uint16)
    folder.mkdir(parents=True)
    origin_lps = matrix[:3, 3] * [-1, -1, 1]
    series = make_series(
        scene, contrast=contrast, orientation=orientation, spacing_mm=SPACING_MM, origin_lps=tuple(origin_lps)
    )
    for number, instance in enumerate(series):
        (folder / f"{number}.dcm").write_bytes(encode_instance(instance))


def small_case(folder, **changes):
    grid = affine()
    scene = paint_scene((52, 60, 40), grid)
    for name in NAMES:
        nib.save(nib.Nifti1Image(changes.get(name, scene), grid), folder / f"{name}.nii.gz")


def test_a_second_run_replaces_the_first_and_gives_the_same(tmp_path, model):
    small_case(tmp_path)
    contents = []
    for _ in range(2):
        assert run(tmp_path, "--output", tmp_path / "out", "--model", model).exit_code == 0
        contents.append({name: (tmp_path / "out" / name).read_bytes() for name in FILES - {"measurements.json"}})
    assert contents[0] == contents[1]


def test_the_terminal_tells_what_was_taken_for_what_and_what_was_found(tmp_path, model):
    small_case(tmp_path)
    result = run(tmp_path, "--output", tmp_path / "out", "--model", model)
    assert "t1ce.nii.gz: taken as T1ce." in result.stdout
    assert "Suspected intra-axial tumour" in result.stdout
    assert "Research use only" in result.stdout
    assert "Model Threshold, version" in result.stdout
    assert "done" in result.stderr


def test_nothing_is_left_behind_by_a_refused_case(tmp_path, model):
    small_case(tmp_path, t1ce=np.full((52, 60, 40), 7, np.float32))
    result = run(tmp_path, "--output", tmp_path / "out", "--model", model)
    assert (result.exit_code, list((tmp_path / "out").iterdir())) == (65, [])
    assert "T1ce" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("nowhere",), 66, "there is none", id="no input"),
        pytest.param((".",), 66, "found neither", id="empty folder"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(tmp_path, model, arguments, code, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--output", tmp_path.parent / f"{tmp_path.name}-out", "--model", model)
    assert result.exit_code == code
    faults = [line for line in result.stderr.splitlines() if line.startswith("qfl: ")]
    assert len(faults) == 1
    assert message in faults[0]


def test_a_folder_without_a_model_is_refused(tmp_path):
    small_case(tmp_path)
    result = run(tmp_path, "--output", tmp_path / "out", "--model", tmp_path)
    assert result.exit_code == 69
    assert "segmenter.safetensors" in result.stderr


def test_help_explains_inputs_and_outputs():
    result = run("--help")
    assert result.exit_code == 0
    for word in ("t1ce.nii.gz", "mask.nii.gz", "overlay.png", "measurements.json", "DICOM"):
        assert word in result.output
