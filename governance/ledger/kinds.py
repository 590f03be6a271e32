"""The kinds of entries of both loops, the facts that each must have, and what no entry may hold.

A digest that tells of a person or a study is a keyed one (entries.keyed_digest): without the hospital's key nobody can
try a list of names or numbers against it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from governance.canonical import Canonical
from governance.errors import EntryError

_MAX_TEXT: Final = 20_000
_DIGEST: Final = re.compile(r"(sha256:)?[0-9a-f]{64}")
_DECIMAL: Final = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|inf")
# A DICOM UID, a DICOM person name, a reference to one person's FHIR resources.
_PERSONAL: Final = re.compile(r"\d+(\.\d+){4,}|[^\s^]+\^[^\s]*|(Patient|Practitioner|Person|RelatedPerson)/\S+")
_PERSONAL_NAMES: Final = frozenset({"patient_name", "birth_date", "mrn", "accession_number", "study_instance_uid"})


def _is_digest(value: Canonical) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _is_count(value: Canonical) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Canonical) -> bool:
    return isinstance(value, str) and bool(value)


def _is_decimal(value: Canonical) -> bool:
    return isinstance(value, str) and bool(_DECIMAL.fullmatch(value))


def _is_list(value: Canonical) -> bool:
    return isinstance(value, list | tuple)


def _is_object(value: Canonical) -> bool:
    return isinstance(value, Mapping)


@dataclass(frozen=True)
class FactType:
    """What a fact must be.

    Attributes:
        name: For people.
        holds: Whether a value is one.
    """

    name: str
    holds: Callable[[Canonical], bool]


DIGEST: Final = FactType("64 hexadecimal digits", _is_digest)
COUNT: Final = FactType("a whole number from 0", _is_count)
TEXT: Final = FactType("a text that is not empty", _is_text)
DECIMAL: Final = FactType("a number written as a text", _is_decimal)
LIST: Final = FactType("a list", _is_list)
OBJECT: Final = FactType("an object", _is_object)

_ROUND: Final = {"run": TEXT, "round": COUNT}
_SITE_ROUND: Final = {"site": TEXT, **_ROUND, "terms": DIGEST}

KINDS: Final[Mapping[str, Mapping[str, FactType]]] = {
    # The log itself
    "log-opened": {"origin": TEXT, "key": TEXT},
    "key-rotated": {"origin": TEXT, "old": TEXT, "new": TEXT, "old_signature": TEXT, "new_signature": TEXT},
    "checkpoint-anchored": {"size": COUNT, "root": DIGEST, "chain": TEXT, "transaction": TEXT},
    # The clinical loop
    "recording-began": {"before": OBJECT},
    "notification-accepted": {"event": DIGEST},
    "notification-refused": {"event": DIGEST},
    "study-analysed": {"analysis": DIGEST, "study": DIGEST, "model": TEXT, "outcome": TEXT},
    "study-not-analysed": {"analysis": DIGEST, "reason": TEXT},
    "result-published": {"analysis": DIGEST, "what": TEXT, "digest": DIGEST},
    "review-decided": {"analysis": DIGEST, "decision": TEXT, "reviewer": DIGEST},
    "result-overridden": {"analysis": DIGEST, "reviewer": DIGEST, "reason": TEXT},
    "account-changed": {"user": DIGEST, "role": TEXT, "account": DIGEST},
    "token-issued": {"user": DIGEST, "token": DIGEST},
    # The learning loop
    "consent-applied": {"policy": DIGEST, "included": COUNT, "excluded": COUNT},
    "cohort-drawn": {"cohort": DIGEST, "cases": COUNT},
    "round-terms": {"terms": OBJECT, "digest": DIGEST},
    "terms-accepted": _SITE_ROUND,
    "terms-refused": {**_SITE_ROUND, "rules": LIST},
    "departure": {**_SITE_ROUND, "stage": TEXT, "what": TEXT, "digest": DIGEST, "size": COUNT},
    "update-sent": {**_SITE_ROUND, "digest": DIGEST},
    "epsilon-spent": {**_SITE_ROUND, "epsilon": DECIMAL},
    "sum-opened": {**_SITE_ROUND, "survivors": LIST},
    "aggregate": {**_ROUND, "terms": DIGEST, "update": DIGEST, "sites": LIST, "model": TEXT},
    "round-finished": {**_ROUND, "model": TEXT},
    "round-failed": _ROUND,
    "participation-changed": {"federation": TEXT, "state": TEXT},
    "circuits-sent": {"circuits": DIGEST, "shots": COUNT},
    # Governance
    "policy-changed": {"policy": DIGEST, "officer": DIGEST},
    "decision-made": {"rule": TEXT, "inputs": OBJECT, "outcome": TEXT},
    "officer-action": {"officer": DIGEST, "role": TEXT, "action": TEXT},
    "audit-run": {"model": TEXT, "report": DIGEST, "outcome": TEXT},
    "model-released": {"model": TEXT, "audit": DIGEST, "officers": LIST},
    "model-halted": {"model": TEXT, "reason": TEXT},
    "model-resumed": {"model": TEXT, "officers": LIST},
    "report-issued": {"report": DIGEST, "period": TEXT},
    "subject-answered": {"subject": DIGEST, "digest": DIGEST},
    "subject-erased": {"subject": DIGEST, "removed": COUNT},
}
"""The facts that an entry of a kind must have. It may have more."""


def check_facts(kind: str, facts: Mapping[str, Canonical]) -> None:
    """Check that an entry says what its kind must say, and nothing of a person.

    Args:
        kind: One of KINDS.
        facts: Of the entry.

    Raises:
        EntryError: The kind is unknown, a fact is missing or of another type, or a value looks like personal data.
    """
    required = KINDS.get(kind)
    if required is None:
        raise EntryError(f"Expected a kind of entry that governance/ledger/kinds.py lists, got {kind!r}.")
    for name, wanted in required.items():
        if name not in facts:
            raise EntryError(f"An entry of kind {kind} needs the fact {name!r}: {wanted.name}.")
        if not wanted.holds(facts[name]):
            raise EntryError(f"The fact {name!r} of kind {kind} must be {wanted.name}, got {_sort_of(facts[name])}.")
    _check_impersonal(kind, facts)


def missing_facts(kind: str, facts: Mapping[str, Canonical]) -> frozenset[str]:
    """The facts that an entry of a known kind should have and does not."""
    return frozenset(KINDS.get(kind, ())) - facts.keys()


def check_text(what: str, text: str) -> None:
    """Check that a text tells of no person.

    Args:
        what: The text's name, for the message; the text itself is in no message.
        text: To look at.

    Raises:
        EntryError: It is too long, or looks like a UID, a name or a reference to a person.
    """
    if len(text) > _MAX_TEXT:
        raise EntryError(f"{what}: expected at most {_MAX_TEXT} characters, got {len(text)}; record a digest.")
    if _PERSONAL.fullmatch(text):
        raise EntryError(
            f"{what}: looks like a DICOM UID, a person's name or a FHIR reference; record entries.keyed_digest of it."
        )


def _check_impersonal(what: str, value: Canonical) -> None:
    match value:
        case str():
            check_text(what, value)
        case Mapping():
            for name, each in value.items():
                if name.lower() in _PERSONAL_NAMES:
                    raise EntryError(f"{what}: the fact {name!r} tells of a person; record entries.keyed_digest of it.")
                _check_impersonal(f"{what}.{name}", each)
        case list() | tuple():
            for each in value:
                _check_impersonal(what, each)
        case _:
            return


def _sort_of(value: Canonical) -> str:
    return f"a text of {len(value)} characters" if isinstance(value, str) else type(value).__name__
