"""What is wrong with a bundle, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class BundleFault(StrEnum):
    """What can be wrong."""

    ARCHIVE = "archive-damaged"
    """The archive, or bytes of it beside its files."""
    REFUSED = "file-refused"
    """A member that is not read: its name, a compression, a second one of the name."""
    MISSING = "file-missing"
    UNKNOWN = "file-not-in-manifest"
    CHANGED = "file-changed"
    """Its bytes are not those that the manifest names."""
    MANIFEST = "manifest-malformed"
    UNSIGNED = "manifest-not-signed"
    """The log's key did not sign it."""
    LEDGER = "ledger"
    """The part of the log is not what was signed."""
    PROOF = "proof-wrong"
    """An entry that evidence rests on is not proved, or is another one."""
    REPORT = "report-wrong"
    """The report, its HTML or its PDF is not the one that was recorded."""
    STATUS = "status-does-not-follow"
    """A status, a share or a reason is not what the numbers give."""
    AUDIT = "audit-wrong"
    POLICY = "policy-wrong"
    ACT = "act-wrong"
    """An officer's act has no good signature, or no entry."""


@dataclass(frozen=True)
class BundleFinding:
    """One thing that is wrong.

    Attributes:
        fault: What.
        file: In the archive; empty for the archive itself.
        message: For people.
    """

    fault: BundleFault
    file: str
    message: str


@dataclass(frozen=True)
class BundleReport:
    """What a verifier says of a bundle.

    Attributes:
        origin: Name of the log.
        organisation: Whose report it is; empty where it cannot be read.
        period: Of the report.
        files: How many were checked.
        size: Entries of the signed log.
        entries: Of the log that are in the bundle.
        signed_at: When the log was signed, as it says.
        share: Of the report, e.g. "31 of 38 (81.6%)".
        findings: Nothing is wrong where there are none.
        notes: What was not checked, and why it matters.
    """

    origin: str
    organisation: str
    period: str
    files: int
    size: int
    entries: int
    signed_at: datetime | None
    share: str
    findings: Sequence[BundleFinding] = ()
    notes: Sequence[str] = ()

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> Mapping[str, Any]:
        """Everything, as JSON takes it."""
        return {
            **{name: value for name, value in vars(self).items() if name not in {"findings", "notes", "signed_at"}},
            "intact": self.is_intact,
            "signed_at": self.signed_at.isoformat() if self.signed_at else None,
            "findings": [
                {"fault": str(each.fault), "file": each.file, "message": each.message} for each in self.findings
            ],
            "notes": list(self.notes),
        }

    def story(self) -> str:
        """For people."""
        signed = f"signed {self.signed_at:%Y-%m-%d %H:%M:%S %Z}" if self.signed_at else "not signed"
        lines = [
            f"Evidence of {self.organisation or '(unknown)'} for {self.period or '(unknown)'}: {self.files} files.",
            f"Log {self.origin or '(no name)'}: {self.size:,} entries, {signed}; {self.entries:,} in the bundle.",
            f"Controls passed: {self.share or 'unknown'}.",
        ]
        lines += [f"  WRONG {each.fault}: {each.file or 'archive'}: {each.message}" for each in self.findings]
        lines += [f"  note: {note}" for note in self.notes]
        lines.append("Intact." if self.is_intact else f"Not intact: {len(self.findings)} findings.")
        return "\n".join(lines)
