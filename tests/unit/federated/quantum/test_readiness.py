"""The readiness report: what each number is taken to mean, and its picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from federated.errors import CircuitError, ShotsError
from federated.quantum.circuit import Circuit
from federated.quantum.error_correction import Suppression
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.readiness import ReadinessReport, assess
from federated.quantum.readiness_plot import save_plot
from tests.fakes.quantum_readiness import readiness_report

OPEN = Suppression(1.0, (0.8, 1.2), None, (None, None), is_noise_only=False)
WORSE = Suppression(0.8, (0.7, 0.9), None, (None, None), is_noise_only=False)
NOISE = Suppression(1.4, (0.9, 1.9), None, (None, None), is_noise_only=True)


@pytest.mark.parametrize(
    ("changes", "place", "is_met", "words"),
    [
        pytest.param({}, 0, True, "Yes, as it is", id="noise-below-sampling"),
        pytest.param({"error": 0.1}, 0, True, "Yes, with ZNE only", id="zne-needed"),
        pytest.param({"error": 0.1, "mitigated": 0.05}, 0, False, "No: mean error 0.1000", id="noise-wins"),
        pytest.param({}, 1, True, "largest passed volume is 64 or more", id="bar-reached"),
        pytest.param({"heavy_outputs": (0.8, 0.7)}, 1, False, "volume is 4 (100", id="bar-missed"),
        pytest.param(
            {"heavy_outputs": (0.8, 0.8)}, 1, None, "Open: the largest passed volume is 8 or", id="not-tested"
        ),
        pytest.param({"heavy_outputs": (0.6,)}, 1, False, "volume is 1 (", id="nothing-passed"),
        pytest.param({}, 2, True, "distance 35 (33 to 37), 2,449 qubits", id="correctable"),
        pytest.param({"suppression": WORSE}, 2, False, "more qubits make", id="above-threshold"),
        pytest.param({"suppression": NOISE}, 2, False, "coin's flip", id="noise-only"),
        pytest.param({"suppression": OPEN}, 2, None, "Open: Lambda 1.00", id="undecided"),
    ],
)
def test_each_question_has_its_verdict(changes: dict, place: int, is_met: bool | None, words: str) -> None:
    verdict = readiness_report(**changes).verdicts[place]
    assert verdict.is_met is is_met
    assert words in verdict.answer


def test_the_correction_says_that_it_is_an_estimate() -> None:
    report = readiness_report()
    assert "estimate" in report.verdicts[2].question
    assert report.to_json()["error_correction"]["is_estimate"] is True


def test_the_json_holds_every_number() -> None:
    document = json.loads(json.dumps(readiness_report().to_json(), allow_nan=False))
    assert document["quantum_volume"]["largest_passed"] == 64
    assert [test["passed"] for test in document["quantum_volume"]["tests"]] == [True] * 5
    assert document["expectations"][1]["mitigated"]["mean_absolute_error"] == pytest.approx(0.004)
    assert document["error_correction"]["memories"][0]["interval"][0] > 0
    assert len(document["verdicts"]) == 3


def coin(circuits, progress) -> np.ndarray:
    """A device that makes only noise."""
    progress(1.0)
    return np.full(len(circuits), 0.5)


def test_assesses_a_device_and_tells_each_stage() -> None:
    stages: dict[str, list[float]] = {}
    report = assess(
        "coin",
        coin,
        NoiseRates(0.02, 0.02, 0.0, 0.02),
        Circuit(1, layers=1),
        2,
        100,
        3,
        lambda stage: stages.setdefault(stage, []).append,
    )
    assert isinstance(report, ReadinessReport)
    assert (report.device, report.seed, report.largest_volume) == ("coin", 3, 1)
    assert [verdict.is_met for verdict in report.verdicts[1:]] == [False, False]
    assert list(stages) == ["Quantum volume", "Expectation values", "Error correction"]
    assert all(fractions == sorted(fractions) and fractions[-1] == 1.0 for fractions in stages.values())


@pytest.mark.parametrize(
    ("wires", "trials", "error"),
    [pytest.param(12, 100, CircuitError, id="wires"), pytest.param(6, 9, ShotsError, id="trials")],
)
def test_refuses_before_any_work(wires: int, trials: int, error) -> None:
    with pytest.raises(error):
        assess("coin", coin, NoiseRates(), Circuit(1), wires, trials, 0, lambda _: pytest.fail)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(readiness_report(), id="ready"),
        pytest.param(readiness_report(heavy_outputs=(0.6,), suppression=WORSE), id="not-ready"),
        pytest.param(readiness_report(errors=(30, 1, 0), suppression=OPEN), id="no-error-seen"),
    ],
)
def test_the_picture_is_a_png_with_something_on_it(report: ReadinessReport, tmp_path: Path) -> None:
    save_plot(report, tmp_path / "readiness.png")
    with Image.open(tmp_path / "readiness.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1500
        assert np.asarray(picture.convert("L")).std() > 10
