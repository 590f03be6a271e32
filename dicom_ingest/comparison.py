"""Whether an archive holds what was sent to it."""

from collections.abc import Iterator

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag
from pydicom.valuerep import VR

from dicom_ingest.errors import StoredDifferentlyError
from dicom_ingest.volume import DECODE_FAULTS

_ARCHIVES_OWN = frozenset(
    {
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "RetrieveURL",
        "RetrieveAETitle",
        "RetrieveURI",
        "RetrieveLocationUID",
        "InstanceAvailability",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
        "DataSetTrailingPadding",
    }
)
"""What an archive may add, drop or rewrite: where it keeps the instance, and how it encodes text."""

_WRITTEN_AT = frozenset(
    {
        "InstanceCreationDate",
        "InstanceCreationTime",
        "SeriesDate",
        "SeriesTime",
        "ContentDate",
        "ContentTime",
        "ContributionDateTime",
    }
)
"""When a result was written: the same work done again, after a lost database, is the same result at another time."""

_NUMBERS = frozenset({VR.DS, VR.IS})
_BYTES = frozenset({VR.OB, VR.OW, VR.OB_OW, VR.UN})


def check_stored(sent: Dataset, stored: Dataset) -> None:
    """Check that an archive gives back what was sent: identifiers, content and pixels.

    Transfer syntax, group 2, padding, attributes about retrieval, attributes added at the top level and the time of
    writing may differ.

    Raises:
        StoredDifferentlyError: Something else differs; the message names the attribute and holds no value.
    """
    for path in _differences(sent, stored, ""):
        raise StoredDifferentlyError(
            f"The archive holds instance {sent.get('SOPInstanceUID')} with another {path} than was sent; "
            "remove it there, then replay the delivery."
        )


def _differences(sent: Dataset, stored: Dataset, path: str) -> Iterator[str]:
    if path:
        # Nested, an addition changes the content: a finding, a reference, a segment.
        for element in stored:
            if _is_content(element) and element.tag not in sent:
                yield path + _name(element)
    for element in sent:
        if not _is_content(element):
            continue
        if element.tag not in stored:
            if not element.is_empty:
                yield path + _name(element)
        elif element.keyword == "PixelData":
            if not _same_pixels(sent, stored):
                yield path + _name(element)
        else:
            yield from _element_differences(element, stored[element.tag], path + _name(element))


def _element_differences(sent: DataElement, stored: DataElement, path: str) -> Iterator[str]:
    if VR.SQ in (sent.VR, stored.VR):
        if sent.VR != stored.VR or len(sent.value) != len(stored.value):
            yield path
            return
        for index, (mine, theirs) in enumerate(zip(sent.value, stored.value, strict=True), start=1):
            yield from _differences(mine, theirs, f"{path}[{index}].")
    elif _comparable(sent) != _comparable(stored):
        yield path


def _is_content(element: DataElement) -> bool:
    tag: BaseTag = element.tag
    # Group lengths are retired, and archives drop private attributes as they like.
    return tag.element != 0 and not tag.is_private and element.keyword not in _ARCHIVES_OWN | _WRITTEN_AT


def _comparable(element: DataElement) -> object:
    if element.is_empty:
        return ()
    if element.VR in _BYTES:
        return bytes(element.value).rstrip(b"\0")
    values = element.value if element.VM > 1 else [element.value]
    if element.VR in _NUMBERS:
        return [float(value) for value in values]
    return [value if isinstance(value, int | float) else str(value).strip(" \0") for value in values]


def _same_pixels(sent: Dataset, stored: Dataset) -> bool:
    if not (_is_encapsulated(sent) or _is_encapsulated(stored)):
        return bytes(sent.PixelData).rstrip(b"\0") == bytes(stored.PixelData).rstrip(b"\0")
    try:
        return bool(np.array_equal(pixel_array(sent), pixel_array(stored)))
    except DECODE_FAULTS:
        return False


def _is_encapsulated(instance: Dataset) -> bool:
    return bool(instance.file_meta.TransferSyntaxUID.is_encapsulated)


def _name(element: DataElement) -> str:
    return element.keyword or str(element.tag)
