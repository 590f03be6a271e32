import io

import numpy as np
import pytest
from PIL import Image as Picture

from federated.ports import Image
from plugin.errors import OutputFolderError
from plugin.services.prediction_output import prepare_folder, write_files
from plugin.services.prediction_overlay import render_overlay

SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")
AFFINE_LPS = np.array([[0, 0, 2.0, -40], [0, 2.0, 0, -50], [3.0, 0, 0, -30], [0, 0, 0, 1]])


def head():
    z, y, x = np.indices((20, 50, 40)) - np.array([10, 25, 20])[:, None, None, None]
    return np.where((z / 9) ** 2 + (y / 22) ** 2 + (x / 17) ** 2 <= 1, 100.0 + x, 0).astype(np.float32)


def overlay(labels, uncertainty=None, images=None):
    images = dict.fromkeys(SEQUENCES, Image(head(), AFFINE_LPS)) if images is None else images
    uncertainty = np.zeros(labels.shape, np.float32) if uncertainty is None else uncertainty
    return render_overlay(images, SEQUENCES, "T1ce", labels, uncertainty, (), ("A title", "A line"))


def pixels(png):
    return np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_picture_shows_regions_in_every_sequence_and_uncertainty_in_its_own_column():
    labels = np.zeros((20, 50, 40), np.uint8)
    labels[8:13, 20:32, 22:32] = 3
    doubt = np.zeros(labels.shape, np.float32)
    doubt[8:13, 20:32, 22:32] = 0.5
    shown, healthy = pixels(overlay(labels, doubt)), pixels(overlay(np.zeros_like(labels)))
    width = shown.shape[1] // 5
    for column in range(4):
        reds = (shown - healthy)[:, column * width : (column + 1) * width]
        assert (reds[..., 0] > reds[..., 1] + 60).sum() > 200
    doubtful = shown[:, 4 * width :]
    assert ((doubtful[..., 0] > 200) & (doubtful[..., 2] < 100)).sum() > 1000


def test_the_patients_right_is_on_the_left():
    labels = np.zeros((20, 50, 40), np.uint8)
    labels[8:13, 20:32, 24:32] = 3  # columns grow towards the patient's left
    shown = pixels(overlay(labels))
    axial = shown[80:430, 20:370]
    red = (axial[..., 0] > axial[..., 1] + 60) & (axial[..., 0] > 150)
    assert np.argwhere(red)[:, 1].mean() > 190


def test_a_missing_sequence_leaves_its_column_empty():
    images = {"T1ce": Image(head(), AFFINE_LPS)}
    shown = pixels(overlay(np.zeros((20, 50, 40), np.uint8), images=images))
    assert shown.shape == pixels(overlay(np.zeros((20, 50, 40), np.uint8))).shape
    assert shown[80:700, 20:370].max(axis=(0, 1)).max() < 200  # faint text only


def test_the_same_prediction_gives_the_same_picture():
    labels = np.zeros((20, 50, 40), np.uint8)
    labels[8:13, 20:32, 22:32] = 2
    assert overlay(labels) == overlay(labels)


def test_files_are_written_whole_and_replace_earlier_ones(tmp_path):
    write_files(tmp_path, {"a": b"one", "b": b"two"})
    write_files(tmp_path, {"a": b"three", "b": b"four"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"three", "b": b"four"}


def test_a_failure_leaves_the_earlier_files_and_nothing_else(tmp_path, monkeypatch):
    write_files(tmp_path, {"a": b"one", "b": b"two"})
    synced = []

    def fail_second(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail_second)
    with pytest.raises(OutputFolderError, match="No space left"):
        write_files(tmp_path, {"a": b"three", "b": b"four"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"one", "b": b"two"}


def test_the_last_file_stands_for_all(tmp_path, monkeypatch):
    write_files(tmp_path, {"mask": b"old", "measurements": b"old"})

    def fail(_self, target):
        if target.name == "measurements":
            raise OSError(5, "Input/output error")
        return replace(_self, target)

    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", fail)
    with pytest.raises(OutputFolderError):
        write_files(tmp_path, {"mask": b"new", "measurements": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["mask"]


def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputFolderError, match="choose another one"):
        prepare_folder(tmp_path / "taken")


def test_makes_the_folder(tmp_path):
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
