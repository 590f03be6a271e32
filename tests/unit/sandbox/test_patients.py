"""The pretend patients: geometry and validity judged by SimpleITK (GDCM), dciodvfy and nibabel, not by our own code."""

import shutil
import subprocess
import sys
from datetime import date
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import UID

from sandbox.patients import (
    build_mr_instances,
    build_registration,
    dice_against_label,
    identity_of,
    load_subject,
    plan_visit,
    subject_ids,
)
from sandbox.patients.subjects import DATA, SEQUENCES

SUBJECT_ID = "Brats18_TCIA03_265_1"
STUDY_DATE = date(2026, 3, 2)


@pytest.fixture(scope="module")
def subject():
    return load_subject(SUBJECT_ID)


@pytest.fixture(scope="module")
def visit(subject):
    return plan_visit(subject, STUDY_DATE)


@pytest.fixture(scope="module")
def instances(subject, visit):
    return list(build_mr_instances(subject, visit))


@pytest.fixture(scope="module")
def datasets(instances):
    return [dcmread(BytesIO(instance)) for instance in instances]


@pytest.fixture(scope="module")
def folder(instances, datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mr")
    for instance, dataset in zip(instances, datasets, strict=True):
        (folder / f"{dataset.SeriesNumber}-{dataset.InstanceNumber}.dcm").write_bytes(instance)
    return folder


def read_with_gdcm(folder, series_instance_uid):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series_instance_uid))
    return reader.Execute()


@pytest.mark.parametrize(("index", "sequence"), list(enumerate(SEQUENCES)))
def test_every_voxel_lies_in_dicom_where_it_lay_in_nifti(folder, visit, index, sequence):
    source = nibabel.load(DATA / f"{SUBJECT_ID}_t1_t1ce_t2_flair_2mm.nii.gz")
    voxels = np.asarray(source.dataobj)[..., index]
    image = read_with_gdcm(folder, visit.series_instance_uids[sequence])
    pixels = sitk.GetArrayFromImage(image)
    assert sorted(image.GetSize()) == sorted(voxels.shape)
    # Off-centre landmarks, among them the corners: the world point is NIfTI's own (RAS), its first two signs turned.
    chosen = np.random.default_rng(3).choice(np.argwhere(voxels > 0), 200)
    landmarks = [*chosen, (0, 0, 0), (voxels.shape[0] - 1, 0, 0), np.array(voxels.shape) - 1]
    for landmark in landmarks:
        ras = nibabel.affines.apply_affine(source.affine, landmark)
        found = image.TransformPhysicalPointToIndex([float(-ras[0]), float(-ras[1]), float(ras[2])])
        assert pixels[found[::-1]] == voxels[tuple(landmark)]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(found), [-ras[0], -ras[1], ras[2]], atol=1e-6)


def test_first_pixel_is_the_rightmost_and_most_anterior(datasets, subject):
    # The NIfTI origin (-52.5, 180.5, 14.5) is in RAS with steps to the left, to the back and up.
    first = datasets[0]
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert np.allclose(first.ImagePositionPatient, [52.5, -180.5, 14.5])


def test_all_objects_are_valid_dicom(folder, datasets):
    dciodvfy = shutil.which("dciodvfy", path=Path(sys.executable).parent)
    for name in (f"{number}-{slice_}.dcm" for number in range(1, 5) for slice_ in (1, 30)):
        done = subprocess.run([dciodvfy, "-new", folder / name], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr, f"{name}: {done.stderr}"
        assert done.returncode == 0


def test_all_objects_agree_on_patient_study_and_frame_of_reference(folder):
    dcentvfy = shutil.which("dcentvfy", path=Path(sys.executable).parent)
    files = sorted(folder.glob("*-3?.dcm"))
    done = subprocess.run([dcentvfy, *files], capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr, done.stderr


def test_headers_say_which_sequence_it_is(datasets):
    by_number = {dataset.SeriesNumber: dataset for dataset in datasets}
    descriptions = [by_number[number].SeriesDescription for number in range(1, 5)]
    assert descriptions == ["AX T1", "AX T1 +C", "AX T2", "AX T2 FLAIR"]
    assert ["ContrastBolusAgent" in by_number[number] for number in range(1, 5)] == [False, True, False, False]
    assert ["InversionTime" in by_number[number] for number in range(1, 5)] == [False, False, False, True]
    assert by_number[1].RepetitionTime < 1000 < by_number[3].RepetitionTime


def test_uids_are_valid_unique_and_the_same_again(datasets, instances, subject, visit):
    uids = [dataset.SOPInstanceUID for dataset in datasets]
    assert len(set(uids)) == len(uids) == 4 * subject.label.shape[2]
    everything = {*uids, visit.study_instance_uid, visit.frame_of_reference_uid, *visit.series_instance_uids.values()}
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in everything)
    assert len(everything) == len(uids) + 6
    assert next(build_mr_instances(subject, plan_visit(subject, STUDY_DATE))) == instances[0]
    assert plan_visit(subject, date(2026, 3, 3)).study_instance_uid != visit.study_instance_uid


def test_identities_are_invented_and_differ():
    identities = [identity_of(subject_id) for subject_id in subject_ids()]
    assert len(identities) == 6
    assert len({identity.patient_id for identity in identities}) == 6


def test_study_date_is_the_given_one(datasets):
    assert {dataset.StudyDate for dataset in datasets} == {"20260302"}


def test_unknown_subject_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=SUBJECT_ID):
        load_subject("../../etc/passwd")


def test_registration_tells_the_same_as_the_images(subject, visit, datasets):
    bundle = build_registration(subject, visit, "http://127.0.0.1:1/dicom-web")
    by_type = {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}
    study = by_type["ImagingStudy"]
    assert study["identifier"][0]["value"] == f"urn:oid:{datasets[0].StudyInstanceUID}"
    assert study["numberOfInstances"] == len(datasets)
    told = {series["uid"]: series["numberOfInstances"] for series in study["series"]}
    held = {dataset.SeriesInstanceUID: 0 for dataset in datasets}
    for dataset in datasets:
        held[dataset.SeriesInstanceUID] += 1
    assert told == held
    assert by_type["Patient"]["identifier"][0]["value"] == datasets[0].PatientID
    assert by_type["Patient"]["birthDate"].replace("-", "") == datasets[0].PatientBirthDate
    assert by_type["Endpoint"]["address"] == "http://127.0.0.1:1/dicom-web"
    references = {entry["fullUrl"] for entry in bundle["entry"]}
    assert study["subject"]["reference"] in references
    assert study["endpoint"][0]["reference"] in references
    assert study["basedOn"][0]["reference"] in references


CODES = {"enhancing": ("C113842", "NCIt"), "oedema": ("79654002", "SCT"), "necrosis": ("6574001", "SCT")}


def make_seg(datasets, masks, tmp_path):
    """Write masks (slices, rows, columns) with highdicom; what is tested reads with pydicom alone."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="test", version="1", family=codes.cid7162.ArtificialIntelligence
    )
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=Code(*CODES[name], name),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(masks, start=1)
    ]
    segmentation = highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=np.stack(list(masks.values()), -1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=highdicom.UID(),
        series_number=9,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    path = tmp_path / "seg.dcm"
    segmentation.save_as(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def truth(subject):
    """The label as masks (slices, rows, columns)."""
    label = subject.label.T
    return {"necrosis": label == 1, "oedema": label == 2, "enhancing": label == 4}


@pytest.fixture(scope="module")
def t1ce(datasets):
    return [dataset for dataset in datasets if dataset.SeriesNumber == 2]


def test_perfect_segmentation_scores_one(subject, t1ce, truth, tmp_path):
    scores = dice_against_label(make_seg(t1ce, truth, tmp_path), subject)
    assert scores == {"whole_tumour": 1.0, "tumour_core": 1.0, "enhancing": 1.0}


def test_slices_in_reverse_order_score_the_same(subject, t1ce, truth, tmp_path):
    turned = {name: mask[::-1] for name, mask in truth.items()}
    assert dice_against_label(make_seg(t1ce[::-1], turned, tmp_path), subject)["whole_tumour"] == 1.0


def test_shifted_segmentation_scores_as_counted(subject, t1ce, truth, tmp_path):
    shifted = {name: np.roll(mask, 1, axis=2) for name, mask in truth.items()}
    whole = truth["necrosis"] | truth["oedema"] | truth["enhancing"]
    expected = (whole & np.roll(whole, 1, axis=2)).sum() / whole.sum()
    scores = dice_against_label(make_seg(t1ce, shifted, tmp_path), subject)
    assert scores["whole_tumour"] == pytest.approx(expected)
    assert 0 < scores["enhancing"] < 1


def test_swapped_segments_keep_the_core_and_lose_the_enhancing_part(subject, t1ce, truth, tmp_path):
    swapped = {"necrosis": truth["enhancing"], "oedema": truth["oedema"], "enhancing": truth["necrosis"]}
    scores = dice_against_label(make_seg(t1ce, swapped, tmp_path), subject)
    assert scores == {"whole_tumour": 1.0, "tumour_core": 1.0, "enhancing": 0.0}


@pytest.mark.parametrize(
    "shift_mm", [pytest.param(0.7, id="between voxels"), pytest.param(1000.0, id="outside the volume")]
)
def test_segmentation_off_the_grid_is_refused(subject, t1ce, truth, tmp_path, shift_mm):
    moved = [dcmread(BytesIO(write(dataset))) for dataset in t1ce]
    for dataset in moved:
        dataset.ImagePositionPatient[0] += shift_mm
    with pytest.raises(ValueError, match="voxel grid"):
        dice_against_label(make_seg(moved, {"oedema": truth["oedema"]}, tmp_path), subject)


def write(dataset):
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
