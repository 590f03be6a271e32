import numpy as np
import pytest

from federated.phantom_fields import FieldOfView


def test_a_field_is_the_same_in_millimetres_on_every_grid():
    coarse, fine = FieldOfView((9, 11, 7), 8.0), FieldOfView((27, 33, 21), 8.0 / 3)
    first, second = (view.smooth_field(np.random.default_rng(1), 15.0) for view in (coarse, fine))
    # The middle one of each three fine voxels lies where the coarse one does.
    np.testing.assert_allclose(second[1::3, 1::3, 1::3], first, atol=1e-4)


@pytest.mark.parametrize("scale_mm", [6.0, 20.0])
def test_a_field_has_unit_spread_and_the_scale_asked_for(scale_mm):
    field = FieldOfView((80, 80, 80), 2.0).smooth_field(np.random.default_rng(0), scale_mm)
    assert abs(field.mean()) < 0.3
    assert field.std() == pytest.approx(1, abs=0.2)
    near = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    far = round(3 * scale_mm / 2)
    assert near > 0.9
    assert abs(np.corrcoef(field[:-far].ravel(), field[far:].ravel())[0, 1]) < 0.3


def test_the_affine_puts_the_grids_middle_at_the_origin():
    view = FieldOfView((4, 6, 10), 3.0)
    np.testing.assert_allclose(view.affine_lps @ [1.5, 2.5, 4.5, 1], [0, 0, 0, 1])
    # One voxel along (slices, rows, columns) is one step along (z, y, x).
    np.testing.assert_allclose(view.affine_lps[:3, :3], 3 * np.eye(3)[::-1])
    z, y, x = (axis.ravel() for axis in view.axes_mm)
    np.testing.assert_allclose(view.affine_lps @ [0, 1, 2, 1], [x[2], y[1], z[0], 1])
