import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks.study_speed import SHAPE, Turn, full_size_study, main, network_clock, summarise

DATA = Path("sandbox/data/brats_tcga_2mm")


def test_times_both_in_one_run(tmp_path):
    out = tmp_path / "speed.json"
    words = [
        "--quick",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--arm",
        "identity",
        "--out",
        str(out),
        "--commit",
        "0" * 40,
    ]
    assert main(words) in {0, 1}
    found = json.loads(out.read_text())
    assert 0 < found["median_s"]["ours_model"] < found["median_s"]["ours"]
    assert found["median_s"]["segresnet"] > 0
    assert found["model_share"] == pytest.approx(
        found["turns"][0]["ours_model_s"] / found["turns"][0]["segresnet_s"], abs=1e-3
    )
    assert found["commit"] == "0" * 40
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_study_is_full_size_with_the_head_in_the_middle():
    images = full_size_study(DATA, SHAPE)
    assert list(images) == ["T1", "T1ce", "T2", "FLAIR"]
    voxels, affine = images["T1ce"].voxels, images["T1ce"].affine_lps
    assert voxels.shape == SHAPE
    assert abs(torch.linalg.det(torch.tensor(affine))) == pytest.approx(1)
    assert (voxels != 0).sum() / 1e6 == pytest.approx(1.4, abs=0.5), "litres of brain"


@pytest.mark.parametrize(
    ("turns", "passed"),
    [
        pytest.param([Turn(20, 10, 60), Turn(25, 11, 70), Turn(40, 30, 65)], (True, True), id="reached-by-the-median"),
        pytest.param([Turn(31, 13, 60)], (False, False), id="missed"),
    ],
)
def test_goals_are_judged_by_medians(turns, passed):
    found = summarise(turns)
    assert tuple(found["passed"].values()) == passed
    assert found["median_s"]["ours"] == sorted(turn.ours_s for turn in turns)[len(turns) // 2]


def test_the_clock_counts_modules_once_however_nested():
    class Slow(torch.nn.Module):
        def forward(self, values):
            time.sleep(0.02)
            return values

    nested = torch.nn.Sequential(Slow(), torch.nn.Sequential(Slow()))
    with network_clock() as seconds:
        nested(torch.zeros(1))
        time.sleep(0.05)
        nested(torch.zeros(1))
    assert 0.08 <= seconds() < 0.125
    before = seconds()
    nested(torch.zeros(1))
    assert seconds() == before, "outside the block nothing is counted"
