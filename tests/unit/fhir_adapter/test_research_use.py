"""Do these Consents permit research, now? A table for each version, and for several together."""

from datetime import UTC, datetime

import pytest
from fhir.resources.consent import Consent as R5Consent
from fhir.resources.R4B.consent import Consent as R4BConsent

from fhir_adapter.research_use import Answer, ResearchUse, ask_consents
from tests.fakes.consents import consent_r4, consent_r5, purposes

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RESEARCH = purposes("HRESCH")
PERMIT, DENY = {"type": "permit", "purpose": RESEARCH}, {"type": "deny", "purpose": RESEARCH}
NATIONAL = "2.16.840.1.113883.3.1937.777.24.5.3.8"


def national(kind):
    """As German broad consents are: a root that denies, with a permission for each module by its code."""
    code = {"coding": [{"system": "urn:oid:2.16.840.1.113883.3.1937.777.24.5.3", "code": NATIONAL}]}
    other = {"coding": [{"system": "urn:oid:2.16.840.1.113883.3.1937.777.24.5.3", "code": "x.99"}]}
    return consent_r4(
        provision={
            "type": "deny",
            "period": {"start": "2025-05-01", "end": "2055-05-01"},
            "provision": [{"type": kind, "code": [code]}, {"type": "deny", "code": [other]}],
        }
    )


R4 = [
    pytest.param(consent_r4(provision=PERMIT), Answer.PERMITTED, id="permit"),
    pytest.param(consent_r4(provision=DENY), Answer.DENIED, id="deny"),
    pytest.param(consent_r4(provision={"type": "permit"}), Answer.PERMITTED, id="permit-by-scope"),
    pytest.param(consent_r4(provision={"type": "deny"}), Answer.DENIED, id="deny-by-scope"),
    pytest.param(consent_r4(policy_rule="OPTIN"), Answer.PERMITTED, id="opt-in-without-provision"),
    pytest.param(consent_r4(policy_rule="OPTOUT"), Answer.DENIED, id="opt-out-without-provision"),
    pytest.param(consent_r4(policy_rule="OPTIN", provision=DENY), Answer.DENIED, id="opt-in-with-a-denial"),
    pytest.param(consent_r4(policy_rule="OPTOUTE", provision=PERMIT), Answer.PERMITTED, id="opt-out-but-this"),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={"period": {"end": "2026-10-31"}}),
        Answer.UNCLEAR,
        id="opt-in-is-over",
    ),
    pytest.param(consent_r4(), Answer.UNCLEAR, id="says-nothing"),
    pytest.param(consent_r4(provision={**PERMIT, "period": {"end": "2026-11-01"}}), Answer.PERMITTED, id="last-day"),
    pytest.param(consent_r4(provision={**PERMIT, "period": {"end": "2026-10-31"}}), Answer.UNCLEAR, id="expired"),
    pytest.param(consent_r4(provision={**PERMIT, "period": {"start": "2026-11-02"}}), Answer.UNCLEAR, id="not-begun"),
    pytest.param(consent_r4(provision={**DENY, "period": {"end": "2026-10-31"}}), Answer.UNCLEAR, id="denial-is-over"),
    pytest.param(consent_r4(status="inactive", provision=PERMIT), Answer.WITHDRAWN, id="withdrawn"),
    pytest.param(consent_r4(status="rejected", provision=PERMIT), Answer.DENIED, id="rejected"),
    pytest.param(consent_r4(status="proposed", provision=PERMIT), Answer.NONE, id="proposed"),
    pytest.param(consent_r4(status="draft", provision=PERMIT), Answer.NONE, id="draft"),
    pytest.param(consent_r4(status="entered-in-error", provision=PERMIT), Answer.NONE, id="entered-in-error"),
    pytest.param(
        consent_r4(provision={**PERMIT, "provision": [{"type": "deny"}]}), Answer.DENIED, id="nested-denial-wins"
    ),
    pytest.param(
        consent_r4(provision={**PERMIT, "provision": [PERMIT, DENY]}), Answer.DENIED, id="denial-wins-over-its-sibling"
    ),
    pytest.param(
        consent_r4(provision={"type": "deny", "provision": [PERMIT]}), Answer.PERMITTED, id="exception-to-a-denial"
    ),
    pytest.param(
        consent_r4(provision={"type": "deny", "provision": [{**PERMIT, "provision": [DENY]}]}),
        Answer.DENIED,
        id="exception-to-the-exception",
    ),
    pytest.param(
        consent_r4(provision={"type": "deny", "provision": [{"type": "permit", "purpose": purposes("TREAT")}]}),
        Answer.DENIED,
        id="exception-for-treatment-only",
    ),
    pytest.param(consent_r4(provision={**PERMIT, "purpose": purposes("TREAT")}), Answer.UNCLEAR, id="for-treatment"),
    pytest.param(consent_r4(provision={**PERMIT, "purpose": purposes("CLINTRCH")}), Answer.UNCLEAR, id="trials-only"),
    pytest.param(
        consent_r4(provision={**DENY, "purpose": purposes("DSRCH")}), Answer.DENIED, id="denies-some-research"
    ),
    pytest.param(consent_r4(provision={**DENY, "purpose": purposes("HMARKT")}), Answer.UNCLEAR, id="denies-marketing"),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={**DENY, "purpose": purposes("own", system="https://x.test")}),
        Answer.DENIED,
        id="denies-what-nobody-knows",
    ),
    pytest.param(
        consent_r4(provision={**PERMIT, "action": [{"coding": [{"code": "use"}]}]}), Answer.PERMITTED, id="to-use"
    ),
    pytest.param(
        consent_r4(provision={**PERMIT, "action": [{"coding": [{"code": "collect"}]}]}),
        Answer.UNCLEAR,
        id="to-collect-only",
    ),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={**DENY, "action": [{"coding": [{"code": "disclose"}]}]}),
        Answer.DENIED,
        id="denies-disclosure",
    ),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={**DENY, "action": [{"coding": [{"code": "correct"}]}]}),
        Answer.PERMITTED,
        id="denies-correction",
    ),
    pytest.param(
        consent_r4(provision={**PERMIT, "actor": [{"role": {}, "reference": {"reference": "Organization/other"}}]}),
        Answer.UNCLEAR,
        id="permits-somebody",
    ),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={**DENY, "actor": [{"reference": {"reference": "Practitioner/1"}}]}),
        Answer.DENIED,
        id="denies-somebody",
    ),
    pytest.param(consent_r4(provision={**PERMIT, "class": [{"code": "ImagingStudy"}]}), Answer.PERMITTED, id="imaging"),
    pytest.param(
        consent_r4(
            provision={**PERMIT, "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]}
        ),
        Answer.UNCLEAR,
        id="laboratory-only",
    ),
    pytest.param(
        consent_r4(provision={**PERMIT, "securityLabel": [{"code": "N"}]}), Answer.UNCLEAR, id="narrowed-permission"
    ),
    pytest.param(
        consent_r4(policy_rule="OPTIN", provision={**DENY, "dataPeriod": {"end": "2020"}}),
        Answer.DENIED,
        id="narrowed-denial",
    ),
    pytest.param(
        consent_r4(provision=PERMIT, verification=[{"verified": False}]), Answer.UNCLEAR, id="verification-failed"
    ),
    pytest.param(
        consent_r4(provision=DENY, verification=[{"verified": False}]), Answer.DENIED, id="unverified-denial-counts"
    ),
    pytest.param(
        consent_r4(scope="patient-privacy", provision={"type": "permit"}), Answer.NONE, id="privacy-permission-at-large"
    ),
    pytest.param(
        consent_r4(scope="patient-privacy", provision=PERMIT), Answer.PERMITTED, id="privacy-permission-for-research"
    ),
    pytest.param(
        consent_r4(scope="patient-privacy", policy_rule="OPTOUT"), Answer.DENIED, id="privacy-opt-out-at-large"
    ),
    pytest.param(consent_r4(scope="adr", provision={"type": "deny"}), Answer.NONE, id="advance-directive"),
    pytest.param(consent_r4(scope="treatment", provision={"type": "deny"}), Answer.NONE, id="treatment"),
    pytest.param(
        consent_r4(
            scope="patient-privacy",
            category=[{"coding": [{"code": "RESEARCH"}]}],
            provision={"type": "permit"},
        ),
        Answer.PERMITTED,
        id="research-by-category",
    ),
    pytest.param(consent_r4(provision={"type": "perhaps"}), Answer.UNREADABLE, id="unreadable"),
    pytest.param(national("permit"), Answer.DENIED, id="national-form-whose-codes-nobody-named"),
]
R5 = [
    pytest.param(consent_r5(decision="permit"), Answer.PERMITTED, id="permit"),
    pytest.param(consent_r5(decision="deny"), Answer.DENIED, id="deny"),
    pytest.param(consent_r5(), Answer.UNCLEAR, id="no-decision"),
    pytest.param(
        consent_r5(decision="permit", provision=[{"purpose": RESEARCH}]), Answer.DENIED, id="exception-to-a-permission"
    ),
    pytest.param(
        consent_r5(decision="permit", provision=[{"purpose": purposes("TREAT")}]),
        Answer.PERMITTED,
        id="other-exception",
    ),
    pytest.param(
        consent_r5(decision="deny", provision=[{"purpose": RESEARCH}]), Answer.PERMITTED, id="exception-to-a-denial"
    ),
    pytest.param(
        consent_r5(decision="deny", provision=[{"period": {"start": "2025"}}]),
        Answer.DENIED,
        id="provision-that-restates-the-denial",
    ),
    pytest.param(
        consent_r5(decision="deny", provision=[{"purpose": RESEARCH, "provision": [{"period": {"start": "2026"}}]}]),
        Answer.DENIED,
        id="exception-to-the-exception",
    ),
    pytest.param(
        consent_r5(decision="permit", period={"start": "2025", "end": "2026-10"}), Answer.UNCLEAR, id="expired"
    ),
    pytest.param(consent_r5(decision="permit", period={"end": "2026-11"}), Answer.PERMITTED, id="last-month"),
    pytest.param(consent_r5(decision="permit", status="inactive"), Answer.WITHDRAWN, id="withdrawn"),
    pytest.param(consent_r5(decision="permit", status="not-done"), Answer.DENIED, id="not-done"),
    pytest.param(consent_r5(decision="permit", status="unknown"), Answer.UNCLEAR, id="unknown-status"),
    pytest.param(consent_r5(decision="permit", category=["npp"]), Answer.NONE, id="privacy-notice"),
    pytest.param(consent_r5(decision="deny", category=["npp"]), Answer.DENIED, id="privacy-denial-at-large"),
    pytest.param(consent_r5(decision="deny", category=["dnr"]), Answer.NONE, id="do-not-resuscitate"),
    pytest.param(
        consent_r5(decision="permit", provision=[{"expression": {"language": "x", "expression": "y"}}]),
        Answer.DENIED,
        id="exception-that-nobody-can-evaluate",
    ),
]


@pytest.mark.parametrize(("resource", "answer"), R4)
def test_a_consent_of_r4(resource, answer):
    assert ask_consents([resource], ResearchUse(), now=NOW) is answer


@pytest.mark.parametrize(("resource", "answer"), R5)
def test_a_consent_of_r5(resource, answer):
    assert ask_consents([resource], ResearchUse(), now=NOW) is answer


@pytest.mark.parametrize(
    "resource", [each.values[0] for each in R4 if each.id not in {"unreadable", "permits-somebody"}]
)
def test_the_examples_of_r4_are_such_resources(resource):
    for actor in resource.get("provision", {}).get("actor", []):
        actor.setdefault("role", {"text": "recipient"})
    R4BConsent.model_validate(resource)


@pytest.mark.parametrize("resource", [each.values[0] for each in R5 if each.id != "exception-that-nobody-can-evaluate"])
def test_the_examples_of_r5_are_such_resources(resource):
    R5Consent.model_validate(resource)


@pytest.mark.parametrize(
    ("resources", "answer"),
    [
        pytest.param([], Answer.NONE, id="none"),
        pytest.param([consent_r4(provision=PERMIT), consent_r4(provision=DENY)], Answer.DENIED, id="a-denial-wins"),
        pytest.param(
            [consent_r4(status="inactive", provision=PERMIT), consent_r4(provision=PERMIT)],
            Answer.PERMITTED,
            id="a-newer-one-replaced-it",
        ),
        pytest.param(
            [consent_r4(provision=PERMIT), consent_r4(provision={"type": "?"})], Answer.UNREADABLE, id="one-unreadable"
        ),
        pytest.param([consent_r4(provision=PERMIT), consent_r4(scope="adr")], Answer.PERMITTED, id="and-a-directive"),
        pytest.param([consent_r4(provision=PERMIT), consent_r5(decision="deny")], Answer.DENIED, id="r4-and-r5"),
    ],
)
def test_several_consents(resources, answer):
    assert ask_consents(resources, ResearchUse(), now=NOW) is answer


@pytest.mark.parametrize(
    ("resources", "answer"),
    [
        pytest.param([], Answer.PRESUMED, id="silence"),
        pytest.param([consent_r4(scope="adr")], Answer.PRESUMED, id="about-something-else"),
        pytest.param([consent_r4(status="proposed", provision=PERMIT)], Answer.PRESUMED, id="was-not-answered"),
        pytest.param([consent_r4(provision=DENY)], Answer.DENIED, id="denial"),
        pytest.param([consent_r4(status="inactive", provision=PERMIT)], Answer.WITHDRAWN, id="withdrawal"),
        pytest.param([consent_r4(status="rejected")], Answer.DENIED, id="rejection"),
        pytest.param([consent_r4()], Answer.UNCLEAR, id="unclear"),
        pytest.param([{}], Answer.UNREADABLE, id="unreadable"),
    ],
)
def test_where_silence_is_consent(resources, answer):
    assert ask_consents(resources, ResearchUse(is_presumed=True), now=NOW) is answer


def test_a_national_form_permits_by_the_codes_that_the_policy_names():
    use = ResearchUse(codes=frozenset({NATIONAL}))
    assert ask_consents([national("permit")], use, now=NOW) is Answer.PERMITTED
    assert ask_consents([national("deny")], use, now=NOW) is Answer.DENIED
    assert ask_consents([national("permit")], use, now=datetime(2056, 1, 1, tzinfo=UTC)) is Answer.UNCLEAR


def test_the_hospital_itself_may_be_named():
    resource = consent_r4(provision={**PERMIT, "actor": [{"reference": {"reference": "Organization/1"}}]})
    assert ask_consents([resource], ResearchUse(actors=frozenset({"Organization/1"})), now=NOW) is Answer.PERMITTED
    assert ask_consents([resource], ResearchUse(actors=frozenset({"Organization/2"})), now=NOW) is Answer.UNCLEAR


def test_verification_may_be_wanted():
    use = ResearchUse(needs_verification=True)
    assert ask_consents([consent_r4(provision=PERMIT)], use, now=NOW) is Answer.UNCLEAR
    verified = consent_r4(provision=PERMIT, verification=[{"verified": True}])
    assert ask_consents([verified], use, now=NOW) is Answer.PERMITTED


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        ask_consents([], ResearchUse(), now=datetime(2026, 11, 1))  # noqa: DTZ001


def test_only_yes_is_yes():
    assert {answer for answer in Answer if answer.is_yes} == {Answer.PERMITTED, Answer.PRESUMED}
