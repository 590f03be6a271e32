import numpy as np
import pytest

from federated.calibration import expected_calibration_error, fit_temperatures, reliability_curve
from federated.errors import TrainingDataError

SHAPE = (3, 24, 24, 24)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def overconfident(temperatures, seed=0):
    """Logits that are too large by the given factors, and regions drawn by the true probabilities."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(-0.5, 1.5, SHAPE)
    truth = rng.random(SHAPE) < sigmoid(honest)
    scale = np.array(temperatures)[:, None, None, None]
    return (honest * scale).astype(np.float32), truth, np.ones(SHAPE[1:], bool)


@pytest.mark.parametrize(
    "temperatures",
    [
        pytest.param((1.0, 1.0, 1.0), id="calibrated already"),
        pytest.param((3.0, 2.0, 1.5), id="overconfident"),
        pytest.param((0.5, 0.8, 0.25), id="underconfident"),
    ],
)
def test_finds_the_temperature_of_each_region(temperatures):
    cases = [overconfident(temperatures, seed) for seed in range(3)]
    found = fit_temperatures(*(list(parts) for parts in zip(*cases, strict=True)))
    assert found == pytest.approx(temperatures, rel=0.05)


def test_the_temperature_brings_the_calibration_error_down():
    logits, truth, inside = overconfident((3.0, 3.0, 3.0))
    (temperature, _, _) = fit_temperatures([logits], [truth], [inside])
    before = expected_calibration_error(sigmoid(logits[0]), truth[0])
    after = expected_calibration_error(sigmoid(logits[0] / temperature), truth[0])
    assert before > 0.08
    assert after < 0.02


def test_voxels_outside_the_mask_do_not_count():
    logits, truth, inside = overconfident((2.0, 2.0, 2.0))
    spoilt, half = truth.copy(), inside.copy()
    spoilt[:, :12] = ~truth[:, :12]
    half[:12] = False
    assert fit_temperatures([logits], [spoilt], [half]) == pytest.approx((2.0, 2.0, 2.0), rel=0.07)


def test_fits_the_mean_over_mirrors():
    logits, truth, inside = overconfident((2.0, 2.0, 2.0))
    same = np.stack([logits, logits])
    assert fit_temperatures([same], [truth], [inside]) == pytest.approx(
        fit_temperatures([logits], [truth], [inside]), rel=1e-3
    )
    # Answers that differ blur each other: less must be taken off them than off each alone.
    rng = np.random.default_rng(5)
    differing = np.stack([logits + rng.normal(0, 2, SHAPE) for _ in range(2)]).astype(np.float32)
    together = fit_temperatures([differing], [truth], [inside])
    alone = fit_temperatures([differing[0]], [truth], [inside])
    assert all(one < other for one, other in zip(together, alone, strict=True))


def test_a_region_that_no_case_shows_keeps_its_temperature():
    logits, truth, inside = overconfident((2.0, 2.0, 2.0))
    truth[2] = False
    assert fit_temperatures([logits], [truth], [inside])[2] == 1.0


@pytest.mark.parametrize(
    ("count", "inside"),
    [pytest.param(0, True, id="no case"), pytest.param(1, False, id="no voxel inside")],
)
def test_refuses_to_calibrate_on_nothing(count, inside):
    logits, truth, mask = overconfident((1.0, 1.0, 1.0))
    with pytest.raises(TrainingDataError):
        fit_temperatures([logits] * count, [truth] * count, [mask & inside] * count)


def test_refuses_cases_that_do_not_pair():
    logits, truth, inside = overconfident((1.0, 1.0, 1.0))
    with pytest.raises(TrainingDataError, match="got 2, 1 and 1"):
        fit_temperatures([logits, logits], [truth], [inside])


def test_the_error_is_the_gap_between_prediction_and_share():
    truth = np.arange(100) < 50
    assert expected_calibration_error(np.full(100, 0.8), truth) == pytest.approx(0.3)
    assert expected_calibration_error(np.full(100, 0.5), truth) == pytest.approx(0.0)
    # Two bins of 50: gaps 0.9 and 0.1.
    assert expected_calibration_error(np.repeat([0.1, 0.1], 50), truth) == pytest.approx(0.4)
    assert expected_calibration_error(np.where(truth, 0.1, 0.1 + 1e-9), truth, bins=2) == pytest.approx(0.4)
    assert expected_calibration_error(np.where(truth, 0.9, 0.1), truth) == pytest.approx(0.1)


def test_the_reliability_curve_counts_every_voxel_once():
    curve = reliability_curve([0.0, 0.04, 0.5, 1.0], [False, True, True, True], bins=10)
    assert curve.counts.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert curve.predicted[[0, 5, 9]] == pytest.approx([0.02, 0.5, 1.0])
    assert curve.observed[[0, 5, 9]] == pytest.approx([0.5, 1.0, 1.0])
    assert np.isnan(curve.observed[1])


@pytest.mark.parametrize(
    "probabilities",
    [
        pytest.param([], id="none"),
        pytest.param([0.5, 0.5], id="another number"),
        pytest.param([1.5], id="above 1"),
        pytest.param([np.nan], id="not a number"),
    ],
)
def test_refuses_what_are_no_probabilities(probabilities):
    with pytest.raises(ValueError, match="Expected"):
        expected_calibration_error(probabilities, [True] if probabilities else [])
