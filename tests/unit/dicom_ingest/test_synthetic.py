import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import MrContrast, Series
from dicom_ingest.selection import choose_series
from dicom_ingest.synthetic import Plane, SyntheticStudy, build_series, turn_to_plane
from dicom_ingest.volume import assemble_volume

STUDY = SyntheticStudy("key", "phantom-1", date(2020, 1, 1), "F", 57, "asian")
SHAPE = (5, 7, 6)
LANDMARK = (1, 5, 2)
ANGLE = 0.3
OBLIQUE = np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])


def make_affine(columns, origin=(-20.0, 13.0, 40.0)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, origin
    return affine


AXIAL = make_affine(np.array([[0, 0, 1.5], [0, 2.0, 0], [3.0, 0, 0]]))
AFFINES = [
    pytest.param(AXIAL, id="axial"),
    pytest.param(make_affine(np.array([[0, 0, -1.5], [0, -2.0, 0], [3.0, 0, 0]])), id="RAS"),
    pytest.param(make_affine(np.array([[2.0, 0, 0], [0, 0, 1.0], [0, -1.5, 0]])), id="sagittal"),
    pytest.param(make_affine(OBLIQUE @ AXIAL[:3, :3]), id="oblique"),
]


@pytest.fixture
def voxels():
    values = np.random.default_rng(0).random(SHAPE, np.float32) * 500
    values[LANDMARK] = 5000
    values[0, 0] = 0
    return values


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("plane", Plane)
def test_every_voxel_keeps_its_value_and_its_place(voxels, affine, plane):
    series = build_series(STUDY, MrContrast.T1CE, voxels, affine, plane=plane)
    volume = assemble_volume([parse_instance(encode_instance(instance)) for instance in series])
    step = float(voxels.max()) / 65535
    found = np.unravel_index(volume.voxels.argmax(), volume.voxels.shape)
    np.testing.assert_allclose(volume.affine_lps @ [*found, 1], affine @ [*LANDMARK, 1], atol=1e-4)
    back = np.linalg.inv(volume.affine_lps) @ affine
    for index in np.ndindex(SHAPE):
        there = tuple(np.rint(back @ [*index, 1])[:3].astype(int))
        assert volume.voxels[there] == pytest.approx(float(voxels[index]), abs=step)
    assert (volume.voxels == 0).sum() == (voxels == 0).sum(), "zero stays exactly zero"


@pytest.mark.parametrize(("plane", "along"), [(Plane.AXIAL, 2), (Plane.CORONAL, 1), (Plane.SAGITTAL, 0)])
def test_slices_lie_in_the_plane_asked_for(voxels, plane, along):
    (first, second, *_) = build_series(STUDY, MrContrast.T1, voxels, AXIAL, plane=plane)
    moved = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    assert np.abs(moved).argmax() == along
    assert second.SliceLocation > first.SliceLocation


def test_negative_voxels_are_kept(voxels):
    series = build_series(STUDY, MrContrast.T1, voxels - 300, AXIAL)
    np.testing.assert_allclose(assemble_volume(series).voxels, voxels - 300, atol=0.05)


def test_a_study_is_recognised_by_its_headers(voxels):
    listed = []
    for contrast in MrContrast:
        header = build_series(STUDY, contrast, voxels, AXIAL)[0]
        listed.append(Series(header.StudyInstanceUID, header.SeriesInstanceUID, "MR", SHAPE[0], header))
    chosen = choose_series(listed).chosen
    assert {contrast: one.series.series_instance_uid for contrast, one in chosen.items()} == {
        contrast: each.series_instance_uid for contrast, each in zip(MrContrast, listed, strict=True)
    }


def test_uids_follow_from_the_key(voxels):
    first, again = (build_series(STUDY, MrContrast.T2, voxels, AXIAL) for _ in range(2))
    assert [encode_instance(one) for one in first] == [encode_instance(one) for one in again]
    other = build_series(replace(STUDY, key="other"), MrContrast.T2, voxels, AXIAL)
    uids = {one.SOPInstanceUID for one in first} | {one.SOPInstanceUID for one in other}
    assert len(uids) == 2 * SHAPE[0]
    assert first[0].StudyInstanceUID != other[0].StudyInstanceUID


def test_the_header_says_who_it_is_and_that_it_is_nobody(voxels):
    instance = build_series(STUDY, MrContrast.T1, voxels, AXIAL, slice_thickness_mm=5.0)[0]
    assert (instance.PatientSex, instance.PatientAge, instance.EthnicGroup) == ("F", "057Y", "asian")
    assert "Synthetic" in str(instance.PatientName)
    assert instance.SliceThickness == 5


def test_dciodvfy_finds_no_error(voxels, tmp_path):
    tool = shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    assert tool, "dciodvfy is missing: install the dev dependencies"
    for contrast in MrContrast:
        path = tmp_path / f"{contrast}.dcm"
        path.write_bytes(encode_instance(build_series(STUDY, contrast, voxels, AXIAL)[0]))
        done = subprocess.run([tool, "-new", path], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0
        assert not [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def test_refuses_what_is_not_finite(voxels):
    voxels[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        build_series(STUDY, MrContrast.T1, voxels, AXIAL)


def test_refuses_sheared_axes(voxels):
    sheared = AXIAL.copy()
    sheared[0, 1] = 1
    with pytest.raises(ValueError, match="perpendicular"):
        turn_to_plane(voxels, sheared, Plane.AXIAL)
