"""The audit of a model: its controls, what they found, and the outcome; as the document that is stored and signed.

    {"v": 1, "model": VERSION, "policy": DIGEST, "at": TIME, "outcome": OUTCOME, "trained_by": [...],
     "cohort": {"name", "digest", "cases", ...}, "controls": [{"name", "title", "outcome", "required", "measured",
     "threshold", "reason"}, ...], "sections": {...}, "provenance": {...}}

in canonical JSON: numbers that are not whole are texts. Its SHA-256 is the audit's digest.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from governance.canonical import Canonical, canonical_bytes
from governance.errors import AuditDataError, NotCanonicalError

VERSION: Final = 1
MOST_BYTES: Final = 4_000_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DIGITS: Final = 6
_KEYS: Final = frozenset(
    {"v", "model", "policy", "at", "outcome", "trained_by", "cohort", "controls", "sections", "provenance"}
)


class AuditOutcome(StrEnum):
    """What a control, or the whole audit, says."""

    PASSED = "passed"
    FAILED = "failed"
    INSUFFICIENT_EVIDENCE = "insufficient-evidence"
    """Neither is shown: too few cases, or none of a kind. Nothing is guessed."""


@dataclass(frozen=True)
class Control:
    """One thing that was asked of the model.

    Attributes:
        name: E.g. "bias", "worst-group".
        title: For people.
        required: Whether the model must pass it to be released.
        measured: What was found, with its interval; a text.
        threshold: What the policy asks for; "none" where it asks for nothing.
        reason: Why it is as it is, a sentence or two; it names no person.
    """

    name: str
    title: str
    outcome: AuditOutcome
    required: bool
    measured: str
    threshold: str
    reason: str


@dataclass(frozen=True)
class AuditReport:
    """A finished audit.

    Attributes:
        model_version: Which model it is of.
        policy_digest: Of the policy that gave the thresholds.
        at: When it was finished, with its zone.
        trained_by: Who trained the model, as keyed digests or roles; who trained must not release.
        cohort: "name", "digest", "cases", and what else there is to say.
        sections: Tables and what is plotted, by name.
        provenance: "command", "commit", "seeds", "machine", "seconds".
    """

    model_version: str
    policy_digest: str
    at: datetime
    controls: tuple[Control, ...]
    cohort: Mapping[str, Canonical]
    sections: Mapping[str, Canonical] = field(default_factory=dict)
    provenance: Mapping[str, Canonical] = field(default_factory=dict)
    trained_by: tuple[str, ...] = ()

    @property
    def outcome(self) -> AuditOutcome:
        """Failed if a required control failed; else without evidence if one is; else passed."""
        return overall_outcome(self.controls)

    def control(self, name: str) -> Control | None:
        """One of them."""
        return next((each for each in self.controls if each.name == name), None)

    def to_bytes(self) -> bytes:
        """The canonical document.

        Raises:
            NotCanonicalError: A section holds what has no canonical form; see canonical_numbers.
        """
        return canonical_bytes(
            {
                "v": VERSION,
                "model": self.model_version,
                "policy": self.policy_digest,
                "at": self.at.isoformat(),
                "outcome": self.outcome.value,
                "trained_by": list(self.trained_by),
                "cohort": dict(self.cohort),
                "controls": [{**asdict(each), "outcome": each.outcome.value} for each in self.controls],
                "sections": dict(self.sections),
                "provenance": dict(self.provenance),
            }
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the document, 64 hexadecimal digits."""
        return sha256(self.to_bytes()).hexdigest()


def overall_outcome(controls: Sequence[Control]) -> AuditOutcome:
    """Failed if a required control failed; else insufficient evidence if one has it; else passed.

    An audit that requires nothing shows nothing: insufficient evidence.
    """
    required = [each.outcome for each in controls if each.required]
    if AuditOutcome.FAILED in required:
        return AuditOutcome.FAILED
    if not required or AuditOutcome.INSUFFICIENT_EVIDENCE in required:
        return AuditOutcome.INSUFFICIENT_EVIDENCE
    return AuditOutcome.PASSED


def canonical_numbers(value: Any) -> Canonical:
    """A value as canonical JSON takes it: dataclasses and mappings by their keys, numbers that are not whole as text.

    A float becomes the shortest text of its six first digits, "0.1" or "1.5e-07"; what is not finite becomes None.

    Raises:
        NotCanonicalError: It holds an object that is none of these.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return number_text(value)
        case Mapping():
            return {str(name): canonical_numbers(each) for name, each in value.items()}
        case list() | tuple():
            return [canonical_numbers(each) for each in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {name: canonical_numbers(getattr(value, name)) for name in value.__dataclass_fields__}
        case _ if hasattr(value, "tolist"):
            # NumPy's numbers and arrays.
            return canonical_numbers(value.tolist())
    raise NotCanonicalError(f"A {type(value).__name__} has no canonical form; write it as a text or whole number.")


def number_text(value: float) -> str | None:
    """A number in its six first digits; None where it is not finite."""
    return repr(float(f"{value:.{_DIGITS}g}")) if math.isfinite(value) else None


def parse_audit(content: bytes) -> AuditReport:
    """Read an audit's document.

    Raises:
        AuditDataError: It is none, contradicts itself, or is not in canonical form.
    """
    if len(content) > MOST_BYTES:
        raise AuditDataError(f"Expected an audit of at most {MOST_BYTES} bytes, got {len(content)}.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise AuditDataError(f"Expected an audit as JSON, got something else ({type(fault).__name__}).") from fault
    try:
        report = _report(document)
        again = report.to_bytes()
    except (KeyError, TypeError, ValueError, AttributeError, NotCanonicalError) as fault:
        raise AuditDataError(f"The audit's document is not what it should be: {fault}") from fault
    if document["outcome"] != report.outcome:
        raise AuditDataError(
            f"The audit says {document['outcome']!r} where its controls come to {report.outcome}: it was changed."
        )
    if again != content:
        raise AuditDataError("The audit's document is not in canonical form: its digest would not be that of its text.")
    return report


def _report(document: Any) -> AuditReport:
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise ValueError(f"expected the keys {', '.join(sorted(_KEYS))}.")
    if document["v"] != VERSION:
        raise ValueError(f"expected version {VERSION}, got {document['v']!r}.")
    at = datetime.fromisoformat(document["at"])
    if at.tzinfo is None:
        raise ValueError("its time has no zone.")
    if not _DIGEST.fullmatch(document["policy"]) or not _DIGEST.fullmatch(document["cohort"]["digest"]):
        raise ValueError("expected digests of 64 hexadecimal digits for policy and cohort.")
    if not document["model"] or not all(isinstance(each, str) for each in (document["model"], *document["trained_by"])):
        raise ValueError("expected texts for the model and who trained it.")
    controls = tuple(_control(each) for each in document["controls"])
    if len({each.name for each in controls}) != len(controls):
        raise ValueError("a control comes twice.")
    return AuditReport(
        model_version=document["model"],
        policy_digest=document["policy"],
        at=at,
        controls=controls,
        cohort=document["cohort"],
        sections=dict(document["sections"]),
        provenance=dict(document["provenance"]),
        trained_by=tuple(document["trained_by"]),
    )


def _control(found: Mapping[str, Any]) -> Control:
    control = Control(**{**found, "outcome": AuditOutcome(found["outcome"])})
    texts = (control.name, control.title, control.measured, control.threshold, control.reason)
    if not isinstance(control.required, bool) or not all(isinstance(each, str) and each for each in texts):
        raise ValueError("a control's texts must not be empty, and whether it is required must be true or false.")
    return control
