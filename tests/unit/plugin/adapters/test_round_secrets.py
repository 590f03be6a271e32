"""Files of round secrets: for their owner, whole, and never anywhere else."""

import stat

import pytest

from federated.errors import RoundRecordError
from plugin.adapters.round_secrets import RoundSecrets


@pytest.fixture
def secrets(tmp_path):
    return RoundSecrets(tmp_path / "secrets")


def test_what_is_kept_is_for_its_owner(secrets, tmp_path):
    secrets.keep("work/1/session", b"secret")
    assert secrets.load("work/1/session") == b"secret"
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()] == [0o600]


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "..", ".", ".hidden", "a\x00b", "a/../b", "größe"])
def test_no_key_leads_out_of_the_folder(secrets, tmp_path, key):
    secrets.keep(key, b"x")
    assert secrets.load(key) == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["secrets"]
    secrets.drop(key)
    assert secrets.load(key) is None


def test_keys_do_not_collide(secrets):
    for key in ("a/b", "a%2Fb", "a.b", "A/b"):
        secrets.keep(key, key.encode())
    assert {key: secrets.load(key) for key in ("a/b", "a%2Fb", "a.b", "A/b")} == {
        key: key.encode() for key in ("a/b", "a%2Fb", "a.b", "A/b")
    }


def test_a_prefix_is_one_of_the_key(secrets):
    for key in ("work/1/a", "work/1/b", "work/10/a", "run/1"):
        secrets.keep(key, b"x")
    secrets.drop("work/1/")
    assert [secrets.load(key) for key in ("work/1/a", "work/1/b", "work/10/a", "run/1")] == [None, None, b"x", b"x"]


def test_dropping_all_takes_what_was_never_whole(secrets, tmp_path):
    secrets.keep("a", b"x")
    (tmp_path / "secrets" / ".0123").write_bytes(b"half")
    secrets.drop("")
    assert not list((tmp_path / "secrets").iterdir())
    RoundSecrets(tmp_path / "none").drop("")


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_that_is_no_file_name_is_refused(secrets, key):
    with pytest.raises(RoundRecordError):
        secrets.keep(key, b"x")


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RoundRecordError, match="cannot be written"):
        RoundSecrets(tmp_path / "file").keep("a", b"x")
