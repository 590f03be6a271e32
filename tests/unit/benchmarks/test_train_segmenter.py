import json

import nibabel
import numpy as np
import pytest

from benchmarks.draw_segmenter_overlays import main as draw
from benchmarks.train_segmenter import main
from federated.cases import IMAGES_SUFFIX, LABELS_SUFFIX
from federated.inference import load_segmenter
from federated.phantom import build_phantom

SUBJECTS = ("first", "second")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(SUBJECTS):
        phantom = build_phantom(np.random.default_rng(seed), shape=(28, 32, 28))
        affine = np.diag([-2.0, -2.0, 2.0, 1.0])
        contrasts = np.stack([phantom.images[c].voxels.T for c in ("T1", "T1ce", "T2", "FLAIR")], axis=-1)
        labels = np.array([0, 1, 2, 4], np.uint8)[phantom.labels.T]
        nibabel.save(nibabel.Nifti1Image(contrasts.astype(np.int16), affine), folder / (name + IMAGES_SUFFIX))
        nibabel.save(nibabel.Nifti1Image(labels, affine), folder / (name + LABELS_SUFFIX))
    return folder


@pytest.fixture(scope="module")
def command(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    fixed = [
        "--data",
        data,
        "--held-out",
        "second",
        "--device",
        "cpu",
        "--steps",
        "1",
        "--batch",
        "1",
        "--phantoms",
        "1",
    ]
    places = ["--out", out / "weights", "--results", out / "loo.json", "--work", out / "work", "--commit", "0" * 40]
    return out, [str(word) for word in (*fixed, *places)]


def test_leaves_each_subject_out_once_and_ships_the_held_out_fold(command, capsys):
    out, words = command
    assert main([*words, "--only", "second"]) == 3
    assert "Folds still missing: first-seed0" in capsys.readouterr().out
    assert main(words) == 0
    assert "second-seed0: already there" in capsys.readouterr().out

    results = json.loads((out / "loo.json").read_text())
    assert [fold["subject"] for fold in results["folds"]] == list(SUBJECTS)
    assert results["commit"] == "0" * 40
    assert set(results["data"]) == set(SUBJECTS)
    for fold in results["folds"]:
        assert [measured["missing"] for measured in fold["measured"]] == [[], ["T1"], ["T2"], ["FLAIR"]]
    whole = [fold["measured"][0]["dice"]["whole-tumour"] for fold in results["folds"]]
    assert results["mean_dice"][0]["dice"]["whole-tumour"] == pytest.approx(np.mean(whole), abs=1e-4)

    shipped = load_segmenter(out / "weights").identity
    assert shipped.version == results["shipped"]["version"]
    card = json.loads((out / "weights" / "segmenter.json").read_text())
    assert card["training"]["subjects"] == ["first"], "the shipped model never saw the held-out subject"

    picture = out / "loo.png"
    assert draw(["--data", words[1], "--work", str(out / "work"), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_refuses_a_subject_that_is_not_there(command):
    with pytest.raises(SystemExit, match="Choose subjects among first, second"):
        main([*command[1], "--only", "third"])
