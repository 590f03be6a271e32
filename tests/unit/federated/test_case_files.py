import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK

from federated.case_files import (
    IMAGES_SUFFIX,
    LABELS_SUFFIX,
    find_cases,
    read_images,
    read_labels,
    write_case_files,
)
from federated.errors import TrainingDataError
from federated.ports import Image

SHAPE = (6, 5, 4)
OLD = {"T1": "_t1", "T1ce": "_t1ce", "T2": "_t2", "FLAIR": "_flair", "seg": "_seg"}
NEW = {"T1": "-t1n", "T1ce": "-t1c", "T2": "-t2w", "FLAIR": "-t2f", "seg": "-seg"}


def itk_image(values):
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((-11.0, 7.0, 5.0))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def write(folder, name, *, names=OLD, labels=(0, 1, 2, 4), suffix=".nii.gz"):
    """By another library than the one that reads."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for contrast, ending in names.items():
        drawn = rng.choice(np.array(labels, np.uint8), SHAPE)
        values = drawn if contrast == "seg" else rng.integers(1, 900, SHAPE).astype(np.int16)
        written[contrast] = itk_image(values)
        SimpleITK.WriteImage(written[contrast], str(folder / (name + ending + suffix)))
    return written


def write_joined(folder, name):
    written = write(folder, name)
    volumes = [written[contrast] for contrast in ("T1", "T1ce", "T2", "FLAIR")]
    for path in folder.glob(f"{name}_*"):
        path.unlink()
    SimpleITK.WriteImage(SimpleITK.JoinSeries(volumes), str(folder / (name + IMAGES_SUFFIX)))
    SimpleITK.WriteImage(written["seg"], str(folder / (name + LABELS_SUFFIX)))
    return written


LAYOUTS = [
    pytest.param(lambda folder: write_joined(folder, "case"), id="joined"),
    pytest.param(lambda folder: write(folder / "case", "case"), id="to 2021"),
    pytest.param(lambda folder: write(folder / "HGG" / "case", "case"), id="in HGG"),
    pytest.param(lambda folder: write(folder, "case", suffix=".nii"), id="flat, not compressed"),
    pytest.param(lambda folder: write(folder / "case", "case", names=NEW, labels=(0, 1, 2, 3)), id="from 2023"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_each_voxel_where_itk_wrote_it(tmp_path, layout):
    written = layout(tmp_path)
    files = find_cases(tmp_path)["case"]
    images = read_images(files)
    labels, affine = read_labels(files)
    for contrast, image in images.items():
        for slice_, row, column in [(0, 0, 0), (5, 1, 2), (2, 4, 3)]:
            # ITK's physical space is LPS, its index order is (column, row, slice).
            place = written[contrast].TransformIndexToPhysicalPoint((column, row, slice_))
            assert (image.affine_lps @ [slice_, row, column, 1])[:3] == pytest.approx(place)
            assert image.voxels[slice_, row, column] == written[contrast][column, row, slice_]
    assert list(images) == ["T1", "T1ce", "T2", "FLAIR"]
    np.testing.assert_allclose(affine, images["T1ce"].affine_lps, atol=1e-5)
    values = SimpleITK.GetArrayFromImage(written["seg"])
    np.testing.assert_array_equal(labels, np.where(values == 4, 3, values))


def test_sequences_may_be_missing(tmp_path):
    write(tmp_path, "case", names={key: OLD[key] for key in ("T1ce", "FLAIR", "seg")})
    assert list(read_images(find_cases(tmp_path)["case"])) == ["T1ce", "FLAIR"]


def test_several_layouts_may_lie_side_by_side(tmp_path):
    write_joined(tmp_path, "b")
    write(tmp_path / "a", "a", names=NEW, labels=(0, 1))
    write(tmp_path / "c", "c")
    assert list(find_cases(tmp_path)) == ["a", "b", "c"]


def test_refuses_a_folder_without_cases(tmp_path):
    (tmp_path / "notes.nii.gz").touch()
    with pytest.raises(TrainingDataError, match="found none"):
        find_cases(tmp_path)


def test_refuses_two_files_for_one_contrast(tmp_path):
    write(tmp_path / "first", "case")
    write(tmp_path / "second", "case")
    with pytest.raises(TrainingDataError, match="case: expected one file for flair"):
        find_cases(tmp_path)


def test_refuses_the_names_of_two_years(tmp_path):
    write(tmp_path, "case", names={"T1": "_t1", "T1ce": "-t1c", "seg": "-seg"})
    with pytest.raises(TrainingDataError, match="rename t1"):
        find_cases(tmp_path)


def test_refuses_labels_without_images(tmp_path):
    write(tmp_path, "case", names={"seg": "_seg"})
    with pytest.raises(TrainingDataError, match="at least one contrast"):
        read_images(find_cases(tmp_path)["case"])


def test_refuses_images_without_labels(tmp_path):
    write(tmp_path, "case", names={"T1ce": "_t1ce"})
    with pytest.raises(TrainingDataError, match=r"case: expected labels in a file named case_seg\.nii\.gz"):
        read_labels(find_cases(tmp_path)["case"])


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        pytest.param(OLD, (0, 3), r"expected the labels 0, 1, 2, 4, got \[3\] too", id="3 before 2023"),
        pytest.param(NEW, (0, 4), r"expected the labels 0, 1, 2, 3, got \[4\] too", id="4 from 2023"),
    ],
)
def test_refuses_labels_of_another_year(tmp_path, names, labels, message):
    write(tmp_path, "case", names=names, labels=labels)
    with pytest.raises(TrainingDataError, match=message):
        read_labels(find_cases(tmp_path)["case"])


def save(tmp_path, voxels, affine):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "case_t1ce.nii.gz")
    return find_cases(tmp_path)["case"]


RAMP = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
SHEARED = np.array([[2.0, 1.0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        pytest.param(np.where(RAMP == 7, np.nan, RAMP), np.eye(4), "1 of [0-9]+ are NaN", id="NaN"),
        pytest.param(np.where(RAMP < 2, np.inf, RAMP), np.eye(4), "2 of [0-9]+ are NaN or infinite", id="infinite"),
        pytest.param(np.full_like(RAMP, 3), np.eye(4), "every voxel of T1ce is 3", id="constant"),
        pytest.param(RAMP[..., :1], np.eye(4), "at least 3 voxels", id="one slice"),
        pytest.param(np.stack([RAMP, RAMP], -1), np.eye(4), "expected one 3-D volume", id="two volumes"),
        pytest.param(RAMP, np.diag([2.0, 2, 0, 1]), "expected voxels of 0.05 to 20.0 mm", id="0 mm"),
        pytest.param(RAMP, SHEARED, "expected axes at right angles", id="sheared"),
    ],
)
def test_refuses_volumes_that_are_none(tmp_path, voxels, affine, message):
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "case_t1ce.nii.gz")
    with pytest.raises(TrainingDataError, match=f"^case: .*{message}"):
        read_images(find_cases(tmp_path)["case"])


def test_refuses_a_file_that_is_cut_off(tmp_path):
    files = save(tmp_path, RAMP, np.eye(4))
    path = tmp_path / "case_t1ce.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TrainingDataError, match=r"case: case_t1ce\.nii\.gz: expected a whole"):
        read_images(files)


def test_refuses_a_file_that_is_not_an_image(tmp_path):
    (tmp_path / "case_t1ce.nii.gz").write_bytes(gzip.compress(b"no image"))
    with pytest.raises(TrainingDataError, match="expected a NIfTI-1"):
        read_images(find_cases(tmp_path)["case"])


def test_refuses_an_absurd_header_before_it_takes_memory(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 300))
    (tmp_path / "case_t1ce.nii.gz").write_bytes(gzip.compress(header.binaryblock + b"\0\0\0\0"))
    with pytest.raises(TrainingDataError, match="is cut off: expected 1080000000000 bytes"):
        read_images(find_cases(tmp_path)["case"])


def test_written_cases_are_read_by_itk_with_the_same_values(tmp_path):
    rng = np.random.default_rng(1)
    affine = np.array([[0, 0, 2.0, -30], [0, 3.0, 0, 5], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    voxels = rng.random(SHAPE).astype(np.float32) * 700
    voxels[0] = 0
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    write_case_files(tmp_path, "case", {"T1ce": Image(voxels, affine), "FLAIR": Image(voxels / 9, affine)}, labels)
    assert {path.name for path in (tmp_path / "case").iterdir()} == {
        f"case{OLD[k]}.nii.gz" for k in ("T1ce", "FLAIR", "seg")
    }
    image = SimpleITK.ReadImage(str(tmp_path / "case" / "case_t1ce.nii.gz"))
    found = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_allclose(found, voxels, atol=700 / 32767)
    assert not found[0].any()
    assert image.TransformIndexToPhysicalPoint((3, 2, 1)) == pytest.approx((affine @ [1, 2, 3, 1])[:3])
    seg = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "case" / "case_seg.nii.gz")))
    np.testing.assert_array_equal(seg, np.array([0, 1, 2, 4])[labels])
