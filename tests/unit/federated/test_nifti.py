import contextlib
import gzip

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from federated.errors import NiftiFileError
from federated.nifti import encode_nifti, grid_of, lps_to_ras, read_nifti

SHAPE = (12, 10, 8)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [10, 20, -15], degrees=True).as_matrix() @ np.diag([-1.2, 0.9, 2.5])
OBLIQUE[:3, 3] = [30, -70, 11]
POINT = (7, 2, 5)


def voxels(shape=SHAPE):
    values = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    values[POINT] = 1000
    return values


def written(folder, name="image.nii.gz", cls=nib.Nifti1Image, affine=OBLIQUE, values=None, codes=("both",)):
    image = cls(voxels() if values is None else values, affine)
    image.set_qform(affine if codes != ("sform",) else None, 1 if codes != ("sform",) else 0)
    image.set_sform(affine if codes != ("qform",) else None, 4 if codes != ("qform",) else 0)
    image.header["descrip"] = b"Doe^John"
    nib.save(image, folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_voxel_keeps_its_place_in_the_world(tmp_path, name, cls):
    (image,), _ = read_nifti(written(tmp_path, name, cls), 1)
    index = np.unravel_index(image.voxels.argmax(), image.voxels.shape)
    assert index == POINT[::-1]
    lps = image.affine_lps @ [*index, 1]
    ras = nib.load(tmp_path / name).affine @ [*POINT, 1]
    np.testing.assert_allclose(lps[:3], ras[:3] * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [("both",), ("sform",), ("qform",)], ids=lambda codes: codes[0])
def test_what_is_written_has_the_geometry_of_what_was_read(tmp_path, cls, codes):
    source = nib.load(written(tmp_path, cls=cls, codes=codes))
    (image,), grid = read_nifti(tmp_path / "image.nii.gz", 1)
    (tmp_path / "mask.nii.gz").write_bytes(encode_nifti((image.voxels > 500).astype(np.uint8), grid))
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert isinstance(mask, cls)
    assert mask.shape == SHAPE
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, source.affine)
    for code in ("qform_code", "sform_code"):
        assert mask.header[code] == source.header[code]
    assert np.argwhere(np.asarray(mask.dataobj)).tolist() == [list(POINT)]


def test_no_text_of_the_input_goes_on(tmp_path):
    (image,), grid = read_nifti(written(tmp_path), 1)
    assert b"Doe" not in gzip.decompress(encode_nifti(image.voxels, grid))


def test_the_same_values_give_the_same_bytes(tmp_path):
    (image,), grid = read_nifti(written(tmp_path), 1)
    assert encode_nifti(image.voxels, grid) == encode_nifti(image.voxels, grid)


def test_a_grid_from_elsewhere_is_written_as_nifti(tmp_path):
    (image,), _ = read_nifti(written(tmp_path), 1)
    (tmp_path / "other.nii.gz").write_bytes(encode_nifti(image.voxels, grid_of(image)))
    other = nib.load(tmp_path / "other.nii.gz")
    np.testing.assert_allclose(other.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(np.asarray(other.dataobj), voxels())
    assert (other.header["sform_code"], other.header["qform_code"]) == (1, 1)


def test_a_file_without_orientation_says_so(tmp_path):
    image = nib.Nifti1Image(voxels(), None)
    nib.save(image, tmp_path / "image.nii.gz")
    (found,), grid = read_nifti(tmp_path / "image.nii.gz", 1)
    assert not grid.is_oriented
    (tmp_path / "mask.nii.gz").write_bytes(encode_nifti(found.voxels, grid))
    np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii.gz").affine, nib.load(tmp_path / "image.nii.gz").affine)


def test_values_are_rescaled(tmp_path):
    image = nib.Nifti1Image(voxels(), OBLIQUE)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "image.nii.gz")
    (found,), _ = read_nifti(tmp_path / "image.nii.gz", 1)
    np.testing.assert_allclose(found.voxels.T, np.rint(voxels()) * 0.5 + 10)


def test_a_4d_file_gives_its_volumes_in_order(tmp_path):
    values = np.stack([voxels() + 10 * n for n in range(4)], axis=-1)
    images, grid = read_nifti(written(tmp_path, values=values), 4)
    assert grid.shape == SHAPE
    for n, image in enumerate(images):
        np.testing.assert_array_equal(image.voxels, values[..., n].T)


def test_a_trailing_axis_of_one_is_no_fourth_dimension(tmp_path):
    ((image,), _) = read_nifti(written(tmp_path, values=voxels()[..., None]), 1)
    assert image.voxels.shape == SHAPE[::-1]


def four(count, shape=SHAPE):
    return np.random.default_rng(0).normal(100, 5, (*shape, count)).astype(np.float32)


def with_nan():
    values = voxels()
    values[0, 0, :3] = np.nan
    return values


SHEARED = OBLIQUE @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("values", "volumes", "affine", "message"),
    [
        pytest.param(voxels(), 4, OBLIQUE, "expected a 4-D file with 4 volumes .* got 12x10x8; put one file", id="3-D"),
        pytest.param(four(3), 4, OBLIQUE, "got 12x10x8x3", id="three volumes"),
        pytest.param(four(5), 4, OBLIQUE, "got 12x10x8x5", id="five volumes"),
        pytest.param(np.moveaxis(four(4), -1, 0), 4, OBLIQUE, "move the first axis to the end", id="channels first"),
        pytest.param(four(4), 1, OBLIQUE, "expected one 3-D volume, got 12x10x8x4", id="4-D for one sequence"),
        pytest.param(four(4, (12, 10, 1)), 4, OBLIQUE, "expected at least 3 voxels along each axis", id="one slice"),
        pytest.param(voxels()[..., :2], 1, OBLIQUE, "at least 3 voxels", id="two slices"),
        pytest.param(with_nan(), 1, OBLIQUE, "3 of 960 are NaN or infinite", id="NaN"),
        pytest.param(voxels(), 1, SHEARED, "right angles, two of them are at 82.4 degrees", id="sheared"),
        pytest.param(voxels(), 1, np.diag([1, 1, 50, 1]), "got 1 x 1 x 50 mm", id="50 mm"),
        pytest.param(voxels() + 1j, 1, OBLIQUE, "expected real numbers, got complex", id="complex"),
    ],
)
def test_names_what_is_wrong_with_a_file(tmp_path, values, volumes, affine, message):
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "image.nii.gz")
    with pytest.raises(NiftiFileError, match=message) as caught:
        read_nifti(tmp_path / "image.nii.gz", volumes)
    assert "image.nii.gz" in str(caught.value)


def changed(content, offset, replacement):
    return content[:offset] + replacement + content[offset + len(replacement) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda content: b"", "got 0 bytes", id="empty"),
        pytest.param(lambda content: b"%PDF-1.4" + bytes(2000), "expected a NIfTI-1 or NIfTI-2 file", id="no NIfTI"),
        pytest.param(lambda content: content[:300], "NIfTI", id="cut in the header"),
        pytest.param(lambda content: content[:-500], "cut off", id="cut in the voxels"),
        # srow_x, srow_y and srow_z: 0 mm between columns.
        pytest.param(
            lambda content: changed(changed(changed(content, 280, bytes(4)), 296, bytes(4)), 312, bytes(4)),
            "got 0 x ",
            id="0 mm",
        ),
        # dim[1]: 30000 columns in a file of a few thousand voxels.
        pytest.param(
            lambda content: changed(content, 42, (30000).to_bytes(2, "little")), "is cut off: expected", id="lies"
        ),
    ],
)
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_refuses_damaged_files(tmp_path, change, message, name):
    content = change(written(tmp_path, "whole.nii", codes=("sform",)).read_bytes())
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(NiftiFileError, match=message):
        read_nifti(tmp_path / name, 1)


def test_refuses_a_cut_gzip_stream(tmp_path):
    whole = written(tmp_path).read_bytes()
    (tmp_path / "image.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NiftiFileError, match="EOFError"):
        read_nifti(tmp_path / "image.nii.gz", 1)


def test_refuses_what_inflates_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("federated.nifti.MAX_BYTES", 5000)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(NiftiFileError, match="at most 5000 bytes"):
        read_nifti(tmp_path / "bomb.nii.gz", 1)


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(7)
    whole = np.frombuffer(written(tmp_path, "whole.nii").read_bytes(), np.uint8)
    path = tmp_path / "image.nii"
    for _ in range(300):
        damaged = whole.copy()
        # The header, where every byte means something.
        places = rng.integers(0, 352, rng.integers(1, 6))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(NiftiFileError):
            read_nifti(path, 1)


def test_lps_to_ras_turns_left_and_posterior_around() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [10, 20, 30]
    assert np.array_equal(lps_to_ras(affine) @ [1, 1, 1, 1], [-12, -23, 34, 1])
    assert np.array_equal(lps_to_ras(lps_to_ras(affine)), affine)
