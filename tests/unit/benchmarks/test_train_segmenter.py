import json
import shlex

import nibabel
import numpy as np
import pytest

from benchmarks.draw_segmenter_overlays import main as draw
from benchmarks.evaluation import main as evaluate
from benchmarks.train_segmenter import main
from federated.case_files import IMAGES_SUFFIX, LABELS_SUFFIX
from federated.inference import load_segmenter
from federated.phantom import build_phantom

SUBJECTS = ("first", "second")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(SUBJECTS):
        phantom = build_phantom(np.random.default_rng(seed), shape=(36, 44, 36), spacing_mm=4.0)
        affine = np.diag([-4.0, -4.0, 4.0, 1.0])
        contrasts = np.stack([phantom.images[c].voxels.T for c in ("T1", "T1ce", "T2", "FLAIR")], axis=-1)
        labels = np.array([0, 1, 2, 4], np.uint8)[phantom.labels.T]
        nibabel.save(nibabel.Nifti1Image(contrasts.astype(np.int16), affine), folder / (name + IMAGES_SUFFIX))
        nibabel.save(nibabel.Nifti1Image(labels, affine), folder / (name + LABELS_SUFFIX))
    return folder


@pytest.fixture(scope="module")
def command(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    small = "--spacing 4 --patch 40 48 40 --phantoms 1 --tests 1 --pretraining-steps 1 --steps 1 --device cpu"
    places = ["--data", data, "--held-out", "second", "--out", out / "weights", "--work", out / "work"]
    return out, [*map(str, places), *small.split(), "--commit", "0" * 40]


def test_leaves_each_subject_out_once_and_ships_the_held_out_one(command, capsys):
    out, words = command
    assert main([*words, "--only", "second"]) == 0
    alone = (out / "work" / "runs" / "hybrid-seed0-second.json").read_bytes()
    assert main(words) == 0
    assert (out / "work" / "runs" / "hybrid-seed0-second.json").read_bytes() == alone, "what is finished stays"

    runs = [json.loads(path.read_text()) for path in sorted((out / "work" / "runs").glob("*.json"))]
    assert [run["held_out"] for run in runs] == list(SUBJECTS)
    groups = {run["held_out"]: {score["group"] for score in run["scores"]} for run in runs}
    missing = {"real, without T1", "real, without T2", "real, without FLAIR"}
    assert groups == {"first": {"real", *missing}, "second": {"real", *missing, "seen", "unseen"}}

    shipped = load_segmenter(out / "weights").identity
    assert shipped.version == runs[1]["model_version"]
    card = json.loads((out / "weights" / "segmenter.json").read_text())
    assert card["training"]["subjects"] == ["first"], "the shipped model never saw the held-out subject"
    assert card["training"]["commit"] == "0" * 40

    picture = out / "real.png"
    assert draw(["--data", words[1], "--work", str(out / "work"), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")

    # The printed command writes the evaluation file and the card from these runs.
    printed = shlex.split(capsys.readouterr().out.strip().splitlines()[-1].partition("Now: ")[2])
    files = ["--model", str(out / "weights"), "--out", str(out / "evaluation.json"), "--card", str(out / "card.md")]
    assert evaluate([*printed[3:], *files]) == 0
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["released"]["version"] == shipped.version
    assert shipped.version in (out / "card.md").read_text()


def test_refuses_a_subject_that_is_not_there(command):
    with pytest.raises(SystemExit, match="Choose subjects among first, second"):
        main([*command[1], "--only", "third"])
