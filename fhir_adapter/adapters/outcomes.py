"""What a FHIR server's refusal means: HTTP status and OperationOutcome to the named errors."""

import re
from collections.abc import Mapping

import httpx

from fhir_adapter.elements import Element
from fhir_adapter.errors import (
    FhirConflictError,
    FhirNotFoundError,
    FhirRefusedError,
    FhirServerError,
    FhirUnavailableError,
    MalformedResourceError,
)

_QUOTED = re.compile("(['\"]).*?\\1|[0-9]{4,}", re.DOTALL)
_MOST_DIAGNOSTICS = 300


def error_for(status: int, what: str, outcome: object, headers: Mapping[str, str]) -> FhirServerError:
    """The error of a status that is no success; see FhirStore and fhir_adapter.errors.

    Args:
        what: The request, without ids.
        outcome: The answer's body as parsed, an OperationOutcome if the server is kind.
    """
    message = f"{what}: HTTP {status}. {_diagnostics(outcome)}".rstrip()
    match status:
        case 404 | 410:
            return FhirNotFoundError(message)
        case 409 | 412:
            return FhirConflictError(message)
        case 429 | 408:
            return FhirUnavailableError(message, retry_after_s=_retry_after_s(headers))
        case _ if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return FhirUnavailableError(message, retry_after_s=_retry_after_s(headers))
        case _ if httpx.codes.is_redirect(status):
            return FhirRefusedError(f"{message} Redirects are not followed; configure the URL it leads to.")
    return FhirRefusedError(message, status=status)


def status_code(text: str) -> int:
    """The number in a Bundle's response.status; 500 for a text without one."""
    return int(text) if text.isascii() and text.isdigit() else httpx.codes.INTERNAL_SERVER_ERROR


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, depends on two clocks and is not used."""
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else None


def _diagnostics(outcome: object) -> str:
    """What an OperationOutcome says, without what it quotes: quoted values come from resources and may be PHI."""
    try:
        issues = Element.of(outcome, "outcome").children("issue")
        told = [_issue(issue) for issue in issues[:5]]
    except MalformedResourceError:
        return ""
    return "; ".join(told)[:_MOST_DIAGNOSTICS]


def _issue(issue: Element) -> str:
    details = issue.child("details")
    words = issue.text("diagnostics") or (details.text("text") if details else None) or ""
    expressions = issue.fields.get("expression")
    places = [one for one in expressions if isinstance(one, str)] if isinstance(expressions, list) else []
    return " ".join(part for part in (issue.text("code"), _QUOTED.sub("...", words), *places) if part)
