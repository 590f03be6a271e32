"""The PACS's instances: Part 10 files on disk, indexed in SQLite."""

import hashlib
import io
import json
import sqlite3
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instance (
    sop_instance_uid TEXT PRIMARY KEY, series_instance_uid TEXT NOT NULL, study_instance_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL, digest TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL, instance_number INTEGER NOT NULL,
    metadata TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS instance_series ON instance (series_instance_uid);
CREATE INDEX IF NOT EXISTS instance_study ON instance (study_instance_uid);
"""
_BULK_KEYWORDS = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData"})
_UNREADABLE = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    NotImplementedError,
    struct.error,
)
"""What pydicom raises for bytes that it cannot read, which it partly notices late."""
_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# Part 10: 128 bytes preamble, "DICM", then (0002,0000) UL, whose value counts the rest of the file meta information.
_META_LENGTH_END = 144


class StoreRefusal(Exception):  # noqa: N818  # named for what it is in PS3.18: a refused instance, not our fault
    """An instance that is not taken.

    Attributes:
        reason: FailureReason (0008,1197), PS3.4 B.2.3 and PS3.18 table I.2-2.
        sop_class_uid, sop_instance_uid: Of the instance, if they could be read.
    """

    def __init__(self, reason: int, message: str, sop_class_uid: str = "", sop_instance_uid: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid


CANNOT_UNDERSTAND = 0xC000
DATA_SET_DOES_NOT_MATCH = 0xA900
DUPLICATE_SOP_INSTANCE = 0x0111


@dataclass(frozen=True)
class StoredInstance:
    """One line of the index.

    Attributes:
        metadata: DICOM JSON without pixels (PS3.18 annex F).
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    metadata: dict[str, Any]

    @property
    def sop_class_uid(self) -> str:
        """SOPClassUID, which an instance must have to be stored."""
        return str(self.metadata["00080016"]["Value"][0])


class InstanceStore:
    """Instances below one folder.

    Args:
        folder: Made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "instances"
        self._files.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(folder / "index.sqlite3", check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_SCHEMA)
        self._lock = threading.Lock()

    def add(self, content: IO[bytes], study_instance_uid: str | None) -> StoredInstance:
        """Store one Part 10 instance; the same one again is harmless.

        Args:
            content: At its beginning.
            study_instance_uid: The study that it must belong to, if the request named one.

        Raises:
            StoreRefusal: Nothing was stored.
        """
        data = content.read()
        dataset = _parse(data)
        new = _index_entry(dataset)
        _check_study(new, study_instance_uid)
        digest = _content_digest(data)
        with self._lock:
            if self._is_known(new, str(dataset.get("PatientID", "")), digest):
                return new
            path = self._path(new.sop_instance_uid)
            unfinished = path.with_suffix(".part")
            unfinished.write_bytes(data)
            unfinished.replace(path)
            self._connection.execute(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.sop_instance_uid,
                    new.series_instance_uid,
                    new.study_instance_uid,
                    str(dataset.get("PatientID", "")),
                    digest,
                    new.transfer_syntax_uid,
                    int(dataset.get("InstanceNumber") or 0),
                    json.dumps(new.metadata),
                ),
            )
        return new

    def _is_known(self, new: StoredInstance, patient_id: str, digest: str) -> bool:
        """Whether the same content is stored already; refuses what contradicts it."""
        uids = (new.sop_class_uid, new.sop_instance_uid)
        known = self._connection.execute(
            "SELECT digest FROM instance WHERE sop_instance_uid = ?", (new.sop_instance_uid,)
        ).fetchone()
        if known and known["digest"] != digest:
            message = f"{new.sop_instance_uid} is stored with other content; new content needs a new SOPInstanceUID"
            raise StoreRefusal(DUPLICATE_SOP_INSTANCE, message, *uids)
        of_study = self._connection.execute(
            "SELECT patient_id FROM instance WHERE study_instance_uid = ? LIMIT 1", (new.study_instance_uid,)
        ).fetchone()
        if of_study and of_study["patient_id"] != patient_id:
            message = f"study {new.study_instance_uid} belongs to another PatientID"
            raise StoreRefusal(DATA_SET_DOES_NOT_MATCH, message, *uids)
        return known is not None

    def _path(self, sop_instance_uid: str) -> Path:
        # The UID was checked to be one: digits and dots.
        return self._files / f"{sop_instance_uid}.dcm"

    def open(self, instance: StoredInstance) -> IO[bytes]:
        """The Part 10 file as it was stored."""
        return self._path(instance.sop_instance_uid).open("rb")

    def find(
        self,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> list[StoredInstance]:
        """Instances by their UIDs, in the order of series and InstanceNumber."""
        query = (
            "SELECT * FROM instance WHERE (?1 IS NULL OR study_instance_uid = ?1)"
            " AND (?2 IS NULL OR series_instance_uid = ?2) AND (?3 IS NULL OR sop_instance_uid = ?3)"
            " ORDER BY study_instance_uid, series_instance_uid, instance_number, sop_instance_uid"
        )
        with self._lock:
            rows = self._connection.execute(
                query, (study_instance_uid, series_instance_uid, sop_instance_uid)
            ).fetchall()
        return [
            StoredInstance(
                row["sop_instance_uid"],
                row["series_instance_uid"],
                row["study_instance_uid"],
                row["transfer_syntax_uid"],
                json.loads(row["metadata"]),
            )
            for row in rows
        ]


def _parse(data: bytes) -> FileDataset:
    try:
        dataset = dcmread(io.BytesIO(data))
    except _UNREADABLE as error:
        raise StoreRefusal(CANNOT_UNDERSTAND, "not a DICOM Part 10 file") from error
    for keyword in _IDENTIFIERS:
        uid = UID(str(dataset.get(keyword, "")))
        if not uid or not uid.is_valid:
            raise StoreRefusal(CANNOT_UNDERSTAND, f"{keyword} is missing or not a UID")
    return dataset


def _index_entry(dataset: FileDataset) -> StoredInstance:
    for keyword in _BULK_KEYWORDS:
        if keyword in dataset:
            del dataset[keyword]
    uids = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
    try:
        metadata: dict[str, Any] = dataset.to_json_dict()
    except _UNREADABLE as error:
        raise StoreRefusal(CANNOT_UNDERSTAND, "an attribute cannot be read", *uids) from error
    return StoredInstance(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        metadata=metadata,
    )


def _check_study(new: StoredInstance, study_instance_uid: str | None) -> None:
    if study_instance_uid is not None and new.study_instance_uid != study_instance_uid:
        message = f"expected an instance of study {study_instance_uid}, got one of {new.study_instance_uid}"
        raise StoreRefusal(DATA_SET_DOES_NOT_MATCH, message, new.sop_class_uid, new.sop_instance_uid)


def _content_digest(data: bytes) -> str:
    """SHA-256 of the data set, without the file meta information, which says who wrote the file."""
    length = int.from_bytes(data[_META_LENGTH_END - 4 : _META_LENGTH_END], "little")
    return hashlib.sha256(data[_META_LENGTH_END + length :]).hexdigest()
