from dataclasses import replace

import numpy as np
import pytest

from federated.case_files import IMAGES_SUFFIX, write_case_files
from federated.cases import (
    Case,
    case_digest,
    list_cases,
    phantom_case,
    read_case,
    read_cohort,
    to_example,
    write_cohort,
)
from federated.errors import TrainingDataError
from federated.phantom import build_phantom
from federated.phantom_sites import SITES, phantom_cohort
from federated.ports import Image
from federated.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def phantom():
    return build_phantom(np.random.default_rng(3), spacing_mm=4.0)


@pytest.fixture
def write(tmp_path, phantom):
    def written(name="case", labels=None, **images):
        write_case_files(tmp_path, name, {**phantom.images, **images}, phantom.labels if labels is None else labels)
        return tmp_path

    return written


def test_lists_and_reads_cases_by_name(write, phantom):
    write("b")
    folder = write("a")
    assert list_cases(folder) == ["a", "b"]
    case = read_case(folder, "b")
    np.testing.assert_array_equal(case.labels, phantom.labels)
    assert case.demographics is None
    for contrast, image in phantom.images.items():
        np.testing.assert_allclose(case.images[contrast].affine_lps, image.affine_lps, atol=1e-4)


def test_refuses_an_empty_folder(tmp_path):
    with pytest.raises(TrainingDataError, match=f"CASE{IMAGES_SUFFIX}"):
        list_cases(tmp_path)


def test_refuses_a_name_that_is_not_there(write):
    with pytest.raises(TrainingDataError, match="expected a case named other, got case"):
        read_case(write(), "other")


def test_a_phantom_cohort_can_be_written_and_read(tmp_path):
    sources = phantom_cohort(0, sites=[replace(SITES[6], cases=2)], spacing_mm=4.0)
    assert write_cohort(tmp_path / "new", sources) == 2
    for stored, source in zip(read_cohort(tmp_path / "new"), sources, strict=True):
        case, truth = stored.read(), source.read()
        assert (case.name, case.site, case.demographics) == (source.name, "site-07", source.demographics)
        assert set(case.images) == set(truth.images)
        np.testing.assert_array_equal(case.labels, truth.labels)
        for contrast, image in truth.images.items():
            step = image.voxels.max() / 32767
            np.testing.assert_allclose(case.images[contrast].voxels, image.voxels, atol=step)


def test_does_not_write_into_a_folder_that_holds_something(tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(TrainingDataError, match="expected an empty folder"):
        write_cohort(tmp_path, phantom_cohort(0, spacing_mm=4.0)[:1])


def test_finding_a_cohort_reads_no_voxels(write):
    folder = write()
    (folder / "case" / "case_t1ce.nii.gz").write_bytes(b"damaged")
    (source,) = read_cohort(folder)
    with pytest.raises(TrainingDataError, match=r"case: case_t1ce\.nii\.gz: expected a whole"):
        source.read()


def test_refuses_an_empty_segmentation_unless_it_is_expected(write, phantom):
    folder = write(labels=np.zeros_like(phantom.labels))
    with pytest.raises(TrainingDataError, match="case: expected labelled voxels, the segmentation is empty"):
        read_case(folder, "case")
    (source,) = read_cohort(folder, tumour_free=True)
    assert not source.read().labels.any()


def test_refuses_a_contrast_on_another_grid(write, phantom):
    t2 = phantom.images["T2"]
    moved = t2.affine_lps.copy()
    moved[0, 3] += 2
    for image in (Image(t2.voxels, moved), Image(t2.voxels[1:], t2.affine_lps)):
        name = f"case{image.voxels.shape[0]}"
        folder = write(name, T2=image)
        with pytest.raises(TrainingDataError, match=f"{name}: expected T2 on the grid of the T1ce"):
            read_case(folder, name)


def test_refuses_labels_on_another_grid(write, phantom):
    folder = write(labels=phantom.labels[:-1])
    with pytest.raises(TrainingDataError, match="expected labels on the grid of the T1ce, 36 x 44 x 36"):
        read_case(folder, "case")


def test_refuses_a_case_without_the_reference(write):
    folder = write()
    (folder / "case" / "case_t1ce.nii.gz").unlink()
    with pytest.raises(TrainingDataError, match="case: expected T1ce, got T1, T2, FLAIR only"):
        read_case(folder, "case")


def test_refuses_exchanged_contrasts(write, phantom):
    folder = write(T2=phantom.images["FLAIR"], FLAIR=phantom.images["T2"])
    with pytest.raises(TrainingDataError, match="case: expected what is brightest on T2 to be fluid, dark on FLAIR"):
        read_case(folder, "case")


def test_an_examples_labels_lie_on_its_images():
    case = phantom_case("phantom", build_phantom(np.random.default_rng(3), spacing_mm=4.0, noise=0.01))
    example = to_example(case, Preprocessing(spacing_mm=4.0))
    assert example.labels.shape == example.model_input.head.shape
    np.testing.assert_array_equal(np.bincount(example.labels.ravel())[1:], np.bincount(case.labels.ravel())[1:])
    t1ce = example.model_input.channels[1]
    assert t1ce[example.labels == 3].mean() > t1ce[example.model_input.head].mean() + 1


def test_an_unusable_case_is_named(phantom):
    dark = Image(np.zeros_like(phantom.images["T1"].voxels), phantom.images["T1"].affine_lps)
    case = Case("mine", {**phantom.images, "T1": dark}, phantom.labels)
    with pytest.raises(TrainingDataError, match="mine: T1: every voxel is 0"):
        to_example(case, Preprocessing(spacing_mm=4.0))


def test_a_digest_names_images_and_labels(phantom):
    case = phantom_case("a", phantom)
    assert case_digest(case) == case_digest(replace(case, name="b"))
    assert case_digest(case) != case_digest(replace(case, labels=np.zeros_like(case.labels)))
