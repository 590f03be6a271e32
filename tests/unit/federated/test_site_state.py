import numpy as np
import pytest

from federated.errors import RoundRecordError
from federated.site_state import SiteFolder, SiteState


def state(value):
    number = np.float32(value)
    return SiteState({"norm.weight": np.full((2, 1), number)}, np.full(3, -number))


def value(found):
    return float(found.control[0]) if found.control.size else None


@pytest.fixture
def folder(tmp_path):
    return SiteFolder(tmp_path / "site" / "run")


def test_a_site_begins_with_nothing(folder):
    assert (dict(folder.before(5).personal), folder.before(5).control.size) == ({}, 0)
    assert value(folder.after(3)) is None


def test_what_is_kept_is_found_again(folder):
    folder.keep(3, state(7), counted=0)
    for found in (folder.after(3), folder.before(4), folder.before(99)):
        np.testing.assert_array_equal(found.personal["norm.weight"], np.full((2, 1), 7, np.float32))
        assert value(found) == -7
    assert value(folder.before(3)) is None


def test_a_round_that_is_done_again_sees_what_it_saw(folder, tmp_path):
    for number in (1, 2, 2, 2):
        assert value(folder.before(number)) == (None if number == 1 else -1)
        folder.keep(number, state(number), counted=number - 1)
    path = tmp_path / "site" / "run" / "round-000002.safetensors"
    before = path.read_bytes()
    folder.keep(2, state(2), counted=1)
    assert path.read_bytes() == before


def test_keeps_what_counted_last_and_drops_the_rest(folder):
    for number in range(1, 8):
        folder.keep(number, state(number), counted=2 if number >= 3 else number - 1)
    assert [number for number in range(1, 9) if value(folder.after(number)) is not None] == [2, 6, 7]


def test_only_the_owner_reads_it(folder, tmp_path):
    folder.keep(1, state(1), counted=0)
    assert (tmp_path / "site" / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "site" / "run" / "round-000001.safetensors").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"x" * 100], ids=["empty", "rubbish"])
def test_refuses_a_damaged_file(folder, tmp_path, content):
    folder.keep(1, state(1), counted=0)
    (tmp_path / "site" / "run" / "round-000001.safetensors").write_bytes(content)
    with pytest.raises(RoundRecordError, match="own state of round 1 is damaged"):
        folder.before(2)


def test_half_a_file_is_not_seen(folder, tmp_path):
    folder.keep(1, state(1), counted=0)
    (tmp_path / "site" / "run" / "round-000002.part").write_bytes(b"half")
    assert value(folder.before(3)) == -1
