"""Errors of federated.

FederatedError
├── ModelError
│   ├── ModelFileError           weights or card missing, unreadable or not what their digest says
│   ├── ModelInputError          an image the model cannot take
│   ├── NiftiFileError           a NIfTI file that cannot be used
│   └── NetworkConfigError       a network that cannot be built
├── TrainingError
│   ├── TrainingDataError        a training case, or a cohort, that cannot be used
│   ├── BalanceDataError         a cohort whose groups cannot be balanced: unknown, alone or too small
│   ├── TrainingSettingsError    settings that cannot train
│   ├── CheckpointError          a checkpoint that is damaged, or of another run
│   └── DivergedError            the loss is not finite any more
├── FederationError
│   ├── TermsError               round terms that cannot be read, or contradict themselves
│   ├── TermsRefusedError        this site's policy does not allow the terms
│   ├── MessageError             a message that is malformed, too large, stale or of another round
│   ├── SenderError              a message that its sender did not sign, or of a sender that nobody knows
│   ├── UpdateError              an update that does not fit the model, or is not finite
│   ├── QuorumError              too few sites for the round
│   ├── AggregationError         a rule that cannot combine these updates
│   ├── SecureAggregationError   a key, share or ciphertext of the masking that cannot be right
│   ├── PrivacySettingsError     privacy that cannot be accounted for
│   ├── PrivacyBudgetError       the work would pass the site's privacy budget
│   ├── ProvisioningError        a kit, request or roster that cannot be used
│   ├── RoundRecordError         the stored state of a round is damaged
│   └── EngineError              the federation's engine does not answer; may pass
│       ├── UnknownCallerError   the other side does not know this caller
│       └── RefusedCallError     the other side answers, and refuses
├── EvaluationError              scores or masks that cannot be compared
└── QuantumError
    ├── CircuitError             a circuit that cannot be built
    ├── CircuitInputError        angles or weights that do not fit the circuit
    ├── ShotsError               shots, rates or trials out of range
    ├── QuantumBudgetError       the work would pass the site's budget of shots or money
    ├── QuantumPermissionError   the site does not allow that angles leave it
    ├── QuantumServiceError      the quantum service is away or busy; may pass
    ├── QuantumJobError          the quantum service refused or failed a job
    └── QuantumRecordError       the stored record of a quantum job is damaged
"""


class FederatedError(Exception):
    """Base of all errors that federated raises."""


class ModelError(FederatedError):
    """A model cannot be used."""


class ModelFileError(ModelError):
    """A model file is missing, unreadable or not what its digest says."""


class ModelInputError(ModelError):
    """An image that the model cannot take."""


class NiftiFileError(ModelError):
    """A NIfTI file that cannot be used."""


class NetworkConfigError(ModelError):
    """A network that cannot be built."""


class TrainingError(FederatedError):
    """A training that cannot go on."""


class TrainingDataError(TrainingError):
    """A training case, or a cohort, that cannot be used."""


class BalanceDataError(TrainingError):
    """A cohort whose groups cannot be balanced: they are unknown, alone or too small."""


class TrainingSettingsError(TrainingError):
    """Settings that cannot train."""


class CheckpointError(TrainingError):
    """A checkpoint that is damaged, or of another run."""


class DivergedError(TrainingError):
    """The loss is not finite any more."""


class FederationError(FederatedError):
    """A federated round that cannot go on."""


class TermsError(FederationError):
    """Round terms that cannot be read, or contradict themselves."""


class TermsRefusedError(FederationError):
    """This site's policy does not allow the terms."""


class MessageError(FederationError):
    """A message that is malformed, too large, stale or of another round."""


class SenderError(FederationError):
    """A message that its sender did not sign, or of a sender that nobody knows."""


class UpdateError(FederationError):
    """An update that does not fit the model, or is not finite."""


class QuorumError(FederationError):
    """Too few sites for the round."""


class AggregationError(FederationError):
    """A rule that cannot combine these updates."""


class SecureAggregationError(FederationError):
    """A key, share or ciphertext of the masking that cannot be right."""


class PrivacySettingsError(FederationError):
    """Privacy that cannot be accounted for."""


class PrivacyBudgetError(FederationError):
    """The work would pass the site's privacy budget."""


class ProvisioningError(FederationError):
    """A kit, request or roster that cannot be used."""


class RoundRecordError(FederationError):
    """The stored state of a round is damaged."""


class EngineError(FederationError):
    """The federation's engine does not answer; may pass."""


class UnknownCallerError(EngineError):
    """The other side does not know this caller, or not under this number any more."""


class RefusedCallError(EngineError):
    """The other side answers, and refuses to do that now."""


class EvaluationError(FederatedError):
    """Scores or masks that cannot be compared."""


class QuantumError(FederatedError):
    """A circuit that cannot be executed."""


class CircuitError(QuantumError):
    """A circuit that cannot be built."""


class CircuitInputError(QuantumError):
    """Angles or weights that do not fit the circuit."""


class ShotsError(QuantumError):
    """Shots, rates or trials out of range."""


class QuantumBudgetError(QuantumError):
    """The work would pass the site's budget of shots or money."""


class QuantumPermissionError(QuantumError):
    """The site does not allow that angles leave it."""


class QuantumServiceError(QuantumError):
    """The quantum service is away or busy; may pass."""


class QuantumJobError(QuantumError):
    """The quantum service refused or failed a job."""


class QuantumRecordError(QuantumError):
    """The stored record of a quantum job is damaged."""
