"""The FHIR interface of the sandbox EHR."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from sandbox.ehr.capability import build_capability_statement
from sandbox.ehr.channels import Content
from sandbox.ehr.errors import FhirError, not_found
from sandbox.ehr.interactions import Outcome
from sandbox.ehr.notifications import Event, build_notification, build_status
from sandbox.ehr.pages import pages
from sandbox.ehr.search import Page
from sandbox.ehr.store import Resource, StoredVersion
from sandbox.ehr.transaction import run_transaction
from sandbox.ehr.validation import check_type
from sandbox.ehr.wiring import FHIR_PATH, Ehr
from sandbox.serving import Access, protect

MEDIA_TYPE = "application/fhir+json"
_ACCEPTED = frozenset({"application/fhir+json", "application/json"})
_MAX_BODY_BYTES = 32 * 2**20


def create_app(ehr: Ehr, access: Access) -> Flask:
    """Build the WSGI application."""
    app = Flask(__name__, template_folder="../templates", static_folder="../static")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.extensions["ehr"] = ehr
    protect(app, access)
    app.register_blueprint(_fhir_blueprint(ehr), url_prefix=FHIR_PATH)
    app.register_blueprint(pages)
    return app


def _fhir_response(body: Resource, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers=headers, mimetype=MEDIA_TYPE)


def _stored_response(stored: StoredVersion, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    all_headers = {"ETag": f'W/"{stored.version}"', **(headers or {})}
    response = _fhir_response(stored.resource or {}, status, all_headers)
    response.last_modified = stored.last_updated_at
    return response


def _body() -> Any:
    if request.mimetype not in _ACCEPTED:
        raise FhirError(415, "not-supported", f"expected {MEDIA_TYPE}, got {request.mimetype or 'no Content-Type'}")
    try:
        return json.loads(request.get_data())
    except ValueError as error:
        raise FhirError(400, "structure", "the body is not JSON") from error


def _searchset(ehr: Ehr, resource_type: str, page: Page, criteria: list[tuple[str, str]]) -> Resource:
    def link(relation: str, offset: int | None) -> Resource:
        kept = [(name, value) for name, value in criteria if name != "_offset" or offset is None]
        query = urlencode(kept + ([("_offset", str(offset))] if offset is not None else []))
        return {"relation": relation, "url": f"{ehr.base_url}/{resource_type}?{query}"}

    def entry(stored: StoredVersion, mode: str) -> Resource:
        return {
            "fullUrl": f"{ehr.base_url}/{stored.reference}",
            "resource": stored.resource,
            "search": {"mode": mode},
        }

    links = [link("self", None)] + ([link("next", page.next_offset)] if page.next_offset is not None else [])
    entries = [entry(item, "match") for item in page.matches] + [entry(item, "include") for item in page.included]
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": page.total, "link": links}
    return bundle | ({"entry": entries} if entries else {})


def _history(ehr: Ehr, versions: list[StoredVersion]) -> Resource:
    def entry(stored: StoredVersion) -> Resource:
        url = stored.resource_type if stored.method == "POST" else stored.reference
        status = {"POST": "201", "PUT": "200", "DELETE": "204"}[stored.method]
        known: Resource = {"fullUrl": f"{ehr.base_url}/{stored.reference}"}
        known |= {"resource": stored.resource} if stored.resource is not None else {}
        response = {"status": status, "etag": f'W/"{stored.version}"', "lastModified": stored.last_updated}
        return known | {"request": {"method": stored.method, "url": url}, "response": response}

    entries = [entry(stored) for stored in versions]
    return {"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries}


def _fhir_blueprint(ehr: Ehr) -> Blueprint:
    fhir = Blueprint("fhir", __name__)
    _add_error_handlers(fhir)
    _add_instance_routes(fhir, ehr)
    _add_type_routes(fhir, ehr)
    _add_subscription_routes(fhir, ehr)
    return fhir


def _add_error_handlers(fhir: Blueprint) -> None:
    @fhir.errorhandler(FhirError)
    def tell_fhir_error(error: FhirError) -> Response:
        return _fhir_response(error.to_outcome(), error.status)

    @fhir.errorhandler(HTTPException)
    def tell_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        return _fhir_response(FhirError(status, "processing", error.name).to_outcome(), status)


def _add_instance_routes(fhir: Blueprint, ehr: Ehr) -> None:
    @fhir.get("/<resource_type>/<resource_id>")
    def read(resource_type: str, resource_id: str) -> Response:
        return _stored_response(ehr.interactions.read(resource_type, resource_id))

    @fhir.put("/<resource_type>/<resource_id>")
    def update(resource_type: str, resource_id: str) -> Response:
        check_type(resource_type)
        outcome = ehr.interactions.update(resource_type, resource_id, _body(), request.headers.get("If-Match"))
        return _written_response(ehr, outcome)

    @fhir.delete("/<resource_type>/<resource_id>")
    def delete(resource_type: str, resource_id: str) -> Response:
        ehr.interactions.delete(resource_type, resource_id, request.headers.get("If-Match"))
        return Response(status=204)

    @fhir.get("/<resource_type>/<resource_id>/_history")
    def history(resource_type: str, resource_id: str) -> Response:
        versions = ehr.store.history(check_type(resource_type), resource_id)
        if not versions:
            raise not_found(f"{resource_type}/{resource_id}")
        return _fhir_response(_history(ehr, versions))

    @fhir.get("/<resource_type>/<resource_id>/_history/<int:version>")
    def vread(resource_type: str, resource_id: str, version: int) -> Response:
        stored = ehr.store.version(check_type(resource_type), resource_id, version)
        if stored is None:
            raise not_found(f"{resource_type}/{resource_id}/_history/{version}")
        if stored.resource is None:
            raise FhirError(410, "deleted", f"version {version} of {stored.reference} is its deletion")
        return _stored_response(stored)


def _written_response(ehr: Ehr, outcome: Outcome) -> Response:
    stored = outcome.stored
    if stored is None:
        return Response(status=outcome.status)
    location = {"Location": f"{ehr.base_url}/{stored.reference}/_history/{stored.version}"}
    if "return=minimal" in request.headers.get("Prefer", ""):
        return Response(status=outcome.status, headers=location | {"ETag": f'W/"{stored.version}"'})
    return _stored_response(stored, outcome.status, location)


def _add_type_routes(fhir: Blueprint, ehr: Ehr) -> None:
    def answer_search(resource_type: str, criteria: list[tuple[str, str]]) -> Response:
        page = ehr.search.page(check_type(resource_type), criteria)
        return _fhir_response(_searchset(ehr, resource_type, page, criteria))

    @fhir.get("/metadata")
    def metadata() -> Response:
        return _fhir_response(build_capability_statement(ehr.base_url, ehr.subscriptions.topics, ehr.started))

    @fhir.get("/<resource_type>")
    def search(resource_type: str) -> Response:
        return answer_search(resource_type, list(request.args.items(multi=True)))

    @fhir.post("/<resource_type>/_search")
    def search_by_post(resource_type: str) -> Response:
        return answer_search(resource_type, [*request.args.items(multi=True), *request.form.items(multi=True)])

    @fhir.post("/<resource_type>")
    def create(resource_type: str) -> Response:
        resource = _body()
        if not isinstance(resource, dict) or resource.get("resourceType") != check_type(resource_type):
            raise FhirError(400, "invalid", f"expected a {resource_type}")
        outcome = ehr.interactions.create(resource, request.headers.get("If-None-Exist"))
        return _written_response(ehr, outcome)

    @fhir.post("/")
    @fhir.post("", endpoint="transaction_at_base")
    def transact() -> Response:
        representation = "return=representation" in request.headers.get("Prefer", "")
        return _fhir_response(run_transaction(ehr.interactions, _body(), representation=representation))


def _add_subscription_routes(fhir: Blueprint, ehr: Ehr) -> None:
    def status_entry(subscription_id: str) -> Resource:
        channel = ehr.subscriptions.channel(subscription_id)
        if channel is None:
            raise not_found(f"Subscription/{subscription_id}")
        total = ehr.subscriptions.total(subscription_id)
        status = build_status(channel, "query-status", total, (), ehr.base_url)
        return {"fullUrl": f"urn:uuid:{status['id']}", "resource": status, "search": {"mode": "match"}}

    def status_bundle(entries: list[Resource]) -> Response:
        return _fhir_response(
            {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
            | ({"entry": entries} if entries else {})
        )

    @fhir.get("/Subscription/$status")
    def statuses() -> Response:
        wanted = {part for value in request.args.getlist("id") for part in value.split(",")}
        channels = [channel.subscription_id for channel in ehr.subscriptions.channels()]
        return status_bundle([status_entry(found) for found in channels if not wanted or found in wanted])

    @fhir.get("/Subscription/<subscription_id>/$status")
    def status(subscription_id: str) -> Response:
        return status_bundle([status_entry(subscription_id)])

    @fhir.get("/Subscription/<subscription_id>/$events")
    def events(subscription_id: str) -> Response:
        channel = ehr.subscriptions.channel(subscription_id)
        if channel is None:
            raise not_found(f"Subscription/{subscription_id}")
        content = request.args.get("content")
        if content is not None:
            if content not in set(Content):
                raise FhirError(400, "value", f"expected content of {', '.join(Content)}, got {content!r}")
            channel = replace(channel, content=Content(content))
        since = _number("eventsSinceNumber") or 0
        asked: tuple[Event, ...] = ehr.subscriptions.events(subscription_id, since, _number("eventsUntilNumber"))
        total = ehr.subscriptions.total(subscription_id)
        return _fhir_response(build_notification(channel, "query-event", total, asked, ehr.base_url))


def _number(name: str) -> int | None:
    text = request.args.get(name)
    if text is not None and not text.isdecimal():
        raise FhirError(400, "value", f"expected a number for {name}, got {text!r}")
    return int(text) if text is not None else None
