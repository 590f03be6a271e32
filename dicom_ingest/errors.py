"""Errors of dicom_ingest.

DicomIngestError
├── ArchiveError
│   ├── ArchiveUnavailableError      no answer, or 5xx: worth another try
│   ├── ArchiveRefusedError          4xx: needs a change first
│   ├── StudyNotFoundError
│   ├── SeriesNotFoundError
│   ├── InstanceNotFoundError
│   ├── HostNotAllowedError          an address in data points outside the allow-list
│   ├── TooLargeError                more bytes than the limit
│   └── StoredDifferentlyError       read back, the archive holds something else than was sent
├── BrokenInstanceError              bytes that are not readable DICOM
├── SelectionError
│   ├── NotMagneticResonanceError    no MR series in the study
│   └── MissingReferenceSeriesError  no series is recognised as T1ce
└── GeometryError
    ├── UnsupportedInstanceError     not a classic single-frame MR image
    ├── TooFewSlicesError
    ├── MixedSeriesError             slices differ in size, orientation or frame of reference
    ├── DuplicateSliceError          two slices at one position
    ├── MissingSliceError            a gap of whole slices
    └── IrregularSpacingError        slice gaps differ beyond tolerance, or slices are sheared
"""


class DicomIngestError(Exception):
    """Base of all errors that dicom_ingest raises."""


class ArchiveError(DicomIngestError):
    """The archive did not do what was asked."""


class ArchiveUnavailableError(ArchiveError):
    """No answer, or a server error: worth another try."""


class ArchiveRefusedError(ArchiveError):
    """The archive refused the request: needs a change first."""


class StudyNotFoundError(ArchiveError):
    """The archive has no such study."""


class SeriesNotFoundError(ArchiveError):
    """The archive has no such series."""


class InstanceNotFoundError(ArchiveError):
    """The archive has no such instance."""


class HostNotAllowedError(ArchiveError):
    """An address found in data is not allow-listed."""


class TooLargeError(ArchiveError):
    """More bytes came than the limit allows."""


class StoredDifferentlyError(ArchiveError):
    """Read back, the archive holds something else than was sent."""


class BrokenInstanceError(DicomIngestError):
    """Bytes that are not readable DICOM."""


class SelectionError(DicomIngestError):
    """The study does not hold the series that the analysis needs."""


class NotMagneticResonanceError(SelectionError):
    """No MR series in the study."""


class MissingReferenceSeriesError(SelectionError):
    """No series is recognised as T1 after contrast."""


class GeometryError(DicomIngestError):
    """A series is not one regular volume."""


class UnsupportedInstanceError(GeometryError):
    """Not a classic single-frame MR image."""


class TooFewSlicesError(GeometryError):
    """Too few slices to be a volume."""


class MixedSeriesError(GeometryError):
    """Slices differ in size, orientation or frame of reference."""


class DuplicateSliceError(GeometryError):
    """Two slices lie at one position."""


class MissingSliceError(GeometryError):
    """Slices are missing from the stack."""


class IrregularSpacingError(GeometryError):
    """Slice gaps differ beyond tolerance."""
