"""Pages that show a person what the PACS holds."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template
from pydicom import dcmread
from pydicom.dataset import Dataset

from sandbox.pacs.qido import named
from sandbox.pacs.rendering import NoPictureError, render_png
from sandbox.pacs.store import InstanceStore, StoredInstance

pages = Blueprint("pages", __name__)

_PICTURES = frozenset({"MR", "CT", "PT"})


@dataclass(frozen=True)
class SeriesView:
    """One series, for a page.

    Attributes:
        header: Of its first instance, by keyword.
        details: Segments of a SEG, lines of an SR.
    """

    uid: str
    header: dict[str, str]
    count: int
    has_picture: bool
    details: tuple[str, ...]


@dataclass(frozen=True)
class StudyView:
    """One study, for a page."""

    uid: str
    header: dict[str, str]
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int


def iso_date(text: str) -> str:
    """A DICOM date as people write it: 20260131 as 2026-01-31."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text


pages.add_app_template_filter(iso_date, "iso_date")


def _store() -> InstanceStore:
    store = current_app.extensions["pacs"]
    if not isinstance(store, InstanceStore):
        raise TypeError("the application was built without an InstanceStore")
    return store


@pages.get("/")
def show_studies() -> str:
    """All studies."""
    studies = []
    for uid, group in groupby(_store().find(), key=lambda item: item.study_instance_uid):
        members = list(group)
        headers = [named(member.metadata) for member in members]
        modalities = tuple(sorted({header.get("Modality", "") for header in headers}))
        series_count = len({member.series_instance_uid for member in members})
        studies.append(StudyView(uid, headers[0], modalities, series_count, len(members)))
    return render_template("pacs/studies.html", studies=studies)


@pages.get("/studies/<uid>")
def show_study(uid: str) -> str:
    """One study with its series."""
    instances = _store().find(uid) or abort(404)
    grouped = groupby(instances, key=lambda item: item.series_instance_uid)
    series = [_series_view(list(group)) for _, group in grouped]
    series.sort(key=lambda view: (view.header.get("Modality") != "MR", int(view.header.get("SeriesNumber") or 0)))
    return render_template("pacs/study.html", uid=uid, header=named(instances[0].metadata), series=series)


def _series_view(members: list[StoredInstance]) -> SeriesView:
    header = named(members[0].metadata)
    modality = header.get("Modality", "")
    details = _details(members[0]) if modality in {"SEG", "SR"} else ()
    return SeriesView(members[0].series_instance_uid, header, len(members), modality in _PICTURES, details)


def _details(instance: StoredInstance) -> tuple[str, ...]:
    with _store().open(instance) as content:
        dataset = dcmread(content, stop_before_pixels=True)
    if "SegmentSequence" in dataset:
        return tuple(f"{item.SegmentNumber}: {item.SegmentLabel}" for item in dataset.SegmentSequence)
    return tuple(_report_lines(dataset, 0))


def _concept(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword, [])
    return str(codes[0].get("CodeMeaning", "")) if codes else ""


def _report_lines(item: Dataset, depth: int) -> list[str]:
    """The content tree of an SR as indented lines: numbers, codes and texts (PS3.3 C.17.3)."""
    name = _concept(item, "ConceptNameCodeSequence")
    kind = item.get("ValueType", "")
    value = ""
    if kind == "NUM" and item.get("MeasuredValueSequence"):
        measured = item.MeasuredValueSequence[0]
        value = f"{measured.NumericValue} {_concept(measured, 'MeasurementUnitsCodeSequence')}"
    elif kind == "CODE":
        value = _concept(item, "ConceptCodeSequence")
    elif kind in {"TEXT", "PNAME"}:
        value = str(item.get("TextValue", item.get("PersonName", "")))
    indent = "    " * depth
    lines = [f"{indent}{name}: {value}" if value else f"{indent}{name}"] if name else []
    for child in item.get("ContentSequence", []):
        lines += _report_lines(child, depth + 1)
    return lines


@pages.get("/studies/<study>/series/<series>/picture")
def show_picture(study: str, series: str) -> Response:
    """The middle slice of a series."""
    instances: list[Any] = _store().find(study, series) or abort(404)
    try:
        with _store().open(instances[len(instances) // 2]) as content:
            return Response(render_png(content), mimetype="image/png")
    except NoPictureError:
        abort(404)
