"""What this package needs from the world."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pydicom.dataset import Dataset

from dicom_ingest.model import Series


class ImageArchive(Protocol):
    """One DICOM archive (PACS or VNA)."""

    def list_series(self, study_instance_uid: str) -> Sequence[Series]:
        """List a study's series, each with the header of one of its instances.

        Raises:
            StudyNotFoundError: The archive has no such study.
            ArchiveUnavailableError: It did not answer, or answered 5xx; worth another try.
            ArchiveRefusedError: It refused (4xx); not worth another try without a change.
        """

    def fetch_instances(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[Dataset]:
        """Stream a series' instances, in any order.

        Raises:
            SeriesNotFoundError, ArchiveUnavailableError, ArchiveRefusedError: Also while streaming.
            BrokenInstanceError: A part is not readable DICOM.
            TooLargeError: More bytes than the limit for one series.
        """

    def store_instance(self, instance: bytes, study_instance_uid: str) -> None:
        """Store one Part 10 instance in a study; storing the same one again is harmless.

        Raises:
            ArchiveUnavailableError, ArchiveRefusedError: As above; the message says which failure reason came.
        """

    def fetch_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset:
        """Fetch one instance, to compare what the archive holds with what was sent.

        Raises:
            InstanceNotFoundError: The archive has no such instance.
        """


class Archives(Protocol):
    """The archives that the site allows."""

    def at(self, address: str | None) -> ImageArchive:
        """The archive at a DICOMweb base address; None is the site's default archive.

        Raises:
            HostNotAllowedError: The address is not below an allowed base URL.
        """
