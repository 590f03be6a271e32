"""FHIR Consents as EHRs write them, in R4 and in R5."""

from typing import Any

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def consent_r4(*, scope: str = "research", policy_rule: str | None = None, **changes: Any) -> dict[str, Any]:
    """A Consent of R4 or R4B, by patient p-1 and active unless changed; what is None is left out."""
    resource = {
        "resourceType": "Consent",
        "id": "c-1",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": scope}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "57016-8"}]}],
        "patient": {"reference": "Patient/p-1"},
        "dateTime": "2025-05-01",
        **({"policyRule": {"coding": [{"system": ACT_CODE, "code": policy_rule}]}} if policy_rule else {}),
        **changes,
    }
    return {name: value for name, value in resource.items() if value is not None}


def consent_r5(*, category: tuple[str, ...] | list[str] = ("research",), **changes: Any) -> dict[str, Any]:
    """A Consent of R5, by patient p-1 and active unless changed."""
    system = "http://terminology.hl7.org/CodeSystem/consentcategorycodes"
    resource = {
        "resourceType": "Consent",
        "id": "c-1",
        "status": "active",
        "category": [{"coding": [{"system": system, "code": code}]} for code in category],
        "subject": {"reference": "Patient/p-1"},
        "date": "2025-05-01",
        **changes,
    }
    return {name: value for name, value in resource.items() if value is not None}


def purposes(*codes: str, system: str = ACT_REASON) -> list[dict[str, str]]:
    """Purposes of a provision."""
    return [{"system": system, "code": code} for code in codes]


def patient_consents(patient: str, *statuses: str) -> list[dict[str, Any]]:
    """One Consent that permits research for each status."""
    return [
        consent_r4(
            id=f"{patient}-{number}",
            status=status,
            patient={"reference": f"Patient/{patient}"},
            provision={"type": "permit", "purpose": purposes("HRESCH")},
        )
        for number, status in enumerate(statuses)
    ]
