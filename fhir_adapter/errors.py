"""Errors of fhir_adapter.

FhirAdapterError
├── FhirServerError
│   ├── FhirUnavailableError        no answer, 5xx or 429: worth another try
│   ├── FhirRefusedError            4xx with an OperationOutcome: needs a change first
│   ├── FhirNotFoundError           404 or 410
│   ├── FhirConflictError           409 or 412: read again, build again
│   └── FhirTooLargeError           an answer above the size limit
├── NotificationError
│   ├── MalformedNotificationError  not FHIR JSON, or not a notification
│   └── UnsupportedNotificationError  well-formed, but nothing this plugin listens to
└── ResourceError
    ├── MalformedResourceError      a resource that does not parse, or lacks what it must have
    ├── NoStudyUidError             an ImagingStudy without a DICOM study UID
    └── NoEndpointError             no active DICOMweb endpoint for a series
"""


class FhirAdapterError(Exception):
    """Base of all errors that fhir_adapter raises."""


class FhirServerError(FhirAdapterError):
    """The FHIR server did not do what was asked."""


class FhirUnavailableError(FhirServerError):
    """No answer, a server error or too many requests: worth another try.

    Attributes:
        retry_after_s: How long the server asks to wait (Retry-After), if it does.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FhirRefusedError(FhirServerError):
    """The server refused the request: needs a change first.

    Attributes:
        status: The HTTP status, None when the request was not even sent or its answer is no FHIR.
    """

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class FhirNotFoundError(FhirServerError):
    """The server has no such resource."""


class FhirConflictError(FhirServerError):
    """The resource changed in between: read it again and build again."""


class FhirTooLargeError(FhirServerError):
    """An answer above the size limit."""


class NotificationError(FhirAdapterError):
    """A notification that cannot be taken."""


class MalformedNotificationError(NotificationError):
    """Not FHIR JSON, or not a notification."""


class UnsupportedNotificationError(NotificationError):
    """Well-formed, but nothing this plugin listens to."""


class ResourceError(FhirAdapterError):
    """A resource that cannot be used."""


class MalformedResourceError(ResourceError):
    """A resource that does not parse, or lacks what it must have."""


class NoStudyUidError(ResourceError):
    """An ImagingStudy without a DICOM study instance UID."""


class NoEndpointError(ResourceError):
    """No active DICOMweb endpoint for a series."""
