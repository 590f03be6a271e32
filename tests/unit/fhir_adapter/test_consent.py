"""What is read of a Consent, whatever the version; and which Consents are taken for a patient's."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_adapter.adapters.rest import FhirRestStore
from fhir_adapter.consent import MOST_CONSENTS, find_consents, parse_consent
from fhir_adapter.errors import FhirTooLargeError, FhirUnavailableError, MalformedResourceError
from fhir_adapter.model import CodeOf, Effect
from fhir_adapter.research_use import ResearchUse, ask_consents
from tests.fakes.consents import consent_r4, consent_r5, patient_consents
from tests.fakes.fhir_store import InMemoryFhirStore

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_reads_r4_and_r5_as_the_same_value():
    r4 = parse_consent(consent_r4(provision={"type": "permit", "purpose": [purpose()]}), zone=UTC)
    r5 = parse_consent(
        consent_r5(decision="deny", provision=[{"purpose": [purpose()]}], category=["research"]), zone=UTC
    )

    assert (r4.reference, r4.status, r4.patient_reference) == ("Consent/c-1", "active", "Patient/p-1")
    assert (r5.reference, r5.status, r5.patient_reference) == ("Consent/c-1", "active", "Patient/p-1")
    assert r4.rule.exceptions == r5.rule.exceptions
    assert r4.rule.exceptions[0].effect is Effect.PERMIT
    assert r4.rule.exceptions[0].purposes == (CodeOf("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HRESCH"),)


def test_each_level_of_r5_negates_the_one_above():
    inner = {"purpose": [purpose()], "provision": [{"purpose": [purpose()]}]}
    rule = parse_consent(consent_r5(decision="permit", provision=[inner]), zone=UTC).rule
    assert rule.effect is Effect.PERMIT
    assert rule.exceptions[0].effect is Effect.DENY
    assert rule.exceptions[0].exceptions[0].effect is Effect.PERMIT


@pytest.mark.parametrize(
    ("written", "start", "end"),
    [
        pytest.param("2026", "2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00", id="year"),
        pytest.param("2026-12", "2026-12-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00", id="december"),
        pytest.param("2026-02", "2026-02-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00", id="february"),
        pytest.param("2026-07-15", "2026-07-15T00:00:00+02:00", "2026-07-16T00:00:00+02:00", id="summer-day"),
        pytest.param("2026-07-15T10:00:00Z", "2026-07-15T10:00:00+00:00", "2026-07-15T10:00:00+00:00", id="moment"),
    ],
)
def test_a_date_covers_its_whole_day_where_the_hospital_is(written, start, end):
    provision = {"type": "permit", "period": {"start": written, "end": written}}
    rule = parse_consent(consent_r4(provision=provision), zone=BERLIN).rule.exceptions[0]
    assert rule.start == datetime.fromisoformat(start)
    assert rule.end == datetime.fromisoformat(end)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"resourceType": "Patient"}, id="another-resource"),
        pytest.param({"status": "granted"}, id="unknown-status"),
        pytest.param({"status": None}, id="no-status"),
        pytest.param({"id": "a/b"}, id="no-id"),
        pytest.param({"modifierExtension": [{"url": "https://x.test/not"}]}, id="modifier-extension"),
        pytest.param({"implicitRules": "https://x.test/rules"}, id="implicit-rules"),
        pytest.param({"provision": {"type": "maybe"}}, id="unknown-type"),
        pytest.param({"provision": {"modifierExtension": [{"url": "x"}]}}, id="modifier-in-provision"),
        pytest.param({"provision": {"type": "deny", "provision": [{"purpose": []}]}}, id="nested-without-type"),
        pytest.param({"provision": {"period": {"start": "yesterday"}}}, id="no-date"),
        pytest.param({"provision": {"period": {"start": "2026-02-30"}}}, id="no-such-day"),
        pytest.param({"provision": {"period": {"end": "9999"}}}, id="year-after-the-last"),
        pytest.param({"provision": "all"}, id="provision-is-text"),
        pytest.param({"verification": [{"verified": "yes"}]}, id="verified-is-text"),
    ],
)
def test_what_cannot_be_understood_is_an_error(changes):
    with pytest.raises(MalformedResourceError):
        parse_consent({**consent_r4(), **changes}, zone=UTC)


def test_provisions_are_not_followed_without_end():
    provision = {"type": "deny"}
    for _ in range(40):
        provision = {"type": "deny", "provision": [provision]}
    with pytest.raises(MalformedResourceError, match="16 levels"):
        parse_consent(consent_r4(provision=provision), zone=UTC)


def test_finds_the_consents_of_the_patient_only():
    theirs = consent_r4(id="2", patient={"reference": "https://ehr.test/fhir/Patient/p-1"})
    store = InMemoryFhirStore([consent_r4(), theirs, consent_r4(id="3", patient={"reference": "Patient/p-2"})])
    # A server that ignores the parameter gives them all.
    store._matches = lambda resource_type, parameters: store.all("Consent")
    assert [found["id"] for found in find_consents(store, "Patient/p-1")] == ["c-1", "2"]


def test_more_consents_than_are_taken_are_an_error_not_a_part_of_them():
    store = InMemoryFhirStore([consent_r4(id=f"c-{number}") for number in range(MOST_CONSENTS + 1)])
    with pytest.raises(FhirTooLargeError, match="200"):
        find_consents(store, "Patient/p-1")


def test_the_search_follows_pages_and_names_no_patient_in_a_url():
    asked = []

    def answer(request):
        asked.append(request)
        second = "page=2" in str(request.url)
        link = [] if second else [{"relation": "next", "url": "https://ehr.test/fhir?page=2"}]
        entry = [{"resource": consent_r4(id="late" if second else "early")}]
        bundle = {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}
        return httpx.Response(200, content=json.dumps(bundle), headers={"Content-Type": "application/fhir+json"})

    store = FhirRestStore("https://ehr.test/fhir", transport=httpx.MockTransport(answer))
    assert [found["id"] for found in find_consents(store, "Patient/p-1")] == ["early", "late"]
    assert not any("p-1" in str(request.url) for request in asked)
    store.close()


def test_a_server_that_does_not_answer_is_said_so():
    store = InMemoryFhirStore([consent_r4()])
    store.fail_next(FhirUnavailableError("no answer"))
    with pytest.raises(FhirUnavailableError):
        find_consents(store, "Patient/p-1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["permit", "deny", "HRESCH"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "period", "start", "coding", "code", "system", "purpose", "provision", "actor", "action"]
            ),
            children,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(provision=JSON, about=JSON)
def test_whatever_comes_is_an_answer(provision, about):
    resource = {**consent_r4(), "provision": provision, "scope": about}
    ask_consents([resource], ResearchUse(), now=NOW)  # no error but those that are answers


def test_the_fake_patient_has_what_the_fakes_say():
    assert {consent["status"] for consent in patient_consents("p-9", "inactive")} == {"inactive"}


def purpose(code="HRESCH"):
    return {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": code}
