import numpy as np
import pytest
import SimpleITK

from federated.cases import IMAGES_SUFFIX, LABELS_SUFFIX, list_cases, phantom_case, read_case, to_example
from federated.errors import TrainingDataError
from federated.phantom import build_phantom
from federated.preprocessing import Preprocessing


def write(folder, name, *, labels=(0, 1, 2, 4), label_shape=(6, 5, 4)):
    """By another library than the one that reads."""
    rng = np.random.default_rng(0)
    values = rng.choice(np.array(labels, np.uint8), label_shape)
    volumes = [SimpleITK.GetImageFromArray(rng.integers(1, 900, (6, 5, 4)).astype(np.int16)) for _ in range(4)]
    seg = SimpleITK.GetImageFromArray(values)
    for image in [*volumes, seg]:
        image.SetSpacing((1.0, 2.0, 3.0))
        image.SetOrigin((-11.0, 7.0, 5.0))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(SimpleITK.JoinSeries(volumes), str(folder / (name + IMAGES_SUFFIX)))
    SimpleITK.WriteImage(seg, str(folder / (name + LABELS_SUFFIX)))
    return volumes, values


def test_reads_each_voxel_where_itk_wrote_it(tmp_path):
    volumes, values = write(tmp_path, "case")
    case = read_case(tmp_path, "case")
    for volume, contrast in zip(volumes, ("T1", "T1ce", "T2", "FLAIR"), strict=True):
        image = case.images[contrast]
        for slice_, row, column in [(0, 0, 0), (5, 1, 2), (2, 4, 3)]:
            place = image.affine_lps @ [slice_, row, column, 1]
            # ITK's physical space is LPS, its index order is (column, row, slice).
            assert place[:3] == pytest.approx(volume.TransformIndexToPhysicalPoint((column, row, slice_)))
            assert image.voxels[slice_, row, column] == volume[column, row, slice_]
    np.testing.assert_array_equal(case.labels, np.where(values == 4, 3, values))


def test_lists_cases_by_name(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, name)
    assert list_cases(tmp_path) == ["a", "b"]


def test_refuses_an_empty_folder(tmp_path):
    with pytest.raises(TrainingDataError, match="found none"):
        list_cases(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"labels": (0, 3)}, r"got \[3\] too", id="unknown label"),
        pytest.param({"label_shape": (6, 5, 3)}, "on the grid of the labels", id="another grid"),
    ],
)
def test_refuses_labels_that_do_not_fit(tmp_path, wrong, message):
    write(tmp_path, "case", **wrong)
    with pytest.raises(TrainingDataError, match=message):
        read_case(tmp_path, "case")


def test_refuses_a_file_that_is_not_an_image(tmp_path):
    write(tmp_path, "case")
    (tmp_path / ("case" + LABELS_SUFFIX)).write_bytes(b"not gzip")
    with pytest.raises(TrainingDataError, match="cannot be read"):
        read_case(tmp_path, "case")


def test_an_examples_labels_lie_on_its_images():
    case = phantom_case("phantom", build_phantom(np.random.default_rng(3), noise=0.01))
    example = to_example(case, Preprocessing())
    assert example.labels.shape == example.model_input.head.shape
    np.testing.assert_array_equal(np.bincount(example.labels.ravel())[1:], np.bincount(case.labels.ravel())[1:])
    t1ce = example.model_input.channels[1]
    assert t1ce[example.labels == 3].mean() > t1ce[example.model_input.head].mean() + 1
