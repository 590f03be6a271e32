"""The plugin's own errors, and the remedy table: what is done about each error of any package.

PluginError
├── SettingsError                 the environment does not hold a usable configuration
├── SitePolicyError               a site's policy file that cannot be used: every round is refused
├── RequestError
│   ├── WrongSecretError          a notification without the subscription's secret
│   ├── UnknownSubscriptionError
│   ├── UnsupportedMediaTypeError
│   ├── RequestTooLargeError
│   ├── InvalidStudyUidError
│   ├── AnalysisNotFoundError
│   ├── DeliveryNotFoundError
│   ├── NotAwaitingReviewError
│   ├── NotRestartableError
│   ├── CommentRequiredError
│   ├── UserError                 a user that cannot be added or found
│   ├── SubjectNotFoundError      nothing is held on that patient
│   ├── TrainingNotFoundError     no training of that id
│   ├── TrainingBusyError         another process is at that training
│   ├── TrainingRunError          a training whose record or folder cannot be used
│   ├── RoundWorkError            a federated round's work whose folder cannot be used
│   ├── RoundWorkOverError        a federated round that ended before its work did
│   ├── FederationBusyError       another process runs this part of the federation
│   ├── ParticipationError        a federation that this site cannot pause, resume or leave as asked
│   ├── FederationProcessError    a process of the federation that does not live
│   ├── FederationRunError        a federated run that cannot be begun, or does not get further
│   ├── RunNotFoundError          no federated run of that id
│   ├── TooManyWatchersError      more live feeds than one web process serves
│   └── SubscriptionError         a subscription that cannot be registered or found
├── PredictionError               what `qfl predict` cannot read or write
│   ├── InputNotFoundError        neither DICOM series nor NIfTI files of a case
│   ├── SequenceNamesError        files whose names do not make one case
│   ├── SeveralStudiesError       DICOM files of more than one study
│   └── OutputFolderError         a folder that cannot be written to
└── AnalysisError
    ├── StudyUnavailableError     the EHR says that the study is cancelled or entered in error
    ├── StudyIncompleteError      the archive holds fewer images than the EHR announces
    ├── PatientUnknownError       no patient in the EHR belongs to the study
    ├── ReportNotFoundError       the EHR does not hold a report that it was sent
    ├── WorkerLostError           the worker died on it too often
    └── LeaseLostError            another worker has taken the analysis over
"""

from dataclasses import dataclass
from enum import StrEnum

from dicom_ingest import errors as dicom
from federated import errors as models
from fhir_adapter import errors as fhir
from governance import errors as governance


class PluginError(Exception):
    """Base of all errors that the plugin raises."""


class SettingsError(PluginError):
    """The environment does not hold a usable configuration."""


class SitePolicyError(PluginError):
    """A site's policy file that cannot be used: every round is refused."""


class RequestError(PluginError):
    """Somebody asked for what cannot be done."""


class WrongSecretError(RequestError):
    """A notification without the subscription's secret."""


class UnknownSubscriptionError(RequestError):
    """No subscription of that name."""


class UnsupportedMediaTypeError(RequestError):
    """A body that is not FHIR JSON."""


class RequestTooLargeError(RequestError):
    """A body above the limit."""


class InvalidStudyUidError(RequestError):
    """Not a DICOM UID."""


class AnalysisNotFoundError(RequestError):
    """No analysis of that id."""


class DeliveryNotFoundError(RequestError):
    """No delivery of that id that can be replayed."""


class NotAwaitingReviewError(RequestError):
    """The analysis has no result that waits for a decision."""


class NotRestartableError(RequestError):
    """The analysis is still running, or has a result."""


class CommentRequiredError(RequestError):
    """A rejection without a reason."""


class UserError(RequestError):
    """A user that cannot be added or found."""


class SubjectNotFoundError(RequestError):
    """Nothing is held on that patient."""


class TrainingNotFoundError(RequestError):
    """No training of that id."""


class TrainingBusyError(RequestError):
    """Another process is at that training."""


class TrainingRunError(RequestError):
    """A training whose record or folder cannot be used."""


class RoundWorkError(RequestError):
    """A federated round's work whose folder cannot be used."""


class RoundWorkOverError(RequestError):
    """A federated round that ended before its work did."""


class FederationBusyError(RequestError):
    """Another process runs this part of the federation."""


class ParticipationError(RequestError):
    """A federation that this site cannot pause, resume or leave as asked."""


class FederationProcessError(RequestError):
    """A process of the federation that does not live."""


class FederationRunError(RequestError):
    """A federated run that cannot be begun, or does not get further."""


class RunNotFoundError(RequestError):
    """No federated run of that id."""


class TooManyWatchersError(RequestError):
    """More live feeds than one web process serves."""


class SubscriptionError(RequestError):
    """A subscription that cannot be registered or found."""


class PredictionError(PluginError):
    """A prediction by hand whose input or output cannot be used."""


class InputNotFoundError(PredictionError):
    """Neither DICOM series nor NIfTI files of a case."""


class SequenceNamesError(PredictionError):
    """Files whose names do not make one case."""


class SeveralStudiesError(PredictionError):
    """DICOM files of more than one study."""


class OutputFolderError(PredictionError):
    """A folder that cannot be written to."""


class AnalysisError(PluginError):
    """An analysis that cannot go on."""


class StudyUnavailableError(AnalysisError):
    """The EHR says that the study is cancelled or entered in error."""


class StudyIncompleteError(AnalysisError):
    """The archive holds fewer images than the EHR announces."""


class PatientUnknownError(AnalysisError):
    """No patient in the EHR belongs to the study."""


class ReportNotFoundError(AnalysisError):
    """The EHR does not hold a report that it was sent."""


class WorkerLostError(AnalysisError):
    """The worker died on it too often."""


class LeaseLostError(AnalysisError):
    """Another worker has taken the analysis over."""


class Treatment(StrEnum):
    """What is done about an error."""

    RETRY = "retry"
    """Try again with backoff; after all attempts, fail."""
    NOT_ANALYSABLE = "not-analysable"
    """The study itself stands in the way."""
    FAIL = "fail"
    """Needs a person: configuration, permission or our own fault."""
    REFUSE = "refuse"
    """The caller is told no."""
    HALT = "halt"
    """Waits, not analysed, until officers let the model run again."""


@dataclass(frozen=True)
class Remedy:
    """What is done about an error, what HTTP answers and what the command exits with (sysexits.h)."""

    treatment: Treatment
    http_status: int
    exit_code: int

    @property
    def retry(self) -> bool:
        """Whether another try may succeed."""
        return self.treatment is Treatment.RETRY


_RETRY = Remedy(Treatment.RETRY, 503, 75)
_STUDY = Remedy(Treatment.NOT_ANALYSABLE, 422, 65)
_FAIL = Remedy(Treatment.FAIL, 502, 69)
_OURS = Remedy(Treatment.FAIL, 500, 70)

REMEDIES: dict[type[Exception], Remedy] = {
    SettingsError: Remedy(Treatment.FAIL, 500, 78),
    SitePolicyError: Remedy(Treatment.REFUSE, 403, 78),
    WrongSecretError: Remedy(Treatment.REFUSE, 401, 77),
    UnknownSubscriptionError: Remedy(Treatment.REFUSE, 404, 64),
    UnsupportedMediaTypeError: Remedy(Treatment.REFUSE, 415, 65),
    RequestTooLargeError: Remedy(Treatment.REFUSE, 413, 65),
    InvalidStudyUidError: Remedy(Treatment.REFUSE, 400, 65),
    AnalysisNotFoundError: Remedy(Treatment.REFUSE, 404, 66),
    DeliveryNotFoundError: Remedy(Treatment.REFUSE, 404, 66),
    NotAwaitingReviewError: Remedy(Treatment.REFUSE, 409, 65),
    NotRestartableError: Remedy(Treatment.REFUSE, 409, 65),
    CommentRequiredError: Remedy(Treatment.REFUSE, 422, 65),
    UserError: Remedy(Treatment.REFUSE, 400, 64),
    SubscriptionError: Remedy(Treatment.REFUSE, 400, 64),
    SubjectNotFoundError: Remedy(Treatment.REFUSE, 404, 66),
    TrainingNotFoundError: Remedy(Treatment.REFUSE, 404, 66),
    TrainingBusyError: Remedy(Treatment.REFUSE, 409, 75),
    TrainingRunError: Remedy(Treatment.REFUSE, 409, 73),
    RoundWorkError: Remedy(Treatment.REFUSE, 409, 73),
    RoundWorkOverError: Remedy(Treatment.REFUSE, 409, 75),
    FederationBusyError: Remedy(Treatment.REFUSE, 409, 75),
    ParticipationError: Remedy(Treatment.REFUSE, 409, 64),
    FederationProcessError: Remedy(Treatment.REFUSE, 503, 69),
    FederationRunError: Remedy(Treatment.REFUSE, 409, 69),
    RunNotFoundError: Remedy(Treatment.REFUSE, 404, 66),
    TooManyWatchersError: Remedy(Treatment.REFUSE, 503, 75),
    InputNotFoundError: Remedy(Treatment.REFUSE, 422, 66),
    SequenceNamesError: Remedy(Treatment.REFUSE, 422, 65),
    SeveralStudiesError: Remedy(Treatment.REFUSE, 422, 65),
    OutputFolderError: Remedy(Treatment.FAIL, 500, 73),
    StudyUnavailableError: _STUDY,
    StudyIncompleteError: _RETRY,
    PatientUnknownError: _FAIL,
    ReportNotFoundError: _RETRY,
    WorkerLostError: _OURS,
    LeaseLostError: _RETRY,
    dicom.ArchiveUnavailableError: _RETRY,
    dicom.ArchiveRefusedError: _FAIL,
    dicom.StudyNotFoundError: _STUDY,
    dicom.SeriesNotFoundError: _STUDY,
    dicom.InstanceNotFoundError: _RETRY,
    dicom.HostNotAllowedError: _FAIL,
    dicom.TooLargeError: _STUDY,
    dicom.StoredDifferentlyError: _FAIL,
    dicom.BrokenInstanceError: _STUDY,
    dicom.SelectionError: _STUDY,
    dicom.GeometryError: _STUDY,
    fhir.FhirUnavailableError: _RETRY,
    fhir.FhirRefusedError: _FAIL,
    fhir.FhirNotFoundError: _STUDY,
    fhir.FhirConflictError: _RETRY,
    fhir.FhirTooLargeError: _FAIL,
    fhir.MalformedNotificationError: Remedy(Treatment.REFUSE, 400, 65),
    fhir.UnsupportedNotificationError: Remedy(Treatment.REFUSE, 422, 65),
    fhir.MalformedResourceError: _STUDY,
    fhir.NoStudyUidError: _STUDY,
    fhir.NoEndpointError: _STUDY,
    models.ModelFileError: _FAIL,
    models.ModelInputError: _STUDY,
    models.NiftiFileError: Remedy(Treatment.REFUSE, 422, 65),
    models.NetworkConfigError: _FAIL,
    models.TrainingDataError: Remedy(Treatment.FAIL, 422, 65),
    models.BalanceDataError: Remedy(Treatment.REFUSE, 422, 65),
    models.TrainingSettingsError: Remedy(Treatment.REFUSE, 422, 64),
    models.CheckpointError: Remedy(Treatment.FAIL, 500, 65),
    models.DivergedError: _OURS,
    models.EvaluationError: Remedy(Treatment.FAIL, 422, 65),
    models.TermsError: Remedy(Treatment.REFUSE, 422, 65),
    models.TermsRefusedError: Remedy(Treatment.REFUSE, 403, 77),
    models.MessageError: Remedy(Treatment.REFUSE, 400, 65),
    models.SenderError: Remedy(Treatment.REFUSE, 403, 77),
    models.UpdateError: Remedy(Treatment.REFUSE, 422, 65),
    models.QuorumError: Remedy(Treatment.RETRY, 503, 75),
    models.AggregationError: Remedy(Treatment.FAIL, 422, 65),
    models.SecureAggregationError: Remedy(Treatment.REFUSE, 422, 65),
    models.PrivacySettingsError: Remedy(Treatment.REFUSE, 422, 64),
    models.PrivacyBudgetError: Remedy(Treatment.REFUSE, 403, 77),
    models.ProvisioningError: Remedy(Treatment.REFUSE, 422, 65),
    models.RoundRecordError: _FAIL,
    models.EngineError: _RETRY,
    models.CircuitError: Remedy(Treatment.REFUSE, 422, 64),
    models.CircuitInputError: _OURS,
    models.ShotsError: Remedy(Treatment.REFUSE, 422, 64),
    models.QuantumBudgetError: Remedy(Treatment.REFUSE, 403, 77),
    models.QuantumPermissionError: Remedy(Treatment.REFUSE, 403, 77),
    models.QuantumServiceError: _RETRY,
    models.QuantumJobError: _FAIL,
    models.QuantumRecordError: _FAIL,
    governance.NotCanonicalError: _OURS,
    governance.KeyFileError: Remedy(Treatment.FAIL, 500, 78),
    governance.SignatureError: Remedy(Treatment.REFUSE, 403, 77),
    governance.PolicyError: Remedy(Treatment.REFUSE, 403, 78),
    governance.NotPermittedError: Remedy(Treatment.REFUSE, 403, 77),
    governance.OfficerKeyError: Remedy(Treatment.REFUSE, 403, 77),
    governance.ReleaseError: Remedy(Treatment.REFUSE, 409, 65),
    governance.ModelNotInUseError: Remedy(Treatment.HALT, 503, 77),
    governance.AuditDataError: Remedy(Treatment.REFUSE, 422, 65),
    governance.MonitoringDataError: Remedy(Treatment.FAIL, 500, 65),
    governance.ReportError: Remedy(Treatment.REFUSE, 422, 65),
    governance.AnchorError: _RETRY,
    governance.EntryError: _OURS,
    governance.EntryConflictError: _OURS,
    governance.ProofError: Remedy(Treatment.REFUSE, 422, 65),
    governance.NoteError: Remedy(Treatment.REFUSE, 422, 65),
    governance.LedgerTamperedError: Remedy(Treatment.FAIL, 500, 65),
    governance.LedgerStoreError: _RETRY,
    governance.LedgerNotOpenError: Remedy(Treatment.FAIL, 500, 66),
    governance.LogKeyError: Remedy(Treatment.FAIL, 500, 78),
    governance.ClockSetBackError: _RETRY,
    governance.BundleError: Remedy(Treatment.REFUSE, 422, 65),
    governance.UnknownLogError: Remedy(Treatment.REFUSE, 404, 66),
    governance.WitnessBehindError: Remedy(Treatment.REFUSE, 409, 75),
    governance.InconsistentLogError: Remedy(Treatment.REFUSE, 422, 65),
}


def remedy(error: BaseException) -> Remedy:
    """The remedy of an error, by its nearest class in the table; an unforeseen error is our own fault."""
    for cls in type(error).__mro__:
        if cls in REMEDIES:
            return REMEDIES[cls]
    return _OURS
