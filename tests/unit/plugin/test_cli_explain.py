"""`qfl explain` from files to files, by a real model folder whose reasons are known: what is bright on T1ce."""

import json
import os

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from plugin.cli import main
from plugin.services.explanation_picture import AGAINST, FOR, Maps, render_explanation
from tests.fakes.lesion_scene import LESION_RADIUS_MM, LESION_RAS, lesion_ml, paint_scene
from tests.fakes.threshold_model import save_threshold_model

SHAPE = (52, 60, 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_threshold_model(folder, spacing_mm=4.0)
    return folder


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("QFL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    grid = affine()
    scene = paint_scene(SHAPE, grid)
    rest = np.where(scene > 300, 110, scene)
    for name, voxels in {"t1ce": scene, "flair": rest, "t2": rest}.items():
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), grid), folder / f"{name}.nii.gz")
    return folder


def affine():
    matrix = np.diag([3.0, 3.0, 3.5, 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def run(*words):
    return CliRunner().invoke(main, ["explain", *map(str, words)])


@pytest.fixture(scope="module")
def explained(case, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    found = run(case, "--output", folder, "--model", model, "--samples", 60, "--seed", 3, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads((folder / "explanation.json").read_text())
    assert json.loads(found.stdout) == document
    assert "done" in found.stderr
    return folder, document


def test_the_pieces_that_weigh_most_are_the_lesion_s(explained):
    _, document = explained
    assert document["explained"]["tumour_outlined"]
    assert document["explained"]["answer"] == pytest.approx(
        document["explained"]["answer_with_whole_head_in_view"], abs=1e-3
    )
    # The model answers by T1ce alone, and linearly where it is bright: a faithful explanation exists.
    assert document["local"]["r2_held_out"] > 0.8
    assert document["local"]["faithful"]
    top = document["local"]["top"][0]
    assert top["weight"] > 0
    assert top["share_in_tumour"] > 0.4
    lesion_lps = LESION_RAS * [-1, -1, 1]
    assert np.linalg.norm(np.array(top["centre_lps_mm"]) - lesion_lps) < LESION_RADIUS_MM + 4


def test_only_the_sequence_that_the_model_looks_at_gets_attribution(explained):
    _, document = explained
    sums = document["attribution"]["by_sequence"]
    assert sums["T1ce"] > 1
    assert [sums[name] for name in ("T1", "T2", "FLAIR")] == [0, 0, 0]
    assert document["attribution"]["gap"] < 0.05


def test_the_reading_is_of_the_outlines(explained):
    _, document = explained
    reading = document["reading"]
    assert reading["features"]["volume_ml"] == pytest.approx(lesion_ml(), rel=0.5)
    assert reading["features"]["enhancing_ratio"] == 1
    assert reading["features"]["oedema_ratio"] == 0
    assert sum(rule["degree"] for rule in reading["fired_rules"]) == pytest.approx(1, abs=1e-3)
    assert "no diagnosis" in reading["what"]


def test_the_check_says_that_random_weights_give_another_map(explained):
    _, document = explained
    stages = document["sanity"]["stages"]
    assert stages[-1]["share"] == 1.0
    assert document["sanity"]["passed"] == (max(stages[-1]["rank_correlation"], stages[-1]["similarity"]) < 0.5)


def test_the_picture_shows_the_lesion_in_the_colour_of_what_speaks_for_it(explained):
    folder, _ = explained
    with Picture.open(folder / "explanation.png") as picture:
        assert picture.size[0] > 1400
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    orange = (pixels[..., 0] - pixels[..., 2] > 90) & (pixels[..., 1] > 60)
    third = slice(20 + 2 * 360, 20 + 3 * 360)
    assert orange[78:438, third].sum() > 300


def test_nothing_identifying_and_no_file_name_is_in_the_document(explained, case):
    folder, document = explained
    text = (folder / "explanation.json").read_text()
    assert "nii.gz" not in text
    assert str(case) not in text
    assert document["research_use"].startswith("Research use only")
    assert {path.name for path in folder.iterdir()} == {"explanation.png", "explanation.json"}


def test_a_case_without_a_tumour_is_explained_where_the_model_came_nearest(model, tmp_path):
    grid = affine()
    scene = paint_scene(SHAPE, grid)
    nib.save(nib.Nifti1Image(np.where(scene > 300, 110, scene).astype(np.float32), grid), tmp_path / "t1ce.nii.gz")
    found = run(tmp_path, "--output", tmp_path / "out", "--model", model, "--samples", 20)
    assert found.exit_code == 0, found.output
    for words in ("Local explanation: R2", "With random weights", "nothing was outlined", "Research use only"):
        assert words in found.stdout
    document = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert not document["explained"]["tumour_outlined"]
    assert document["reading"] is None
    assert "came nearest" in document["explained"]["what"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("nowhere", "--output", "out"), 66, id="no input"),
        pytest.param((".", "--output", "out", "--samples", "3"), 2, id="too few samples"),
    ],
)
def test_a_fault_is_told_and_leaves_nothing(words, code, tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words, "--model", model).exit_code == code
    assert not list(tmp_path.glob("out/*"))


def test_what_speaks_against_is_drawn_in_the_other_colour():
    """A picture of two halves, made by hand."""

    class Volume:
        voxels = np.pad(np.full((20, 20, 20), 100, np.float32), 4)
        affine_lps = np.eye(4)[[2, 1, 0, 3]]  # slices to the head, rows to the back, columns to the left

    weights = np.zeros((28, 28, 28), np.float32)
    weights[4:24, 4:24, 4:14], weights[4:24, 4:24, 14:24] = -1, 1
    pieces = np.where(weights < 0, 1, np.where(weights > 0, 2, 0)).astype(np.uint8)
    maps = Maps(pieces, weights, weights, Volume.affine_lps)
    labels = np.zeros((28, 28, 28), np.uint8)
    labels[10:18, 10:18, 10:18] = 3
    png = render_explanation({"T1ce": Volume}, "T1ce", "FLAIR", labels, maps, ["A title", "A line"])
    assert png == render_explanation({"T1ce": Volume}, "T1ce", "FLAIR", labels, maps, ["A title", "A line"])
    import io

    pixels = np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")).astype(int)
    panel = pixels[78:438, 20 + 360 : 20 + 720]
    warm, cold = (panel[..., 0] - panel[..., 2]), (panel[..., 2] - panel[..., 0])
    # Columns grow towards the patient's left, which is on the right of an axial view.
    assert (warm[:, 200:] > 60).sum() > 50 * (warm[:, :150] > 60).sum()
    assert (cold[:, :150] > 60).sum() > 50 * (cold[:, 200:] > 60).sum()
    assert FOR != AGAINST
