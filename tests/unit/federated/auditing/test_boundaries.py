from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from federated.auditing.boundaries import NORMAL, find_boundaries, size_boundary
from federated.auditing.stress import STRESSES, Stress, thick_slices, without
from federated.cases import Case
from federated.errors import EvaluationError
from federated.ports import Image
from federated.preprocessing import Preprocessing
from tests.fakes.audited import audited_network

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])[[2, 1, 0, 3]]
TUMOUR = (slice(12, 20), slice(14, 22), slice(10, 18))


class Bright(torch.nn.Module):
    """Calls tumour what is bright on FLAIR, and nothing where that is missing."""

    def forward(self, channels):
        bright = (channels[:, 3:4] > 3) & (channels[:, 7:8] > 0)
        return torch.where(bright, 20.0, -20.0).expand(-1, 3, -1, -1, -1)


def model():
    found = audited_network()
    return replace(found, model=replace(found.model, preprocessing=Preprocessing(spacing_mm=4.0)), network=Bright())


def case(seed=0, *, contrasts=("T1", "T1ce", "T2", "FLAIR")):
    """A brain of 32 x 36 x 28 voxels of 4 mm with a cube that is bright on FLAIR."""
    rng = np.random.default_rng(seed)
    images = {}
    for contrast in contrasts:
        voxels = np.zeros((36, 40, 32), np.float32)
        brain = (slice(3, -3), slice(3, -3), slice(3, -3))
        voxels[brain] = 100 + 3 * rng.standard_normal(voxels[brain].shape)
        if contrast == "FLAIR":
            voxels[TUMOUR] = 150
        images[contrast] = Image(voxels, AFFINE)
    labels = np.zeros((36, 40, 32), np.uint8)
    labels[TUMOUR] = 2
    return Case(f"case-{seed}", images, labels)


@dataclass(frozen=True)
class Stored:
    seed: int
    name: str = "stored"

    def read(self):
        return case(self.seed)


def by_condition(report):
    return {each.condition: each for each in report.boundaries}


def dimmed(images, severity, _rng):
    """The tumour loses its brightness step by step."""
    flair = images["FLAIR"].voxels.copy()
    flair[TUMOUR] = 150 - 12 * severity
    return {**images, "FLAIR": Image(flair, AFFINE)}


def test_the_boundary_is_the_first_severity_below_the_floor():
    stress = Stress("dimmed", "dimmed", "it is {severity:g} dimmer", "steps", (1.0, 2.0, 4.0, 5.0), dimmed)
    told = []
    report = find_boundaries(
        model(), [case(0), Stored(1)], floor=0.6, minimum=2, stresses=[stress], progress=told.append
    )
    found = by_condition(report)
    assert found[NORMAL].outcome == "not-reached"
    assert found[NORMAL].levels[0].dice == pytest.approx(1)
    assert found["dimmed"].outcome == "reached"
    assert found["dimmed"].threshold == 4.0
    assert [level.dice for level in found["dimmed"].levels] == pytest.approx([1, 1, 0, 0])
    assert [level.cases for level in found["dimmed"].levels] == [2] * 4
    assert found["dimmed"].finding == "Must not be used when it is 4 dimmer: mean Dice 0.00 of 2 cases."
    assert report.reached == (found["dimmed"],)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_missing_sequence_that_the_model_needs_is_found():
    report = find_boundaries(model(), [case(0), case(1)], floor=0.6, minimum=2)
    found = by_condition(report)
    assert {each.condition for each in report.boundaries} == {
        NORMAL,
        "tumour-volume",
        *(each.name for each in STRESSES),
    }
    assert found["missing-FLAIR"].outcome == found["only-reference"].outcome == "reached"
    assert found["missing-T1"].outcome == found["missing-T2"].outcome == "not-reached"
    assert found["missing-T1"].finding.startswith("Not reached")
    # At 4 mm there are no slices of 3 mm.
    assert [level.cases for level in found["slice-thickness"].levels] == [0, 2, 2]
    assert found["slice-thickness"].levels[0].dice is None
    assert found["slice-thickness"].outcome == "insufficient-evidence"
    assert found["slice-thickness"] in report.unknown


def test_labels_stay_where_they_are_when_the_reference_gets_another_grid():
    stress = Stress("thick", "thick", "", "mm", (8.0,), thick_slices)
    report = find_boundaries(model(), [case(0)], floor=0.6, minimum=1, stresses=[stress])
    assert by_condition(report)["thick"].levels[0].dice > 0.75


def test_too_few_cases_are_insufficient_evidence():
    cases = [case(0), case(1), case(2)]
    report = find_boundaries(model(), cases, floor=0.6, minimum=3, stresses=STRESSES[:2], limit=2)
    assert report.cases == 2
    assert {each.outcome for each in report.boundaries} == {"insufficient-evidence"}
    assert len(report.unknown) == len(report.boundaries)


def test_a_case_without_the_sequence_does_not_count():
    bare = case(1, contrasts=("T1ce", "FLAIR"))
    stress = Stress("missing-T1", "", "", "", (1.0,), without("T1"))
    found = by_condition(find_boundaries(model(), [case(0), bare], floor=0.5, minimum=2, stresses=[stress]))
    assert found["missing-T1"].levels[0].cases == 1
    assert found["missing-T1"].outcome == "insufficient-evidence"


def test_what_the_preparation_refuses_is_counted_apart():
    def emptied(images, _severity, _rng):
        return {**images, "T2": Image(np.zeros_like(images["T2"].voxels), AFFINE)}

    stress = Stress("empty", "", "", "", (1.0,), emptied)
    level = by_condition(find_boundaries(model(), [case(0)], floor=0.5, minimum=1, stresses=[stress]))["empty"].levels[
        0
    ]
    assert (level.cases, level.refused, level.dice) == (0, 1, None)


def test_the_same_seed_gives_the_same_report():
    noise = [each for each in STRESSES if each.name in {"noise", "shading"}]
    first, second, other = (
        find_boundaries(model(), [case(0)], floor=0.6, minimum=1, stresses=noise, seed=seed) for seed in (4, 4, 5)
    )
    assert first == second
    assert first != other


def test_a_model_that_fails_as_cases_come_is_said_to():
    found = by_condition(find_boundaries(model(), [case(0, contrasts=("T1ce",))], floor=0.6, minimum=1, stresses=[]))
    assert found[NORMAL].outcome == "reached"
    assert found[NORMAL].threshold == 0


def test_small_tumours_are_told_from_large_ones():
    volumes = [80, 70, 90, 30, 25, 40, 10, 8, 12, 2, 3, 1]
    dice = [0.9] * 6 + [0.7] * 3 + [0.2] * 3
    found = size_boundary(volumes, dice, floor=0.6, minimum=3)
    assert [level.severity for level in found.levels] == [91, 60, 20, 5]
    assert [level.cases for level in found.levels] == [3] * 4
    assert (found.outcome, found.threshold) == ("reached", 5)
    assert "smaller than 5 ml" in found.finding
    assert size_boundary(volumes[:9], dice[:9], floor=0.6, minimum=3).outcome == "insufficient-evidence"


def test_refuses_what_cannot_be_measured():
    with pytest.raises(EvaluationError, match="at least 1 cases"):
        find_boundaries(model(), [], floor=0.6, minimum=1)
    with pytest.raises(EvaluationError, match="floor from 0 to 1"):
        find_boundaries(model(), [case(0)], floor=1.5, minimum=1)
    with pytest.raises(EvaluationError, match="a volume for each Dice"):
        size_boundary([1.0], [], floor=0.5, minimum=1)
