import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_ingest.geometry import in_plane_shifts_mm, is_orientation, slice_normal, stack_affine_lps
from dicom_ingest.volume import assemble_volume
from tests.fakes.mr_series import AXIAL, CORONAL, ORIENTATIONS, SAGITTAL, make_series

BRIGHT = 4000


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    """Any rotation, and any handedness of rows and columns is a rotation of the normal too."""
    quaternion = draw(
        st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda each: sum(value * value for value in each) > 0.01)
    )
    matrix = Rotation.from_quat(quaternion).as_matrix()
    return (*matrix[:, 0], *matrix[:, 1])


@settings(max_examples=60, deadline=None)
@given(
    orientation=orientations(),
    spacing_mm=st.tuples(st.floats(0.5, 8), st.floats(0.3, 3), st.floats(0.3, 3)),
    origin_lps=st.tuples(*[st.floats(-300, 300)] * 3),
    index=st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 5)),
    order=st.permutations(range(5)),
    reverse=st.booleans(),
)
def test_a_landmark_ends_where_it_was_put(
    orientation: tuple[float, ...],
    spacing_mm: tuple[float, float, float],
    origin_lps: tuple[float, float, float],
    index: tuple[int, int, int],
    order: list[int],
    reverse: bool,
) -> None:
    voxels = np.zeros((5, 7, 6), np.uint16)
    voxels[index] = BRIGHT
    series = make_series(voxels, orientation=orientation, spacing_mm=spacing_mm, origin_lps=origin_lps, reverse=reverse)
    volume = assemble_volume([series[each] for each in order])

    # The oracle: PS3.3 C.7.6.2.1.1 by hand for the one bright pixel, from the slice that holds it.
    (bright,) = [each for each in series if each.pixel_array.max() == BRIGHT]
    row, column = np.argwhere(bright.pixel_array == BRIGHT)[0]
    along_row, along_column = np.array(bright.ImageOrientationPatient[:3]), np.array(bright.ImageOrientationPatient[3:])
    expected_lps = (
        np.array(bright.ImagePositionPatient)
        + along_row * float(bright.PixelSpacing[1]) * column
        + along_column * float(bright.PixelSpacing[0]) * row
    )

    found = np.argwhere(volume.voxels == BRIGHT)
    assert found.shape == (1, 3)
    assert np.allclose((volume.affine_lps @ [*found[0], 1])[:3], expected_lps, atol=1e-3)
    assert np.allclose(volume.spacing_mm, spacing_mm, rtol=1e-4)


def test_axial_affine_is_the_one_of_the_textbook() -> None:
    positions = np.array([[-10.0, -20.0, 30.0], [-10.0, -20.0, 33.0]])
    affine = stack_affine_lps(AXIAL, (0.5, 0.75), positions)
    assert np.array_equal(
        affine, [[0.0, 0.0, 0.75, -10.0], [0.0, 0.5, 0.0, -20.0], [3.0, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]]
    )


@pytest.mark.parametrize(
    ("orientation", "normal"),
    [
        pytest.param(AXIAL, [0, 0, 1], id="axial: to the head"),
        pytest.param(SAGITTAL, [-1, 0, 0], id="sagittal: to the right"),
        pytest.param(CORONAL, [0, 1, 0], id="coronal: to the back"),
    ],
)
def test_slice_normal(orientation: tuple[float, ...], normal: list[float]) -> None:
    assert np.allclose(slice_normal(orientation), normal)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_knows_orientations(name: str) -> None:
    assert is_orientation(ORIENTATIONS[name])


@pytest.mark.parametrize(
    "orientation",
    [
        pytest.param((1, 0, 0, 1, 0, 0), id="parallel"),
        pytest.param((2, 0, 0, 0, 1, 0), id="not of unit length"),
        pytest.param((0, 0, 0, 0, 1, 0), id="zero"),
        pytest.param((1, 0, 0, 0.1, 0.99, 0), id="not perpendicular"),
    ],
)
def test_knows_what_is_no_orientation(orientation: tuple[float, ...]) -> None:
    assert not is_orientation(orientation)


def test_in_plane_shift_is_measured_across_the_normal() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 5.0]])
    assert in_plane_shifts_mm(AXIAL, positions).tolist() == [0, 5]
