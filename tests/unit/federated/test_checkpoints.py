import logging

import pytest
import torch
from safetensors.torch import load_file

from federated.checkpoints import Checkpoint, CheckpointFolder
from federated.errors import CheckpointError

RUN = "a" * 64


def checkpoint(step, run=RUN):
    tensors = {"weight": torch.full((3, 2), float(step)), "count": torch.tensor(step), "state": torch.arange(5).byte()}
    return Checkpoint(run, step, tensors, {"losses": [0.1, 1 / 3], "nested": {"a": [1, 2]}})


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2, 13):
        CheckpointFolder(tmp_path).save(checkpoint(step))
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_reads_back_what_was_written(folder):
    found = CheckpointFolder(folder).latest(RUN)
    expected = checkpoint(13)
    assert (found.run, found.step, found.record) == (expected.run, expected.step, expected.record)
    assert set(found.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_keeps_the_last_two_and_nothing_else(folder):
    assert files(folder) == ["step-00000002.safetensors", "step-00000013.safetensors"]


def test_any_tool_can_read_the_tensors(folder):
    assert set(load_file(folder / "step-00000013.safetensors")) == {"weight", "count", "state"}


def test_there_is_none_in_a_new_folder(tmp_path):
    assert CheckpointFolder(tmp_path / "new").latest(RUN) is None
    assert CheckpointFolder(tmp_path / "new").is_empty


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="cut short"),
        pytest.param(lambda content: content[:40], id="cut in its header"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="a bit of a tensor"),
        pytest.param(lambda content: content.replace(b"0.1", b"0.2"), id="a digit of a loss"),
        pytest.param(lambda content: content.replace(RUN.encode(), b"b" * 64), id="the run"),
        pytest.param(lambda _: b"\x80\x04K\x01.", id="a pickle"),
    ],
)
def test_takes_the_one_before_a_damaged_one(folder, damage, caplog):
    newest = folder / "step-00000013.safetensors"
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert CheckpointFolder(folder).latest(RUN).step == 2
    assert "step-00000013" in caplog.text


def test_refuses_when_each_is_damaged(folder):
    for path in folder.iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        CheckpointFolder(folder).latest(RUN)


def test_refuses_one_of_another_run(folder):
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        CheckpointFolder(folder).latest("b" * 64)


def test_half_a_file_never_has_the_name(folder):
    (folder / "step-00000014.part").write_bytes(b"half")
    assert CheckpointFolder(folder).latest(RUN).step == 13


def test_tells_where_there_is_no_room(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="taken: cannot be written"):
        CheckpointFolder(tmp_path / "taken").save(checkpoint(1))


def test_is_due_after_its_interval(tmp_path):
    assert CheckpointFolder(tmp_path, interval_s=0.0).is_due
    rare = CheckpointFolder(tmp_path, interval_s=60.0)
    assert not rare.is_due
