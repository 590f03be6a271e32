"""QIDO-RS: attributes of studies, series and instances (PS3.18 section 10.6)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from sandbox.pacs.store import StoredInstance

Attributes = dict[str, Any]

_STUDY = (
    "SpecificCharacterSet StudyDate StudyTime AccessionNumber InstanceAvailability ReferringPhysicianName"
    " StudyDescription PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID"
)
_SERIES = (
    "SpecificCharacterSet StudyInstanceUID SeriesDate SeriesTime Modality SeriesDescription BodyPartExamined"
    " SeriesInstanceUID SeriesNumber"
)
_INSTANCE = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID InstanceNumber Rows Columns"
    " BitsAllocated NumberOfFrames"
)
_RETURNED = {"study": _STUDY.split(), "series": _SERIES.split(), "instance": _INSTANCE.split()}
_NOT_MATCHED = frozenset({"includefield", "limit", "offset", "fuzzymatching"})
_HEX_TAG = re.compile(r"[0-9A-Fa-f]{8}")


class QueryError(Exception):
    """A query that is not understood."""


@dataclass(frozen=True)
class Query:
    """A parsed QIDO query.

    Attributes:
        level: study, series or instance.
        filters: Tag (eight hexadecimal digits) and wanted value.
        include_all: includefield=all.
    """

    level: str
    filters: tuple[tuple[str, str], ...]
    include: tuple[str, ...]
    include_all: bool
    limit: int | None
    offset: int


def _tag(name: str) -> str:
    if _HEX_TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    if tag is None:
        raise QueryError(f"{name!r} is neither a DICOM keyword nor a tag of eight hexadecimal digits")
    return f"{tag:08X}"


def parse_query(level: str, arguments: Iterable[tuple[str, str]]) -> Query:
    """Read the query part of a QIDO URL.

    Raises:
        QueryError: An unknown attribute or a limit that is no number.
    """
    pairs = list(arguments)
    included = [field for name, value in pairs if name == "includefield" for field in value.split(",")]
    numbers = {name: value for name, value in pairs if name in {"limit", "offset"}}
    if not all(value.isdecimal() for value in numbers.values()):
        raise QueryError("limit and offset must be numbers")
    return Query(
        level=level,
        filters=tuple((_tag(name), value) for name, value in pairs if name not in _NOT_MATCHED and value),
        include=tuple(_tag(field) for field in included if field != "all"),
        include_all="all" in included,
        limit=int(numbers["limit"]) if "limit" in numbers else None,
        offset=int(numbers.get("offset", "0")),
    )


def values_of(metadata: Attributes, tag: str) -> list[str]:
    """An attribute's values as text, from DICOM JSON."""
    values = metadata.get(tag, {}).get("Value", [])
    return [value.get("Alphabetic", "") if isinstance(value, dict) else str(value) for value in values]


def _matches(metadata: Attributes, tag: str, wanted: str) -> bool:
    """PS3.4 C.2.2.2: single value, list of UIDs, range and wild card matching."""
    values = values_of(metadata, tag)
    vr = metadata.get(tag, {}).get("vr") or dictionary_VR(tag)
    if vr == "UI":
        return any(value in wanted.replace("\\", ",").split(",") for value in values)
    if vr in {"DA", "TM", "DT"} and "-" in wanted:
        low, _, high = wanted.partition("-")
        return any((not low or value >= low) and (not high or value <= high) for value in values)
    if vr == "PN":
        return any(fnmatchcase(value.casefold(), wanted.casefold()) for value in values)
    return any(fnmatchcase(value, wanted.replace("[", "[[]")) for value in values)


def _series_summaries(instances: Sequence[StoredInstance]) -> list[Attributes]:
    summaries = []
    for _, group in groupby(instances, key=lambda item: item.series_instance_uid):
        members = list(group)
        count = {"00201209": {"vr": "IS", "Value": [len(members)]}}  # NumberOfSeriesRelatedInstances
        summaries.append(members[0].metadata | count)
    return summaries


def _study_summaries(instances: Sequence[StoredInstance]) -> list[Attributes]:
    summaries = []
    for _, group in groupby(instances, key=lambda item: item.study_instance_uid):
        members = list(group)
        series = {member.series_instance_uid for member in members}
        modalities = sorted({value for member in members for value in values_of(member.metadata, "00080060")})
        counts: Attributes = {
            "00080061": {"vr": "CS", "Value": modalities},  # ModalitiesInStudy
            "00201206": {"vr": "IS", "Value": [len(series)]},  # NumberOfStudyRelatedSeries
            "00201208": {"vr": "IS", "Value": [len(members)]},  # NumberOfStudyRelatedInstances
        }
        first = min(members, key=lambda member: values_of(member.metadata, "00080060") != ["MR"])
        summaries.append(first.metadata | counts)
    return summaries


_ALWAYS = {"study": ("00080061", "00201206", "00201208"), "series": ("00201209",), "instance": ()}


def find(instances: Sequence[StoredInstance], query: Query) -> list[Attributes]:
    """Answer a query over instances in store order."""
    if query.level == "study":
        candidates = _study_summaries(instances)
    elif query.level == "series":
        candidates = _series_summaries(instances)
    else:
        candidates = [instance.metadata for instance in instances]
    matching = [item for item in candidates if all(_matches(item, tag, wanted) for tag, wanted in query.filters)]
    end = None if query.limit is None else query.offset + query.limit
    return [_shown(item, query) for item in matching[query.offset : end]]


def _shown(metadata: Attributes, query: Query) -> Attributes:
    if query.include_all:
        return dict(sorted(metadata.items()))
    tags = {_tag(keyword) for keyword in _RETURNED[query.level]} | set(_ALWAYS[query.level]) | set(query.include)
    tags |= {tag for tag, _ in query.filters}
    return {tag: metadata[tag] for tag in sorted(tags) if tag in metadata}


def named(metadata: Attributes) -> dict[str, str]:
    """Top-level attributes by keyword, as text, for the pages."""
    return {
        keyword: ", ".join(values_of(metadata, tag))
        for tag in metadata
        if (keyword := keyword_for_tag(tag)) and metadata[tag].get("vr") != "SQ"
    }
