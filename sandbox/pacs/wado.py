"""WADO-RS: whole instances, their metadata and rendered pictures (PS3.18 section 10.4)."""

import json
import re
import secrets
from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, abort, request

from sandbox.pacs.multipart import write_parts
from sandbox.pacs.rendering import NoPictureError, render_png
from sandbox.pacs.store import InstanceStore, StoredInstance

_DICOM = "application/dicom"
_TRANSFER_SYNTAX = re.compile(r"transfer-syntax=\"?([0-9.*]+)\"?")


def json_response(body: Any, status: int = 200) -> Response:
    """Answer with DICOM JSON."""
    return Response(json.dumps(body), status, mimetype="application/dicom+json")


def _located(
    store: InstanceStore, study: str, series: str | None = None, instance: str | None = None
) -> list[StoredInstance]:
    found = store.find(study, series, instance)
    return found or abort(404, "no such study, series or instance")


def _accepted_multipart() -> bool:
    """Whether the client takes multipart/related with DICOM, in whatever transfer syntax is stored."""
    for accept in request.headers.get("Accept", "*/*").split(","):
        media_type = accept.partition(";")[0].strip().lower()
        if media_type in {"*/*", "multipart/*"}:
            return True
        if media_type == "multipart/related" and "application/dicom" in accept and "+" not in accept:
            return True
    return False


def _check_transfer_syntax(instances: Iterable[StoredInstance]) -> None:
    """Refuse transcoding: what is stored is what can be had."""
    asked = set(_TRANSFER_SYNTAX.findall(request.headers.get("Accept", "")))
    if not asked or "*" in asked:
        return
    if any(instance.transfer_syntax_uid not in asked for instance in instances):
        abort(406, "instances are given in the transfer syntax in which they are stored; ask for transfer-syntax=*")


def _multipart(store: InstanceStore, instances: list[StoredInstance]) -> Response:
    if not _accepted_multipart():
        abort(406, 'ask for multipart/related; type="application/dicom"')
    _check_transfer_syntax(instances)
    boundary = secrets.token_hex(16)
    body = write_parts((store.open(instance) for instance in instances), boundary, _DICOM)
    content_type = f'multipart/related; type="{_DICOM}"; boundary={boundary}'
    return Response(body, content_type=content_type)


def add_retrieve_routes(dicomweb: Blueprint, store: InstanceStore) -> None:
    """Add the retrieval of whole instances."""

    @dicomweb.get("/studies/<study>")
    def retrieve_study(study: str) -> Response:
        return _multipart(store, _located(store, study))

    @dicomweb.get("/studies/<study>/series/<series>")
    def retrieve_series(study: str, series: str) -> Response:
        return _multipart(store, _located(store, study, series))

    @dicomweb.get("/studies/<study>/series/<series>/instances/<instance>")
    def retrieve_instance(study: str, series: str, instance: str) -> Response:
        (found,) = _located(store, study, series, instance)
        if request.headers.get("Accept", "").partition(";")[0].strip().lower() == _DICOM:
            _check_transfer_syntax([found])
            with store.open(found) as content:
                return Response(content.read(), mimetype=_DICOM)
        return _multipart(store, [found])


def add_metadata_routes(dicomweb: Blueprint, store: InstanceStore) -> None:
    """Add the retrieval of metadata and of rendered pictures."""

    def metadata(instances: list[StoredInstance]) -> Response:
        return json_response([instance.metadata for instance in instances])

    @dicomweb.get("/studies/<study>/metadata")
    def study_metadata(study: str) -> Response:
        return metadata(_located(store, study))

    @dicomweb.get("/studies/<study>/series/<series>/metadata")
    def series_metadata(study: str, series: str) -> Response:
        return metadata(_located(store, study, series))

    @dicomweb.get("/studies/<study>/series/<series>/instances/<instance>/metadata")
    def instance_metadata(study: str, series: str, instance: str) -> Response:
        return metadata(_located(store, study, series, instance))

    @dicomweb.get("/studies/<study>/series/<series>/instances/<instance>/rendered")
    def rendered(study: str, series: str, instance: str) -> Response:
        (found,) = _located(store, study, series, instance)
        try:
            with store.open(found) as content:
                return Response(render_png(content), mimetype="image/png")
        except NoPictureError as error:
            abort(406, str(error))
