"""The ledger's files outside the database: its key, its last checkpoint, whom it believes, what it witnessed.

<folder>/log.key            the log's private key, ML-DSA-44, for its owner only
<folder>/log.key.next       its successor, while a rotation is under way
<folder>/first-key.vkey     the log's first public key, which verifiers hold on to
<folder>/checkpoint         the last signed checkpoint: a database that is put back contradicts it
<folder>/witnesses          whose cosignatures count: one verifier key a line
<folder>/witness.key        this site's key as a witness of others
<folder>/logs               verifier keys of the logs that this site witnesses, one a line
<folder>/witnessed/         the last checkpoint of each of them
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from governance.errors import LedgerStoreError
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.note import MAX_NOTE_BYTES

KEY, NEXT_KEY, FIRST_KEY, CHECKPOINT = "log.key", "log.key.next", "first-key.vkey", "checkpoint"
WITNESSES, WITNESS_KEY, LOGS, WITNESSED = "witnesses", "witness.key", "logs", "witnessed"
_LOCK: Final = ".lock"
_MAX_KEYS_BYTES: Final = 1 << 18
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class LedgerFolder:
    """The folder; it is made with its first file."""

    def __init__(self, folder: Path) -> None:
        """Use a folder that nobody else writes to."""
        self._folder = folder

    def key(self, origin: str) -> CosignerSigner:
        """The log's key; made where there is none."""
        return self._make(KEY, origin)

    def has_key(self) -> bool:
        """Whether this installation can sign."""
        return (self._folder / KEY).exists()

    def present_key(self, present: CosignerKey) -> CosignerSigner | None:
        """The private key of the log's present one: a rotation that was cut short has left two.

        Returns:
            None where this folder does not have it.
        """
        for name in (KEY, NEXT_KEY):
            pem = self._read(self._folder / name, secret=True)
            if pem is not None and (found := CosignerSigner.from_pem(present.name, pem)).public == present:
                if name == NEXT_KEY:
                    self.finish_rotation()
                return found
        return None

    def next_key(self, origin: str) -> CosignerSigner:
        """The key that replaces the present one; made where there is none."""
        return self._make(NEXT_KEY, origin)

    def finish_rotation(self) -> None:
        """Put the next key in the place of the present one, once the log says so."""
        with _translated(self._folder / KEY):
            (self._folder / NEXT_KEY).replace(self._folder / KEY)
            _sync(self._folder)

    def first_key(self) -> CosignerKey | None:
        """The key that the log was opened with, as this installation believes."""
        text = self._read(self._folder / FIRST_KEY)
        return CosignerKey.parse(text.decode("utf-8", "replace")) if text else None

    def pin_first_key(self, key: CosignerKey) -> None:
        """Hold on to the key that the log was opened with; one that is held stays."""
        if self.first_key() is None:
            self._write(self._folder / FIRST_KEY, f"{key.vkey}\n".encode())

    def checkpoint(self) -> str | None:
        """The last checkpoint that was signed here."""
        text = self._read(self._folder / CHECKPOINT, limit=MAX_NOTE_BYTES)
        return text.decode("utf-8", "replace") if text else None

    def keep_checkpoint(self, note: str) -> None:
        """Hold on to a checkpoint."""
        self._write(self._folder / CHECKPOINT, note.encode())

    def witnesses(self) -> list[CosignerKey]:
        """Whose cosignatures count."""
        return self._keys(WITNESSES)

    def witness_key(self, name: str) -> CosignerSigner:
        """This site's key as a witness; made where there is none."""
        return self._make(WITNESS_KEY, name)

    def logs(self) -> dict[str, list[CosignerKey]]:
        """The logs that this site witnesses, and the keys that may sign for them."""
        by_origin: dict[str, list[CosignerKey]] = {}
        for key in self._keys(LOGS):
            by_origin.setdefault(key.name, []).append(key)
        return by_origin

    def last(self, origin: str) -> str | None:
        """What this site has cosigned last of a log (WitnessMemory)."""
        text = self._read(self._witnessed(origin), limit=MAX_NOTE_BYTES)
        return text.decode("utf-8", "replace") if text else None

    def advance(self, origin: str, before: str | None, now: str) -> bool:
        """Replace it, if it is still what was seen (WitnessMemory)."""
        with self._held():
            if self.last(origin) != before:
                return False
            self._write(self._witnessed(origin), now.encode())
            return True

    def _witnessed(self, origin: str) -> Path:
        return self._folder / WITNESSED / hashlib.sha256(origin.encode()).hexdigest()

    def _make(self, name: str, key_name: str) -> CosignerSigner:
        """Read a private key; of several processes that make it at once, one wins."""
        path = self._folder / name
        with self._held():
            pem = self._read(path, secret=True)
            if pem is None:
                pem = CosignerSigner.generate(key_name).to_pem()
                self._write(path, pem)
        return CosignerSigner.from_pem(key_name, pem)

    def _keys(self, name: str) -> list[CosignerKey]:
        text = (self._read(self._folder / name) or b"").decode("utf-8", "replace")
        lines = (line.strip() for line in text.splitlines())
        return [CosignerKey.parse(line) for line in lines if line and not line.startswith("#")]

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder; the system lets go when the process dies."""
        with _translated(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self._folder / _LOCK).open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self, path: Path, *, limit: int = _MAX_KEYS_BYTES, secret: bool = False) -> bytes | None:
        with _translated(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                return None
            with file:
                if secret and os.fstat(file.fileno()).st_mode & _OTHERS & ~stat.S_IRGRP:
                    raise LedgerStoreError(f"{path}: others can use this private key; run `chmod 600` on it.")
                data = file.read(limit + 1)
        if len(data) > limit:
            raise LedgerStoreError(f"{path}: expected at most {limit} bytes.")
        return data

    def _write(self, path: Path, data: bytes) -> None:
        """Write durably: the name never stands for half a file."""
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        with _translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.unlink(missing_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise LedgerStoreError(
            f"{path}: cannot be used ({fault.strerror}); check its owner and the room there."
        ) from fault
