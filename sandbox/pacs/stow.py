"""STOW-RS: storing instances (PS3.18 section 10.5)."""

from typing import Any

from flask import Blueprint, Response, abort, request
from pydicom.uid import UID

from sandbox.pacs.multipart import MultipartError, read_parts
from sandbox.pacs.store import CANNOT_UNDERSTAND, InstanceStore, StoredInstance, StoreRefusal
from sandbox.pacs.wado import json_response

_DICOM = "application/dicom"


def _boundary() -> str:
    given = request.mimetype_params
    if request.mimetype != "multipart/related" or given.get("type", "").lower() != _DICOM or not given.get("boundary"):
        abort(415, 'expected multipart/related; type="application/dicom"; boundary=...')
    boundary = given["boundary"]
    if not boundary.isascii():
        abort(400, "the boundary is not ASCII")
    return boundary


def _success(instance: StoredInstance, base_url: str) -> dict[str, Any]:
    url = (
        f"{base_url}/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )
    return {
        "00081150": {"vr": "UI", "Value": [instance.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [instance.sop_instance_uid]},
        "00081190": {"vr": "UR", "Value": [url]},
    }


def _failure(refusal: StoreRefusal) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [refusal.sop_class_uid] if refusal.sop_class_uid else []},
        "00081155": {"vr": "UI", "Value": [refusal.sop_instance_uid] if refusal.sop_instance_uid else []},
        "00081197": {"vr": "US", "Value": [refusal.reason]},
    }


def _store_all(store: InstanceStore, base_url: str, study: str | None) -> Response:
    """Store every part: 200 all stored, 202 some, 409 none."""
    stored: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    try:
        for part in read_parts(request.stream, _boundary()):
            try:
                stored.append(_success(store.add(part, study), base_url))
            except StoreRefusal as refusal:
                failed.append(_failure(refusal))
    except MultipartError as error:
        if not stored and not failed:
            abort(400, str(error))
        failed.append(_failure(StoreRefusal(CANNOT_UNDERSTAND, str(error))))
    body: dict[str, Any] = {}
    if study is not None:
        body["00081190"] = {"vr": "UR", "Value": [f"{base_url}/studies/{study}"]}
    if failed:
        body["00081198"] = {"vr": "SQ", "Value": failed}
    if stored:
        body["00081199"] = {"vr": "SQ", "Value": stored}
    return json_response(body, 409 if not stored else 202 if failed else 200)


def add_store_routes(dicomweb: Blueprint, store: InstanceStore, base_url: str) -> None:
    """Add storing, to any study or to the one of the URL."""

    @dicomweb.post("/studies")
    def store_instances() -> Response:
        return _store_all(store, base_url, None)

    @dicomweb.post("/studies/<study>")
    def store_instances_of_study(study: str) -> Response:
        if not UID(study).is_valid:
            abort(400, "the study in the URL is not a UID")
        return _store_all(store, base_url, study)
