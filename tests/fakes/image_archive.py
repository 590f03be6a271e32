"""An archive in memory that behaves as a PACS does, the unpleasant parts included."""

from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_ingest.errors import (
    ArchiveError,
    ArchiveRefusedError,
    BrokenInstanceError,
    HostNotAllowedError,
    InstanceNotFoundError,
    SeriesNotFoundError,
    StudyNotFoundError,
)
from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import Series

DEFAULT_ADDRESS = "https://pacs.example/dicom-web"


class InMemoryArchive:
    """Implements ImageArchive; keeps encoded instances, so that no caller shares a dataset with another.

    Attributes:
        stored: SOP Instance UIDs in the order in which store_instance took them.
    """

    def __init__(self, instances: Iterable[Dataset] = ()) -> None:
        self._instances: dict[str, bytes] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._faults: list[ArchiveError] = []
        self.stored: list[str] = []
        for instance in instances:
            self.add(encode_instance(instance))

    def add(self, data: bytes) -> None:
        """Put an instance into the archive, as a scanner would; one that is there already stays as it is."""
        instance = parse_instance(data)
        if instance.SOPInstanceUID not in self._instances:
            self._instances[instance.SOPInstanceUID] = data
            self._places[instance.SOPInstanceUID] = (instance.StudyInstanceUID, instance.SeriesInstanceUID)

    def fail_next(self, error: ArchiveError, times: int = 1) -> None:
        """Let the next calls fail with an error."""
        self._faults.extend([error] * times)

    def list_series(self, study_instance_uid: str) -> Sequence[Series]:
        """See ImageArchive."""
        self._fail_if_told()
        by_series: dict[str, list[str]] = {}
        for sop_uid, (study, series) in self._places.items():
            if study == study_instance_uid:
                by_series.setdefault(series, []).append(sop_uid)
        if not by_series:
            raise StudyNotFoundError(f"The archive has no study {study_instance_uid}.")
        return tuple(self._series(study_instance_uid, series, sop_uids) for series, sop_uids in by_series.items())

    def fetch_instances(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[Dataset]:
        """See ImageArchive."""
        self._fail_if_told()
        place = (study_instance_uid, series_instance_uid)
        sop_uids = [sop_uid for sop_uid, found in self._places.items() if found == place]
        if not sop_uids:
            raise SeriesNotFoundError(f"The archive has no series {series_instance_uid}.")
        for sop_uid in sop_uids:
            yield parse_instance(self._instances[sop_uid])

    def store_instance(self, instance: bytes, study_instance_uid: str) -> None:
        """See ImageArchive."""
        self._fail_if_told()
        try:
            parsed = parse_instance(instance)
        except BrokenInstanceError as error:
            raise ArchiveRefusedError("The archive cannot read the instance.") from error
        if parsed.StudyInstanceUID != study_instance_uid:
            raise ArchiveRefusedError(
                f"Instance {parsed.SOPInstanceUID} is of study {parsed.StudyInstanceUID}, not {study_instance_uid}."
            )
        self.add(instance)
        self.stored.append(parsed.SOPInstanceUID)

    def fetch_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset:
        """See ImageArchive."""
        self._fail_if_told()
        if self._places.get(sop_instance_uid) != (study_instance_uid, series_instance_uid):
            raise InstanceNotFoundError(f"The archive has no instance {sop_instance_uid}.")
        return parse_instance(self._instances[sop_instance_uid])

    def _series(self, study_instance_uid: str, series_instance_uid: str, sop_uids: Sequence[str]) -> Series:
        header = parse_instance(self._instances[sop_uids[0]])
        if "PixelData" in header:
            del header.PixelData
        return Series(study_instance_uid, series_instance_uid, header.Modality, len(sop_uids), header)

    def _fail_if_told(self) -> None:
        if self._faults:
            raise self._faults.pop(0)


class InMemoryArchives:
    """Implements Archives over in-memory archives by address."""

    def __init__(self, default: InMemoryArchive, others: dict[str, InMemoryArchive] | None = None) -> None:
        self._default = default
        self._others = others or {}

    def at(self, address: str | None) -> InMemoryArchive:
        """See Archives."""
        if address is None or address.rstrip("/") == DEFAULT_ADDRESS:
            return self._default
        if address not in self._others:
            raise HostNotAllowedError(f"The archive address {address} is not allow-listed.")
        return self._others[address]
