"""Errors as the caller can read them: OperationOutcome for FHIR, JSON for the API, a page for people.

The remedy table decides the status; an unforeseen error is logged by Flask and answered as our own fault.
"""

import json
import re
from http import HTTPStatus

from flask import Flask, Response, current_app, jsonify, make_response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from dicom_ingest.errors import DicomIngestError
from federated.errors import FederatedError
from fhir_adapter.errors import FhirAdapterError
from governance.errors import GovernanceError
from plugin.errors import PluginError, remedy

# FHIR R4 valueset-issue-type.
_ISSUE_CODES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    409: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "processing",
    429: "throttled",
    503: "transient",
}
_TITLES = {
    400: "The request could not be understood",
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Already changed",
    413: "Too large",
    429: "Too many attempts",
    503: "Temporarily unavailable",
}


def init_errors(app: Flask) -> None:
    """Answer every error of the packages, and every HTTP error, in the caller's format."""
    for base in (PluginError, FhirAdapterError, DicomIngestError, FederatedError, GovernanceError):
        app.register_error_handler(base, _answer_known)
    app.register_error_handler(HTTPException, _answer_http)


def operation_outcome(severity: str, code: str, diagnostics: str) -> bytes:
    """An OperationOutcome with one issue, the same in R4, R4B and R5."""
    issue = {"severity": severity, "code": code, "diagnostics": diagnostics}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


def _answer_known(error: Exception) -> AnyResponse:
    status = remedy(error).http_status
    name = type(error).__name__
    current_app.logger.info("%s answered %d: %s", request.endpoint, status, name)
    return _answer(status, _code_of(name), str(error))


def _answer_http(error: HTTPException) -> AnyResponse:
    status = error.code or 500
    response = _answer(status, _code_of(HTTPStatus(status).phrase), error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _answer(status: int, code: str, message: str) -> AnyResponse:
    if request.path.startswith("/fhir/"):
        # Who does not know the secret learns nothing more.
        diagnostics = "Not authorised." if status == HTTPStatus.UNAUTHORIZED else message
        body = operation_outcome("error", _ISSUE_CODES.get(status, "exception"), diagnostics)
        return Response(body, status, mimetype="application/fhir+json")
    if request.path.startswith("/api/"):
        response = make_response(jsonify(error={"code": code, "message": message}), status)
        if status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    title = _TITLES.get(status, "Something went wrong")
    # Not render_template: its context would load the user, and the database may be what is broken.
    page = current_app.jinja_env.get_template("error.html")
    return make_response(page.render(status=status, title=title, message=message), status)


def _code_of(name: str) -> str:
    """ "InvalidStudyUidError" or "Not Found" as "invalid-study-uid" or "not-found"."""
    words = re.findall(r"[A-Z]+[a-z]*|[a-z]+", name.removesuffix("Error"))
    return "-".join(words).lower()
