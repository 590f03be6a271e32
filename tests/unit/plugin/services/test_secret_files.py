import os

import pytest

from federated.errors import ProvisioningError
from plugin.services.secret_files import (
    check_folder,
    private_folder,
    read_public,
    read_secret,
    write_public,
    write_secret_once,
)


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_secret_is_for_its_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "keys")
        assert write_secret_once(folder / "identity.key", b"secret")
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert mode(folder / "identity.key") == 0o600
    assert read_secret(folder / "identity.key") == b"secret"


def test_a_secret_is_never_overwritten(tmp_path):
    path = tmp_path / "identity.key"
    write_secret_once(path, b"first")
    assert not write_secret_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["identity.key"]


def test_a_key_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "identity.key"
    path.write_bytes(b"first")
    monkeypatch.setattr(type(path), "exists", lambda _: False)
    assert not write_secret_once(path, b"second")
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o644], ids=oct)
def test_a_private_key_that_others_can_read_is_refused(tmp_path, bits):
    path = tmp_path / "identity.key"
    write_secret_once(path, b"secret")
    path.chmod(bits)
    with pytest.raises(ProvisioningError, match=r"chmod 600 .*identity\.key"):
        read_secret(path)


@pytest.mark.parametrize(
    ("bits", "is_read"),
    [(0o440, True), (0o400, True), (0o460, False), (0o444, False)],
    ids=["0440", "0400", "w", "all"],
)
def test_a_mounted_secret_of_another_user_may_be_read_by_the_group(tmp_path, monkeypatch, bits, is_read):
    """Kubernetes mounts a secret as root's, mode 0440, with the pod's fsGroup."""
    path = tmp_path / "identity.key"
    write_secret_once(path, b"secret")
    path.chmod(bits)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if is_read:
        assert read_secret(path) == b"secret"
    else:
        with pytest.raises(ProvisioningError):
            read_secret(path)


def test_a_missing_or_endless_secret_is_refused(tmp_path):
    with pytest.raises(ProvisioningError, match="No such file"):
        read_secret(tmp_path / "identity.key")
    write_secret_once(tmp_path / "identity.key", bytes(11))
    with pytest.raises(ProvisioningError, match="at most 10"):
        read_secret(tmp_path / "identity.key", limit=10)


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o702], ids=oct)
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, bits):
    folder = private_folder(tmp_path / "keys")
    folder.chmod(bits)
    with pytest.raises(ProvisioningError, match="chmod 700"):
        check_folder(folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ProvisioningError, match="expected a folder"):
        check_folder(tmp_path / "file")
    with pytest.raises(ProvisioningError, match="cannot be made"):
        private_folder(tmp_path / "file" / "keys")


def test_a_public_file_is_replaced_whole(tmp_path):
    path = tmp_path / "roster.json"
    assert read_public(path, limit=10) is None
    write_public(path, b"first")
    write_public(path, b"second")
    assert read_public(path, limit=10) == b"second"
    with pytest.raises(ProvisioningError, match="at most 5"):
        read_public(path, limit=5)
    assert [each.name for each in tmp_path.iterdir()] == ["roster.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    for write in (write_public, write_secret_once):
        with pytest.raises(ProvisioningError, match="cannot be written"):
            write(tmp_path / "missing" / "roster.json", b"")
