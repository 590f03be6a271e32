"""The ledger's files: private where they must be, one winner where several make them, whole always."""

import stat
from pathlib import Path

import pytest

from governance.adapters.ledger_folder import KEY, LOGS, NEXT_KEY, WITNESSES, LedgerFolder
from governance.errors import LedgerStoreError, NoteError
from governance.ledger.cosignature import CosignerSigner


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    assert not folder.has_key()
    key = folder.key("log.example")
    assert folder.key("log.example").public == key.public
    assert folder.has_key()
    assert mode(tmp_path / "ledger") == 0o700
    assert mode(tmp_path / "ledger" / KEY) == 0o600


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    folder.key("log.example")
    (tmp_path / "ledger" / KEY).chmod(0o604)
    with pytest.raises(LedgerStoreError, match="chmod 600"):
        folder.key("log.example")


def test_a_rotation_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    old, new = folder.key("log.example"), folder.next_key("log.example")
    found = folder.present_key(old.public)
    assert found
    assert found.public == old.public
    assert (tmp_path / "ledger" / NEXT_KEY).exists()
    found = folder.present_key(new.public)  # the log says so
    assert found
    assert found.public == new.public
    assert not (tmp_path / "ledger" / NEXT_KEY).exists()
    assert folder.key("log.example").public == new.public
    assert folder.present_key(CosignerSigner.generate("log.example").public) is None


def test_the_first_key_stays(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    assert folder.first_key() is None
    first = CosignerSigner.generate("log.example").public
    folder.pin_first_key(first)
    folder.pin_first_key(CosignerSigner.generate("log.example").public)
    assert folder.first_key() == first


def test_what_was_cosigned_is_remembered_and_replaced_only_if_it_is_still_that(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    assert folder.last("log.example") is None
    assert folder.advance("log.example", None, "one")
    assert not folder.advance("log.example", None, "two")
    assert LedgerFolder(tmp_path / "ledger").last("log.example") == "one"
    assert folder.last("other.example") is None


def test_believed_keys_are_read_one_a_line(tmp_path: Path) -> None:
    keys = [CosignerSigner.generate(name).public for name in ("a.example", "b.example", "b.example")]
    text = f"# whom we believe\n\n{keys[0].vkey}\n{keys[1].vkey}\n{keys[2].vkey}\n"
    (tmp_path / WITNESSES).write_text(text)
    (tmp_path / LOGS).write_text(text)
    folder = LedgerFolder(tmp_path)
    assert folder.witnesses() == keys
    assert folder.logs() == {"a.example": keys[:1], "b.example": keys[1:]}
    assert LedgerFolder(tmp_path / "none").witnesses() == []
    (tmp_path / WITNESSES).write_text("no key\n")
    with pytest.raises(NoteError):
        folder.witnesses()


def test_a_checkpoint_is_kept(tmp_path: Path) -> None:
    folder = LedgerFolder(tmp_path / "ledger")
    assert folder.checkpoint() is None
    folder.keep_checkpoint("note — with a dash\n")
    assert folder.checkpoint() == "note — with a dash\n"
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == ["checkpoint"]


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerStoreError, match="cannot be used"):
        LedgerFolder(tmp_path / "file" / "ledger").keep_checkpoint("x")
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "checkpoint").write_bytes(b"x" * (1 << 19))
    with pytest.raises(LedgerStoreError, match="at most"):
        LedgerFolder(tmp_path / "large").checkpoint()
