"""What was found for every control at one time: a document that is hashed, recorded, shown, and judged again."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from governance.canonical import Canonical, canonical_bytes
from governance.compliance.catalogue import CONTROLS, Control, control
from governance.compliance.frameworks import ApplicationDate, Framework
from governance.compliance.judging import EDITION, SHARE_BAR, Judgement, Numbers, Status, judge
from governance.compliance.periods import Period
from governance.errors import NotCanonicalError, ReportError

VERSION: Final = 1
MAX_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class ProvedEntry:
    """The newest entry of the log that the evidence rests on.

    Attributes:
        index: In the log.
        leaf_hash: 64 hexadecimal digits.
        kind: Of the entry.
    """

    index: int
    leaf_hash: str
    kind: str


@dataclass(frozen=True)
class Evidence:
    """What a query found.

    Attributes:
        query: Its text.
        numbers: Its result, with the policy's limits that it is judged by.
        entry: None where nothing of the log stands behind it.
    """

    query: str
    numbers: Numbers
    entry: ProvedEntry | None = None


@dataclass(frozen=True)
class ControlResult:
    """A control, its evidence, and the status that follows."""

    control: Control
    evidence: Evidence
    judgement: Judgement

    @property
    def status(self) -> Status:
        """Of the control."""
        return self.judgement.status


@dataclass(frozen=True)
class Share:
    """How many controls of those that apply passed.

    Attributes:
        passed: Of them.
        applicable: All but those that do not apply.
    """

    passed: int
    applicable: int

    @property
    def value(self) -> float | None:
        """0 to 1; None where nothing applies."""
        return self.passed / self.applicable if self.applicable else None

    @property
    def reaches_bar(self) -> bool:
        """Whether it is at least SHARE_BAR."""
        return self.value is not None and self.value >= float(SHARE_BAR)


@dataclass(frozen=True)
class Assessment:
    """All controls in a period.

    Attributes:
        organisation: Whose.
        period: That it is about.
        at: When it was made.
        policy: Digest of the policy in force; empty where it cannot be read.
        origin: Name of the log.
        size: Of the log when it was made.
        results: In the catalogue's order.
        dates: From when on the frameworks apply, as configured.
        series: Counts over the period's days or months, by name: what the plots show.
        buckets: Names of these days or months.
    """

    organisation: str
    period: Period
    at: datetime
    policy: str
    origin: str
    size: int
    results: Sequence[ControlResult]
    dates: Sequence[ApplicationDate] = ()
    series: Mapping[str, Sequence[int]] = field(default_factory=dict)
    buckets: Sequence[str] = ()

    @property
    def share(self) -> Share:
        """Of all controls."""
        return share_of(self.results)

    def of_framework(self, framework: Framework) -> Sequence[ControlResult]:
        """The results of the controls that answer to a framework."""
        return [each for each in self.results if any(ref.framework is framework for ref in each.control.references)]

    def framework_shares(self) -> Mapping[Framework, Share]:
        """By framework: each control that answers to it counts once."""
        return {framework: share_of(self.of_framework(framework)) for framework in Framework}

    def to_bytes(self) -> bytes:
        """The canonical bytes; their SHA-256 is the report's digest."""
        return canonical_bytes(self.document())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def document(self) -> Mapping[str, Canonical]:
        """What is hashed."""
        return {
            "v": VERSION,
            "edition": EDITION,
            "organisation": self.organisation,
            "period": {
                "name": self.period.name,
                "start": _text_of(self.period.start),
                "end": _text_of(self.period.end),
            },
            "at": _text_of(self.at),
            "policy": self.policy,
            "log": {"origin": self.origin, "size": self.size},
            "bar": SHARE_BAR,
            "share": _share(self.share),
            "frameworks": {str(name): _share(share) for name, share in self.framework_shares().items()},
            "controls": [_result(each) for each in self.results],
            "dates": [
                {
                    "framework": str(each.framework),
                    "part": each.part,
                    "from": each.applies_from.isoformat() if each.applies_from else None,
                    "source": each.source,
                }
                for each in self.dates
            ],
            "series": {name: list(values) for name, values in self.series.items()},
            "buckets": list(self.buckets),
        }


def assess(control: Control, evidence: Evidence) -> ControlResult:
    """A control's result.

    Raises:
        ReportError: The evidence lacks a number that the control's rule needs.
    """
    return ControlResult(control, evidence, judge(control.evidence, evidence.numbers))


def share_of(results: Iterable[ControlResult]) -> Share:
    """Passed of applicable ones; what has too little evidence or no attestation has not passed."""
    statuses = [each.status for each in results if each.status is not Status.NOT_APPLICABLE]
    return Share(statuses.count(Status.PASSED), len(statuses))


def parse_document(data: bytes) -> Mapping[str, Any]:
    """Read the canonical bytes of an assessment.

    Raises:
        ReportError: They are none.
    """
    if len(data) > MAX_BYTES:
        raise ReportError(f"Expected a report of at most {MAX_BYTES} bytes, got {len(data)}.")
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("v") != VERSION or canonical_bytes(document) != data:
            raise ReportError("Expected the canonical bytes of a governance report of version 1.")
    except (ValueError, RecursionError, NotCanonicalError) as fault:
        raise ReportError("Expected a governance report as canonical JSON.") from fault
    return document


def is_of_this_edition(document: Mapping[str, Any]) -> bool:
    """Whether a report was judged by the controls and rules of this code."""
    return document.get("edition") == EDITION


def check_derived(document: Mapping[str, Any]) -> list[str]:
    """Judge a report's numbers again, by this code's catalogue and rules.

    Returns:
        What does not follow: a control whose status is not what its numbers give, that is missing or unknown, or a
        share that is not that of the statuses. Nothing where all follows.
    """
    wrong: list[str] = []
    results: list[ControlResult] = []
    try:
        for row in document["controls"]:
            found, faults = _check_row(row)
            wrong += faults
            results += [found] if found else []
        missing = {each.id for each in CONTROLS} - {each.control.id for each in results}
        if missing:
            wrong.append(f"controls {', '.join(sorted(missing))}: missing from the report.")
        if len({each.control.id for each in results}) != len(results):
            wrong.append("a control comes twice in the report.")
        if document["bar"] != SHARE_BAR:
            wrong.append(f"bar: the report is held against {document['bar']}, not {SHARE_BAR}.")
        wrong += _check_shares(document, results)
    except (KeyError, TypeError, AttributeError) as fault:
        wrong.append(f"the report lacks a part, or has one of another kind ({type(fault).__name__}).")
    return wrong


def _check_row(row: Mapping[str, Any]) -> tuple[ControlResult | None, list[str]]:
    found = control(row["id"])
    if found is None:
        return None, [f"control {row['id']}: unknown to this verifier."]
    wrong = [
        f"control {found.id}: its {name} is {row[name]!r}, expected {getattr(found, name)!r}."
        for name in ("title", "evidence", "topic")
        if row[name] != getattr(found, name)
    ]
    try:
        judged = judge(found.evidence, row["numbers"])
    except ReportError as fault:
        return None, [*wrong, f"control {found.id}: {fault}"]
    if judged.status != row["status"]:
        wrong.append(f"control {found.id}: the report says {row['status']}, its numbers give {judged.status}.")
    elif judged.reason != row["reason"]:
        wrong.append(f"control {found.id}: the reason in the report does not follow from its numbers.")
    return ControlResult(found, Evidence(row["query"], row["numbers"]), judged), wrong


def _check_shares(document: Mapping[str, Any], results: Sequence[ControlResult]) -> list[str]:
    wrong = []
    if document["share"] != _share(share_of(results)):
        wrong.append(f"share: the report says {document['share']}, its controls give {_share(share_of(results))}.")
    for framework in Framework:
        of_it = [each for each in results if any(ref.framework is framework for ref in each.control.references)]
        if document["frameworks"].get(str(framework)) != _share(share_of(of_it)):
            wrong.append(f"share of {framework}: not that of its controls.")
    return wrong


def _share(share: Share) -> Mapping[str, Canonical]:
    value = share.value
    return {
        "passed": share.passed,
        "applicable": share.applicable,
        "value": None if value is None else f"{value:.4f}",
        "reaches_bar": share.reaches_bar,
    }


def _result(each: ControlResult) -> Mapping[str, Canonical]:
    entry = each.evidence.entry
    return {
        "id": each.control.id,
        "title": each.control.title,
        "check": each.control.check,
        "evidence": each.control.evidence,
        "topic": each.control.topic,
        "references": [[str(ref.framework), ref.clause, ref.asks] for ref in each.control.references],
        "query": each.evidence.query,
        "numbers": dict(each.evidence.numbers),
        "entry": {"index": entry.index, "hash": entry.leaf_hash, "kind": entry.kind} if entry else None,
        "status": str(each.status),
        "reason": each.judgement.reason,
    }


def _text_of(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
