"""What the use cases of governance speak of: officers, acts, the state of a model, audits, observations, reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from governance.policy import Act


class ModelState(StrEnum):
    """Whether a model may be used."""

    UNRELEASED = "unreleased"
    RELEASED = "released"
    HALTED = "halted"


@dataclass(frozen=True)
class ModelStatus:
    """Where a model stands.

    Attributes:
        reason_code: E.g. "released", "released-by-override", "bias", "drift", "rejections", "halted-by-officer".
        reason: For people; names no person.
        audit_digest: Of the audit that the release rests on.
    """

    model_version: str
    state: ModelState
    reason_code: str
    reason: str
    audit_digest: str | None
    since: datetime


@dataclass(frozen=True)
class Officer:
    """Somebody with a key to sign with.

    Attributes:
        public_key: ML-DSA-65, 1,952 bytes.
        encrypted_key: PKCS #8 in PEM, encrypted with the officer's passphrase.
    """

    username: str
    public_key: bytes = field(repr=False)
    encrypted_key: bytes = field(repr=False)
    enrolled_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class SignedAct:
    """What an officer did and signed.

    Attributes:
        subject: A model version, a digest.
        document: The canonical bytes that were signed.
    """

    act: Act
    subject: str
    username: str
    role: str
    document: bytes
    signature: bytes
    at: datetime


@dataclass(frozen=True)
class AuditRecord:
    """An audit as stored.

    Attributes:
        outcome: "passed", "failed" or "insufficient-evidence".
        document: The canonical JSON of governance.audit.AuditReport; its SHA-256 is the digest.
    """

    digest: str
    model_version: str
    outcome: str
    policy_digest: str
    document: bytes = field(repr=False)
    at: datetime


@dataclass(frozen=True)
class Observation:
    """What monitoring keeps of one analysis.

    Attributes:
        groups: By attribute ("sex", "age", "ethnicity", "site"); what is unknown is left out.
        features: Numbers of the input and the result that drift is looked for in, by name.
        confidence: Expected Dice, 0 to 1.
        accepted: The radiologist's decision; None until there is one.
    """

    analysis_id: str
    model_version: str
    groups: Mapping[str, str]
    features: Mapping[str, float]
    confidence: float
    at: datetime
    accepted: bool | None = None
    reviewed_at: datetime | None = None


@dataclass(frozen=True)
class GovernanceReport:
    """A report that was issued."""

    digest: str
    kind: str
    period: str
    summary: Mapping[str, Any]
    html: bytes = field(repr=False)
    pdf: bytes = field(repr=False)
    at: datetime
