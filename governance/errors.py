"""Errors of governance.

GovernanceError
├── NotCanonicalError   a value has no canonical bytes (a float, a set, an object)
├── KeyFileError        a key that cannot be read, or of another kind
├── SignatureError      a signature that is not of the expected key, message and purpose
├── PolicyError         a governance policy that cannot be used: nothing is allowed
├── NotPermittedError   the policy, or the separation of duties, does not let this person do that
├── OfficerKeyError     an officer without a key, or a passphrase that does not open it
├── ReleaseError        a model that cannot be released, halted or resumed as asked
├── ModelNotInUseError  a model that is not released, or is halted: no inference with it
├── AuditDataError      what an audit was given cannot be judged: demographics, labels or predictions are missing
├── MonitoringDataError  what was recorded of a running model cannot be judged: a clock set back, a value out of range
├── ReportError         a report, card or evidence bundle that cannot be made or read
├── AnchorError         the chain that roots are anchored in does not answer, or refuses
└── LedgerError
    ├── EntryError            an entry that the ledger does not take: unknown kind, missing fact, personal data
    ├── EntryConflictError    an entry whose key another entry has
    ├── ProofError            a Merkle proof that proves nothing
    ├── NoteError             a note, checkpoint or verifier key that is none
    ├── LedgerTamperedError   a ledger that is not what was signed
    ├── LedgerStoreError      a database or folder that cannot be used
    ├── LedgerNotOpenError    a ledger without its first entry
    ├── LogKeyError           a key that is not the log's present one
    ├── ClockSetBackError     a time before that of the last signature
    ├── BundleError           a file that is no ledger bundle
    └── WitnessError
        ├── UnknownLogError        a log that the witness does not know
        ├── WitnessBehindError     a proof that does not begin where the witness is
        └── InconsistentLogError   a log that contradicts what the witness has seen
"""


class GovernanceError(Exception):
    """Base of all errors that governance raises."""


class NotCanonicalError(GovernanceError):
    """A value cannot be written as canonical bytes."""


class KeyFileError(GovernanceError):
    """A key that cannot be read, or of another kind."""


class SignatureError(GovernanceError):
    """A signature that is not of the expected key, message and purpose."""


class PolicyError(GovernanceError):
    """A governance policy that cannot be used: nothing is allowed."""


class NotPermittedError(GovernanceError):
    """The policy, or the separation of duties, does not let this person do that."""


class OfficerKeyError(GovernanceError):
    """An officer without a key, or a passphrase that does not open it."""


class ReleaseError(GovernanceError):
    """A model that cannot be released, halted or resumed as asked."""


class ModelNotInUseError(GovernanceError):
    """A model that is not released, or is halted: no inference with it."""


class AuditDataError(GovernanceError):
    """What an audit was given cannot be judged."""


class MonitoringDataError(GovernanceError):
    """What was recorded of a running model cannot be judged."""


class ReportError(GovernanceError):
    """A report, card or evidence bundle that cannot be made or read."""


class AnchorError(GovernanceError):
    """The chain that roots are anchored in does not answer, or refuses."""


class LedgerError(GovernanceError):
    """Base of the ledger's errors."""


class EntryError(LedgerError):
    """An entry that the ledger does not take."""


class EntryConflictError(LedgerError):
    """An entry whose key another entry has."""


class ProofError(LedgerError):
    """A Merkle proof that proves nothing."""


class NoteError(LedgerError):
    """A note, checkpoint or verifier key that is none."""


class LedgerTamperedError(LedgerError):
    """A ledger that is not what was signed."""


class LedgerStoreError(LedgerError):
    """A database or folder that cannot be used."""


class LedgerNotOpenError(LedgerError):
    """A ledger without its first entry."""


class LogKeyError(LedgerError):
    """A key that is not the log's present one."""


class ClockSetBackError(LedgerError):
    """A time before that of the last signature."""


class BundleError(LedgerError):
    """A file that is no ledger bundle."""


class WitnessError(LedgerError):
    """A checkpoint that a witness does not cosign."""


class UnknownLogError(WitnessError):
    """A log that the witness does not know."""


class WitnessBehindError(WitnessError):
    """A proof that does not begin where the witness is.

    Attributes:
        size: Of the last tree that the witness cosigned.
    """

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class InconsistentLogError(WitnessError):
    """A log that contradicts what the witness has seen."""
