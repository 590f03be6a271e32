"""Consent resources of R4, R4B and R5 as one value, and the search for a patient's.

R4 has one root provision, whose nested provisions are exceptions to it, each with its own type; the base comes from the
root's type (which the standard does not permit there, but which national profiles use) or from policyRule. R5 has a
decision, and each level of provisions is the negation of the level above. What cannot be understood with certainty is
an error: whoever asks must take it as no consent.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo

from fhir_adapter.elements import Element
from fhir_adapter.errors import FhirTooLargeError, MalformedResourceError
from fhir_adapter.model import CodeOf, Consent, ConsentRule, Effect
from fhir_adapter.ports import FhirStore, Resource
from fhir_adapter.references import parse_reference

MOST_CONSENTS = 200
"""Of one patient; more are not taken for all of them."""
_STATUSES = frozenset(
    {"draft", "proposed", "active", "rejected", "inactive", "entered-in-error", "not-done", "unknown"}
)
_BASES = {"OPTIN": Effect.PERMIT, "OPTINR": Effect.PERMIT, "OPTOUT": Effect.DENY, "OPTOUTE": Effect.DENY}
"""v3-ActCode, as R4's policyRule names them."""
_NARROWING = ("data", "dataPeriod", "securityLabel", "documentType", "expression")
_MOST_LEVELS = 16
_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)(?P<time>T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?)?)?",
    re.ASCII,
)


def find_consents(store: FhirStore, patient_reference: str) -> Sequence[Resource]:
    """All Consents of a patient, whatever their status, for a withdrawn one says something too.

    Raises:
        FhirServerError: The server cannot be asked; FhirTooLargeError for more than MOST_CONSENTS.
    """
    found = store.search("Consent", {"patient": patient_reference}, limit=MOST_CONSENTS + 1)
    if len(found) > MOST_CONSENTS:
        raise FhirTooLargeError(
            f"Expected at most {MOST_CONSENTS} Consents of one patient, got more; ask the EHR's team."
        )
    # A server that does not know the parameter answers with everybody's.
    return [resource for resource in found if _is_of(resource, patient_reference)]


def parse_consent(resource: Resource, *, zone: tzinfo) -> Consent:
    """Read a Consent.

    Args:
        resource: As the server gave it.
        zone: Of dates without a time: the hospital's.

    Raises:
        MalformedResourceError: It is not a Consent, cannot be understood, or says that it must not be by who does not
            know its extensions.
    """
    element = Element.of(resource, "Consent")
    if element.text("resourceType") != "Consent":
        raise MalformedResourceError("Expected a Consent, got another resource.")
    reference = parse_reference(f"Consent/{element.required_text('id')}")
    if reference is None:
        raise MalformedResourceError("Consent.id: expected a FHIR id, got another text.")
    status = element.required_text("status")
    if status not in _STATUSES:
        raise MalformedResourceError(f"{reference.local}: expected a status of {', '.join(sorted(_STATUSES))}.")
    _check_modifiers(element)
    return Consent(
        reference=reference.local,
        status=status,
        patient_reference=element.reference("patient") or element.reference("subject"),
        about=(*_codes_of(element.child("scope")), *_codes(element, "category")),
        is_verified=_verified(element),
        rule=_rule_r5(element, zone) if _is_r5(element) else _rule_r4(element, zone),
    )


def _is_of(resource: Resource, patient_reference: str) -> bool:
    """By type and id: the server is one, and may write absolute references to itself."""
    wanted = parse_reference(patient_reference)
    for name in ("patient", "subject"):
        child = resource.get(name)
        literal = child.get("reference") if isinstance(child, dict) else None
        found = parse_reference(literal) if isinstance(literal, str) else None
        if wanted and found and found.local == wanted.local:
            return True
    return False


def _check_modifiers(element: Element) -> None:
    # R4 extensibility.html#modifierExtension: what is not understood must not be processed.
    if element.fields.get("modifierExtension") or element.fields.get("implicitRules"):
        raise MalformedResourceError(f"{element.path}: expected no modifier extension and no implicit rules, got one.")


def _is_r5(element: Element) -> bool:
    return "decision" in element.fields or isinstance(element.fields.get("provision"), list)


def _verified(element: Element) -> bool | None:
    verified = [each.flag("verified") for each in element.children("verification")]
    return any(verified) if verified else None


def _rule_r4(element: Element, zone: tzinfo) -> ConsentRule:
    base = next((_BASES[code.code] for code in _codes_of(element.child("policyRule")) if code.code in _BASES), None)
    root = element.child("provision")
    if root is None:
        return ConsentRule(base)
    stated = _effect(root, "type")
    if stated is None:
        return _provision(root, base, zone, _nested_r4(root, zone, 1))
    return ConsentRule(base, exceptions=(_provision(root, stated, zone, _nested_r4(root, zone, 1)),))


def _nested_r4(parent: Element, zone: tzinfo, level: int) -> tuple[ConsentRule, ...]:
    _check_level(parent, level)
    rules = []
    for child in parent.children("provision"):
        effect = _effect(child, "type")
        if effect is None:
            raise MalformedResourceError(
                f"{child.path}.type: expected permit or deny in a nested provision, got nothing."
            )
        rules.append(_provision(child, effect, zone, _nested_r4(child, zone, level + 1)))
    return tuple(rules)


def _rule_r5(element: Element, zone: tzinfo) -> ConsentRule:
    decision = _effect(element, "decision")
    start, end = _period(element, zone)
    return ConsentRule(decision, start, end, exceptions=_nested_r5(element, decision, zone, 1))


def _nested_r5(parent: Element, above: Effect | None, zone: tzinfo, level: int) -> tuple[ConsentRule, ...]:
    _check_level(parent, level)
    rules = []
    for child in parent.children("provision"):
        effect = above.opposite if above else None
        nested = _nested_r5(child, effect, zone, level + 1)
        rule = _provision(child, effect, zone, nested)
        if effect is Effect.PERMIT and not rule.purposes and not rule.codes:
            # Authors are known to restate the decision in a provision: without saying for what, it permits nothing.
            rule = _provision(child, None, zone, nested)
        rules.append(rule)
    return tuple(rules)


def _provision(
    element: Element, effect: Effect | None, zone: tzinfo, exceptions: tuple[ConsentRule, ...]
) -> ConsentRule:
    _check_modifiers(element)
    start, end = _period(element, zone)
    actors = element.children("actor")
    return ConsentRule(
        effect=effect,
        start=start,
        end=end,
        purposes=_codes(element, "purpose"),
        actions=tuple(code.code for code in _codes(element, "action")),
        codes=_codes(element, "code"),
        classes=(*_codes(element, "class"), *_codes(element, "resourceType")),
        actors=tuple(actor.reference("reference") or "" for actor in actors) if actors else None,
        is_narrowed=any(element.fields.get(name) for name in _NARROWING),
        exceptions=exceptions,
    )


def _check_level(element: Element, level: int) -> None:
    if level > _MOST_LEVELS:
        raise MalformedResourceError(f"{element.path[:80]}: expected at most {_MOST_LEVELS} levels of provisions.")


def _effect(element: Element, name: str) -> Effect | None:
    value = element.text(name)
    if value is None:
        return None
    try:
        return Effect(value)
    except ValueError as error:
        raise MalformedResourceError(f"{element.path}.{name}: expected permit or deny, got another code.") from error


def _codes(element: Element, name: str) -> tuple[CodeOf, ...]:
    """Of a list of Codings or of CodeableConcepts; a concept that has only a text is a code that nobody knows."""
    return tuple(code for child in element.children(name) for code in _codes_of(child))


def _codes_of(child: Element | None) -> tuple[CodeOf, ...]:
    if child is None:
        return ()
    codings = child.children("coding") or (child,)
    return tuple(CodeOf(coding.text("system"), coding.text("code") or "") for coding in codings)


def _period(element: Element, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    period = element.child("period")
    if period is None:
        return None, None
    return _moment(period, "start", zone), _moment(period, "end", zone)


def _moment(period: Element, name: str, zone: tzinfo) -> datetime | None:
    """The first moment of a start, or the first one after an end.

    References:
        R4 datatypes.html#Period: an end covers its whole day, month or year.
    """
    value = period.text(name)
    if value is None:
        return None
    fault = MalformedResourceError(f"{period.path}.{name}: expected a FHIR dateTime, got another text.")
    match = _DATE_TIME.fullmatch(value)
    if match is None:
        raise fault
    try:
        return _read_moment(match, is_end=name == "end", zone=zone)
    except (ValueError, OverflowError) as error:
        raise fault from error


def _read_moment(match: re.Match[str], *, is_end: bool, zone: tzinfo) -> datetime:
    if match["time"]:
        return datetime.fromisoformat(match[0])
    year, month, day = int(match["year"]), int(match["month"] or 1), int(match["day"] or 1)
    first = date(year, month, day)
    if is_end:
        first = _after(first, has_month=match["month"] is not None, has_day=match["day"] is not None)
    return datetime(first.year, first.month, first.day, tzinfo=zone)


def _after(first: date, *, has_month: bool, has_day: bool) -> date:
    if has_day:
        return first + timedelta(days=1)
    if has_month:
        return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first.replace(year=first.year + 1)
