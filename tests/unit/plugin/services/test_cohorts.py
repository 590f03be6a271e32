import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_ingest.instances import encode_instance, parse_instance
from federated.cases import Case, write_cohort
from federated.demographics import Demographics
from federated.errors import TrainingDataError
from federated.phantom import build_phantom
from federated.phantom_sites import SITES, phantom_cohort
from federated.ports import Image
from plugin.services.cohorts import open_cohort, summarise_case, write_dicom_cohort

MISSING = {}, {"FLAIR": 1.0}
SPACING = {"spacing_mm": 6.0}


@pytest.fixture(scope="module")
def sources():
    whole, lacking = (
        phantom_cohort(1, sites=[replace(SITES[4], cases=2, missing=each)], **SPACING) for each in MISSING
    )
    return whole[0], lacking[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory, sources):
    folder = tmp_path_factory.mktemp("cohort") / "dicom"
    assert write_dicom_cohort(folder, sources) == 2
    return folder


@pytest.fixture
def folder(tmp_path, written):
    return Path(shutil.copytree(written, tmp_path / "dicom"))


def test_a_phantom_comes_back_from_dicom(folder, sources):
    found = {len(case.images): case for case in (source.read() for source in open_cohort(folder))}
    assert len(found) == 2, "the second lacks FLAIR"
    for source in sources:
        truth = source.read()
        case = found[len(truth.images)]
        assert set(case.images) == set(truth.images)
        assert case.demographics == truth.demographics
        np.testing.assert_array_equal(case.labels, truth.labels)
        for contrast, image in truth.images.items():
            step = image.voxels.max() / 65535
            np.testing.assert_allclose(case.images[contrast].voxels, image.voxels, atol=step)
            landmark = np.unravel_index(image.voxels.argmax(), image.voxels.shape)
            np.testing.assert_allclose(
                case.images[contrast].affine_lps @ [*landmark, 1], image.affine_lps @ [*landmark, 1], atol=1e-4
            )


def test_nifti_and_dicom_tell_the_same_of_a_case(tmp_path, folder, sources):
    write_cohort(tmp_path / "nifti", sources)
    kinds = [[summarise_case(source) for source in open_cohort(place)] for place in (folder, tmp_path / "nifti")]
    nameless = [sorted((replace(one, name="") for one in each), key=lambda one: one.volumes_ml) for each in kinds]
    for dicom, nifti in zip(*nameless, strict=True):
        assert (dicom.contrasts, dicom.shape, dicom.fault) == (nifti.contrasts, nifti.shape, None)
        assert dicom.volumes_ml == pytest.approx(nifti.volumes_ml)
        assert dicom.spacing_mm == pytest.approx((6, 6, 6))


def test_a_summary_names_what_is_wrong(sources):
    case = sources[0].read()
    dark = {**case.images, "T1": Image(np.zeros_like(case.images["T1"].voxels), case.images["T1"].affine_lps)}

    class Broken:
        name = "mine"

        def read(self):
            return Case("mine", dark, case.labels)

    assert "every voxel is 0" in summarise_case(Broken()).fault


def test_volumes_are_in_millilitres(sources):
    case = sources[0].read()
    expected = [(case.labels == label).sum() * 0.216 for label in (1, 2, 3)]
    assert summarise_case(sources[0]).volumes_ml == pytest.approx(expected)


def test_does_not_write_into_a_folder_that_holds_something(folder, sources):
    with pytest.raises(TrainingDataError, match="expected an empty folder"):
        write_dicom_cohort(folder, sources)


def test_the_same_case_gives_the_same_bytes(tmp_path, sources):
    for name in ("one", "two"):
        write_dicom_cohort(tmp_path / name, sources[:1])
    for path in (tmp_path / "one").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TrainingDataError, match="expected a folder of cases"):
        open_cohort(tmp_path / "nothing")


def test_a_case_without_demographics_can_be_written(tmp_path):
    phantom = build_phantom(np.random.default_rng(0), **SPACING)

    class Unknown:
        name = "unknown"

        def read(self):
            return Case("unknown", {"T1ce": phantom.images["T1ce"]}, phantom.labels)

    write_dicom_cohort(tmp_path / "new", [Unknown()])
    (found,) = open_cohort(tmp_path / "new")
    assert found.read().demographics is None
    assert set(found.read().images) == {"T1ce"}


def rewrite(path, change):
    instance = parse_instance(path.read_bytes())
    change(instance)
    path.write_bytes(encode_instance(instance))


@pytest.fixture
def study(folder, sources):
    return folder / sources[0].name


def read_study(study):
    (found,) = open_cohort(study)
    return found.read()


def test_segments_of_others_are_known_by_their_names(study, sources):
    def rename(instance):
        for item, label in zip(instance.SegmentSequence, ("Non-enhancing core", "Edema", "Enhancing"), strict=True):
            item.SegmentLabel = label
            item.SegmentedPropertyTypeCodeSequence[0].CodeValue = "4147007"

    rewrite(study / "seg.dcm", rename)
    np.testing.assert_array_equal(read_study(study).labels, sources[0].read().labels)


def test_the_older_spelling_of_a_scheme_is_known(study, sources):
    def respell(instance):
        for item in instance.SegmentSequence:
            code = item.SegmentedPropertyTypeCodeSequence[0]
            code.CodingSchemeDesignator = code.CodingSchemeDesignator.upper()
            item.SegmentLabel = "?"

    rewrite(study / "seg.dcm", respell)
    np.testing.assert_array_equal(read_study(study).labels, sources[0].read().labels)


def test_demographics_come_from_the_header(study):
    for path in study.rglob("*.dcm"):
        rewrite(path, lambda instance: (setattr(instance, "PatientAge", "030M"), setattr(instance, "EthnicGroup", "X")))
    assert read_study(study).demographics == Demographics(read_study(study).demographics.sex, 2, "other")


def strange_segment(instance):
    instance.SegmentSequence[0].SegmentLabel = "Ventricle"
    instance.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "35764002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda study: (study / "seg.dcm").unlink(), "expected one segmentation, got 0", id="no SEG"),
        pytest.param(
            lambda study: rewrite(study / "seg.dcm", strange_segment), "got 'Ventricle' too", id="another segment"
        ),
        pytest.param(
            lambda study: rewrite(study / "seg.dcm", lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3")),
            "frame of reference is not that of the T1ce",
            id="another frame",
        ),
        pytest.param(
            lambda study: rewrite(study / "seg.dcm", lambda seg: setattr(seg, "SegmentationType", "FRACTIONAL")),
            "Expected a BINARY Segmentation",
            id="fractional",
        ),
        pytest.param(
            lambda study: [path.unlink() for path in (study / "T1ce").iterdir()],
            "Expected a T1-weighted series after contrast",
            id="no T1ce",
        ),
        pytest.param(
            lambda study: sorted((study / "T2").iterdir())[4].unlink(), "1 of 24 slices are missing", id="slice missing"
        ),
    ],
)
def test_refuses_studies_that_cannot_be_used_by_their_uid(study, change, message):
    uid = parse_instance(next((study / "T1").iterdir()).read_bytes()).StudyInstanceUID
    change(study)
    with pytest.raises(TrainingDataError, match=f"^{uid}: .*{message}"):
        read_study(study)


def test_two_segmentations_are_not_guessed_between(study):
    (study / "other.dcm").write_bytes((study / "seg.dcm").read_bytes())
    assert read_study(study), "a second copy of the same is the same"
    rewrite(study / "other.dcm", lambda seg: setattr(seg, "SOPInstanceUID", "1.2.3"))
    with pytest.raises(TrainingDataError, match="expected one segmentation, got 2"):
        read_study(study)


def test_a_broken_file_is_named(study):
    path = study / "T1" / "0003.dcm"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(TrainingDataError, match=r"0003\.dcm: Expected SOPClassUID to be a UID"):
        open_cohort(study)


def test_other_files_are_passed_over(study):
    (study / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM rubbish")
    (study / "notes.txt").write_text("nothing")
    assert read_study(study)
