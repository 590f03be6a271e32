"""Do a patient's Consents permit that their images train a model, now?

Doubt is a no: a denial counts unless it certainly speaks of something else, a permission only if it certainly speaks of
this. Of several Consents, and of the exceptions inside one, a denial wins.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from fhir_adapter.consent import parse_consent
from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.model import CodeOf, Consent, ConsentRule, Effect
from fhir_adapter.ports import Resource

Certainty = bool | None
"""True, False, or None for what cannot be told."""

RESEARCH: Final = "HRESCH"
_ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_KINDS_OF_RESEARCH: Final = frozenset(
    {"BIORCH", "CLINTRCH", "CLINTRCHNPC", "CLINTRCHPC", "DSRCH", "POARCH", "PRECLINTRCH", "TRANSRCH"}
)
"""Below HRESCH: whether such a kind covers the training of a model is not for a program to say."""
_ABOUT_RESEARCH: Final = frozenset({"research", "rsdid", "rsreid", "RESEARCH", "RSDID", "RSREID"})
"""consentscope, consentcategorycodes and v3-ActCode."""
_ABOUT_CARE: Final = frozenset({"adr", "treatment", "acd", "dnr", "emrgonly", "hcd", "polst"})
_OTHER_ACTIONS: Final = frozenset({"collect", "correct"})
_RESOURCE_TYPES: Final = "http://hl7.org/fhir/resource-types"


@dataclass(frozen=True)
class ResearchUse:
    """What the hospital means by research use, where Consents say it in terms of their own.

    Attributes:
        codes: provision.code that stands for it, e.g. of a national consent form.
        actors: References that a provision may name, e.g. "Organization/1": the hospital's own.
        is_presumed: Whether silence is consent, as in an opt-out jurisdiction.
        needs_verification: Whether only verified Consents permit.
    """

    codes: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()
    is_presumed: bool = False
    needs_verification: bool = False


class Answer(StrEnum):
    """What the Consents say."""

    PERMITTED = "permitted"
    PRESUMED = "presumed"
    """There is none, and the law of the place takes that for a yes."""
    NONE = "no consent"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    UNCLEAR = "unclear consent"
    """There is one about research, but it does not permit this, now, beyond doubt: expired, unverified, narrowed."""
    UNREADABLE = "unreadable consent"

    @property
    def is_yes(self) -> bool:
        """Whether the patient's images may be used."""
        return self in {Answer.PERMITTED, Answer.PRESUMED}


def ask_consents(resources: Iterable[Resource], use: ResearchUse, *, now: datetime) -> Answer:
    """Weigh all Consents of one patient.

    Args:
        resources: As consent.find_consents gives them, whatever their version and status.
        use: What is asked for.
        now: With the hospital's time zone, in which dates are read.

    Raises:
        ValueError: now has no zone.
    """
    if now.tzinfo is None:
        raise ValueError("Expected a time with its zone, got one without.")
    consents = []
    for resource in resources:
        try:
            consents.append(parse_consent(resource, zone=now.tzinfo))
        except MalformedResourceError:
            return Answer.UNREADABLE
    return _weigh(consents, use, now)


def _weigh(consents: Sequence[Consent], use: ResearchUse, now: datetime) -> Answer:
    effects = [_effect_of(consent, use, now) for consent in consents if consent.status == "active"]
    if Effect.DENY in effects:
        return Answer.DENIED
    if Effect.PERMIT in effects:
        return Answer.PERMITTED
    about = [consent.status for consent in consents if _is_about_research(consent)]
    if "inactive" in about:
        return Answer.WITHDRAWN
    if {"rejected", "not-done"} & set(about):
        return Answer.DENIED
    if {"active", "unknown"} & set(about):
        return Answer.UNCLEAR
    return Answer.PRESUMED if use.is_presumed else Answer.NONE


def _effect_of(consent: Consent, use: ResearchUse, now: datetime) -> Effect | None:
    effect = _evaluate(consent.rule, use, now, purpose=_purpose_of(consent), above=True)
    trusted = consent.is_verified is True or (consent.is_verified is None and not use.needs_verification)
    return effect if effect is Effect.DENY or trusted else None


def _purpose_of(consent: Consent) -> Certainty:
    """Whether rules that name no purpose are about research."""
    codes = {code.code for code in consent.about}
    if codes & _ABOUT_RESEARCH:
        return True
    return False if codes & _ABOUT_CARE else None


def _is_about_research(consent: Consent) -> bool:
    return _purpose_of(consent) is True or _names_research(consent.rule)


def _names_research(rule: ConsentRule) -> bool:
    return _purpose(rule.purposes) is True or any(_names_research(inner) for inner in rule.exceptions)


def _evaluate(
    rule: ConsentRule, use: ResearchUse, now: datetime, *, purpose: Certainty, above: Certainty
) -> Effect | None:
    """What a rule says of this use; None for nothing.

    Args:
        rule: Of the Consent.
        use: What is asked for.
        now: When.
        purpose: What the rules around it, or the Consent's scope, say of the purpose.
        above: Whether the rules around it apply.
    """
    if rule.purposes:
        purpose = _purpose(rule.purposes)
    around = _all((above, _applies(rule, use, now)))
    applies = _all((around, purpose))
    if around is False:
        return None
    inner = [_evaluate(each, use, now, purpose=purpose, above=around) for each in rule.exceptions]
    if Effect.DENY in inner:
        return Effect.DENY
    if Effect.PERMIT in inner:
        return Effect.PERMIT
    if rule.effect is Effect.DENY and applies is not False:
        return Effect.DENY
    return Effect.PERMIT if rule.effect is Effect.PERMIT and applies else None


def _applies(rule: ConsentRule, use: ResearchUse, now: datetime) -> Certainty:
    """All conditions but the purpose."""
    begun = rule.start is None or rule.start <= now
    ended = rule.end is not None and rule.end <= now
    return _all(
        (
            begun and not ended,
            _actions(rule.actions),
            _codes(rule.codes, use.codes),
            _classes(rule.classes),
            _actors(rule.actors, use.actors),
            None if rule.is_narrowed else True,
        )
    )


def _purpose(purposes: Sequence[CodeOf]) -> Certainty:
    return _any(_is_research(each) for each in purposes)


def _is_research(purpose: CodeOf) -> Certainty:
    if purpose.system not in {None, _ACT_REASON}:
        return None
    if purpose.code == RESEARCH:
        return True
    return None if purpose.code in _KINDS_OF_RESEARCH or not purpose.code else False


def _actions(actions: Sequence[str]) -> Certainty:
    if not actions or "use" in actions:
        return True
    return False if set(actions) <= _OTHER_ACTIONS else None


def _codes(codes: Sequence[CodeOf], wanted: frozenset[str]) -> Certainty:
    if not codes:
        return True
    if any(code.code in wanted for code in codes):
        return True
    # A concept may have nothing but a text.
    return False if wanted and all(code.code for code in codes) else None


def _classes(classes: Sequence[CodeOf]) -> Certainty:
    if not classes or any(each.code == "ImagingStudy" for each in classes):
        return True
    return False if all(each.system == _RESOURCE_TYPES for each in classes) else None


def _actors(actors: Sequence[str] | None, own: frozenset[str]) -> Certainty:
    if actors is None or any(actor in own for actor in actors):
        return True
    return None if not own or "" in actors else False


def _all(certainties: Iterable[Certainty]) -> Certainty:
    """Kleene's and."""
    found = list(certainties)
    if False in found:
        return False
    return None if None in found else True


def _any(certainties: Iterable[Certainty]) -> Certainty:
    """Kleene's or."""
    found = list(certainties)
    if True in found:
        return True
    return None if None in found else False
