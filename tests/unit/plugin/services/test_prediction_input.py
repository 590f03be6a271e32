"""What is taken for what: NIfTI names, DICOM headers, and what is none of these."""

import nibabel as nib
import numpy as np
import pytest

from dicom_ingest.errors import BrokenInstanceError, MissingReferenceSeriesError
from dicom_ingest.instances import encode_instance
from dicom_ingest.model import MrContrast
from federated.case_files import IMAGES_SUFFIX
from federated.errors import NiftiFileError
from federated.presets import DEMO_DATA
from plugin.errors import InputNotFoundError, SequenceNamesError, SeveralStudiesError
from plugin.services.prediction_input import InputKind, read_input
from tests.fakes.mr_series import make_series, make_study, study_uid

SHAPE = (6, 5, 4)


def ignore(_fraction):
    pass


def nifti(folder, *names, shape=SHAPE):
    for number, name in enumerate(names):
        nib.save(nib.Nifti1Image(np.full(shape, number, np.float32), np.diag([2.0, 2, 2, 1])), folder / name)


@pytest.mark.parametrize(
    ("names", "sequences"),
    [
        pytest.param(("t1.nii.gz", "t1ce.nii.gz", "t2.nii.gz", "flair.nii.gz"), "0123", id="by sequence"),
        pytest.param(("FLAIR.nii", "T1Gd.NII.GZ"), "-1-0", id="capitals, and some are missing"),
        pytest.param(
            ("Brats18_X_1_flair.nii.gz", "Brats18_X_1_t1.nii.gz", "Brats18_X_1_t1ce.nii.gz", "Brats18_X_1_seg.nii.gz"),
            "12-0",
            id="BraTS until 2021",
        ),
        pytest.param(
            (
                "BraTS-GLI-00000-000-t1c.nii.gz",
                "BraTS-GLI-00000-000-t1n.nii.gz",
                "BraTS-GLI-00000-000-t2f.nii.gz",
                "BraTS-GLI-00000-000-t2w.nii.gz",
            ),
            "1032",
            id="BraTS from 2023",
        ),
        pytest.param(("x_t1_ce.nii.gz", "x_t2_flair.nii.gz", "x_t2.nii.gz"), "-021", id="with a separator within"),
        pytest.param(("t1ce.nii.gz", "mask.nii.gz", "uncertainty.nii.gz"), "-0--", id="with results beside it"),
    ],
)
def test_files_are_known_by_their_names(tmp_path, names, sequences):
    nifti(tmp_path, *names)
    case = read_input(tmp_path, ignore)
    assert case.kind is InputKind.NIFTI_FILES
    found = {sequence: image.voxels.flat[0] for sequence, image in case.images.items()}
    expected = zip(("T1", "T1ce", "T2", "FLAIR"), sequences, strict=True)
    assert found == {sequence: float(number) for sequence, number in expected if number != "-"}
    assert len(case.uses) == len(names)


def test_the_volumes_of_a_4d_file_are_t1_t1ce_t2_flair(tmp_path):
    values = np.stack([np.full(SHAPE, number, np.float32) for number in range(4)], axis=-1)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "case.nii.gz")
    case = read_input(tmp_path / "case.nii.gz", ignore)
    assert case.kind is InputKind.NIFTI_4D
    assert {s: image.voxels.flat[0] for s, image in case.images.items()} == {"T1": 0, "T1ce": 1, "T2": 2, "FLAIR": 3}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("t1.nii.gz", "flair.nii.gz"), "Expected a T1ce file", id="no T1ce"),
        pytest.param(("t1ce.nii.gz", "t1c.nii.gz"), "Expected one file for T1ce, got t1c", id="two T1ce"),
        pytest.param(("a_t1ce.nii.gz", "b_t2.nii.gz"), "begin differently", id="two cases"),
    ],
)
def test_refuses_names_that_do_not_make_one_case(tmp_path, names, message):
    nifti(tmp_path, *names)
    with pytest.raises(SequenceNamesError, match=message):
        read_input(tmp_path, ignore)


def test_refuses_a_4d_file_named_as_one_sequence(tmp_path):
    nifti(tmp_path, "x_t1_t1ce_t2_flair.nii.gz", "x_t1_t1ce_t1ce.nii.gz", shape=(*SHAPE, 4))
    with pytest.raises(NiftiFileError, match="A 4-D file goes by itself"):
        read_input(tmp_path, ignore)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda folder: folder / "nowhere", "there is none", id="not there"),
        pytest.param(lambda folder: folder, "found neither", id="empty folder"),
        pytest.param(lambda folder: nifti(folder, "a.nii", "b.nii") or folder, "2 NIfTI files", id="others"),
        pytest.param(lambda folder: nifti(folder, "a.nii") or folder, "if it is 4-D, give the file", id="one file"),
        pytest.param(lambda folder: text(folder / "report.txt"), "give DICOM files as their folder", id="a text"),
    ],
)
def test_says_what_it_looked_for(tmp_path, make, message):
    with pytest.raises(InputNotFoundError, match=message):
        read_input(make(tmp_path), ignore)


def text(path):
    path.write_text("hello")
    return path


def test_warns_of_files_that_do_not_say_where_left_is(tmp_path):
    nifti(tmp_path, "t1ce.nii.gz")
    assert read_input(tmp_path, ignore).warnings == ()
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.float32), None), tmp_path / "t2.nii.gz")
    (warning,) = read_input(tmp_path, ignore).warnings
    assert warning.startswith("T2: the file does not say where left and right are")


# DICOM


def dicom(folder, instances, nested=True):
    for number, instance in enumerate(instances):
        place = folder / str(instance.SeriesNumber) / str(number % 3) if nested else folder
        place.mkdir(parents=True, exist_ok=True)
        (place / f"IM{number:05}").write_bytes(encode_instance(instance))


def test_series_are_found_at_any_depth_and_chosen_by_their_headers(tmp_path):
    dicom(tmp_path, make_study())
    dicom(tmp_path, make_series(contrast=MrContrast.T2, series_number=9, SeriesDescription="LOCALIZER"))
    text(tmp_path / "README.txt")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"not an image")
    steps = []
    case = read_input(tmp_path, steps.append)
    assert case.kind is InputKind.DICOM
    assert list(case.images) == ["T1", "T1ce", "T2", "FLAIR"]
    assert case.grid.shape == (20, 24, 8)
    assert [use.contrast for use in case.uses] == ["T1", "T1ce", "T2", "FLAIR", None]
    assert all(use.reason for use in case.uses)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0.0, 1.0)


def test_a_second_copy_of_a_file_changes_nothing(tmp_path):
    dicom(tmp_path / "one", make_study())
    dicom(tmp_path / "two", make_study())
    assert read_input(tmp_path, ignore).images["T1ce"].voxels.shape == (8, 24, 20)


def test_several_studies_are_listed_by_uid(tmp_path):
    dicom(tmp_path, make_study("one"))
    dicom(tmp_path, make_study("two"), nested=False)
    with pytest.raises(SeveralStudiesError) as caught:
        read_input(tmp_path, ignore)
    assert all(study_uid(key) in str(caught.value) for key in ("one", "two"))
    assert "Sørensen" not in str(caught.value)


def test_a_study_without_t1_after_contrast_is_refused(tmp_path):
    dicom(tmp_path, make_series(contrast=MrContrast.T2))
    with pytest.raises(MissingReferenceSeriesError):
        read_input(tmp_path, ignore)


def test_a_broken_file_is_named(tmp_path):
    dicom(tmp_path, make_series())
    broken = tmp_path / "2" / "0" / "IM00000"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(BrokenInstanceError, match=r"2/0/IM00000: .* cut off"):
        read_input(tmp_path, ignore)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    dicom(tmp_path, make_series())
    monkeypatch.setattr("plugin.services.prediction_dicom.MAX_FILE_BYTES", 100)
    with pytest.raises(BrokenInstanceError, match="at most 100 bytes"):
        read_input(tmp_path, ignore)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    dicom(tmp_path, make_series())
    monkeypatch.setattr("plugin.services.prediction_dicom.MAX_FILES", 4)
    with pytest.raises(InputNotFoundError, match="more than 4 files"):
        read_input(tmp_path, ignore)


def test_a_series_of_another_frame_of_reference_is_warned_of(tmp_path):
    study = make_study()
    dicom(tmp_path, study[:24] + make_series(contrast=MrContrast.FLAIR, frame_of_reference_uid="1.2.3"))
    case = read_input(tmp_path, ignore)
    assert "FLAIR" not in case.images
    assert "was not used" in case.warnings[0]


def test_refuses_a_4d_file_whose_t2_and_flair_are_exchanged(tmp_path):
    stored = nib.load(DEMO_DATA / f"Brats18_TCIA02_370_1{IMAGES_SUFFIX}")
    exchanged = np.asarray(stored.dataobj)[..., [0, 1, 3, 2]]
    nib.save(nib.Nifti1Image(exchanged, stored.affine), tmp_path / "case.nii.gz")
    with pytest.raises(
        SequenceNamesError, match=r"case\.nii\.gz: expected the volumes in the order T1, T1ce, T2, FLAIR"
    ):
        read_input(tmp_path / "case.nii.gz", ignore)
