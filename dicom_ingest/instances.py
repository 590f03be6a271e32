"""One DICOM instance to bytes and back: the only parser of DICOM bytes, which are untrusted."""

import copy
import logging
import struct
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_ingest.errors import BrokenInstanceError
from dicom_ingest.uids import is_uid

# pydicom logs malformed values, and values name patients.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PREAMBLE = 128
_FILE_META_GROUP = 0x0002
_HEADER_BYTES = 65_536
"""More than any file meta information takes."""

# What pydicom lets out on malformed bytes; found by fuzzing, which the tests repeat.
_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def parse_instance(data: bytes) -> Dataset:
    """Read one Part 10 instance from untrusted bytes.

    Every element is decoded here, nested ones too, so that no later access can fail on malformed bytes.

    Returns:
        The dataset with its file_meta; its four identifiers are valid UIDs and native pixel data is complete.

    Raises:
        BrokenInstanceError: The bytes are not Part 10, end early, cannot be decoded or lack an identifier.

    References:
        DICOM PS3.10 7.1; PS3.5 7, 9.1.
    """
    try:
        # pydicom warns of malformed values as well.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_not_deflated(data)
            instance = dcmread(BytesIO(data))
            for _ in instance.iterall():
                pass
            _check_identifiers(instance)
            instance.file_meta = _file_meta(instance)
            _check_pixel_length(instance)
    except _FAULTS as error:
        raise BrokenInstanceError(
            f"Expected a DICOM Part 10 instance, got {len(data)} bytes that cannot be read ({type(error).__name__}); "
            "check the instance in the archive."
            # Not "from error": pydicom's messages quote values too.
        ) from None
    return instance


def parse_file_header(file: BinaryIO) -> Dataset:
    """Read one Part 10 instance from an untrusted file up to its pixel data, to learn what it is.

    Returns:
        The dataset without pixel data; its four identifiers are valid UIDs.

    Raises:
        BrokenInstanceError: As parse_instance.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = file.read(_HEADER_BYTES)
            _check_not_deflated(start)
            file.seek(0)
            instance = dcmread(file, stop_before_pixels=True)
            for _ in instance.iterall():
                pass
            _check_identifiers(instance)
            instance.file_meta = _file_meta(instance)
    except _FAULTS as error:
        raise BrokenInstanceError(
            f"Expected a DICOM Part 10 instance, got a file that cannot be read ({type(error).__name__}); "
            "export it again."
        ) from None
    return instance


def parse_header(item: Mapping[str, Any]) -> Dataset:
    """Read attributes from untrusted DICOM JSON, without bulk data.

    An attribute that cannot be read is left out: one malformed value must not hide a whole series.

    References:
        DICOM PS3.18 F.2.
    """
    header = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag, element in item.items():
            try:
                header.update(Dataset.from_json({tag: element}, bulk_data_uri_handler=lambda _uri: b""))
            except _FAULTS:
                continue
    if "PixelData" in header:
        del header.PixelData
    return header


def encode_instance(instance: Dataset) -> bytes:
    """Write a dataset as Part 10, with the transfer syntax of its file_meta, else Explicit VR Little Endian.

    The same dataset gives the same bytes.

    Raises:
        BrokenInstanceError: A value, as it came from an archive, cannot be written.

    References:
        DICOM PS3.10 7.1.
    """
    written = shallow_copy(instance)
    meta = FileMetaDataset()
    meta.update(getattr(instance, "file_meta", {}))
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written.file_meta = meta
    buffer = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcmwrite(buffer, written, enforce_file_format=True)
    except _FAULTS as error:
        raise BrokenInstanceError(
            f"Instance {instance.get('SOPInstanceUID')} cannot be written as DICOM ({type(error).__name__}); "
            "check the values of its source."
        ) from None
    return buffer.getvalue()


def shallow_copy(instance: Dataset) -> Dataset:
    """A dataset of the same values: changing its attributes leaves the original alone, unlike with pydicom's own copy.

    Values that can be changed themselves, as the items of a sequence, are shared.
    """
    duplicate = Dataset()
    for element in instance:
        duplicate.add(copy.copy(element))
    return duplicate


def _check_not_deflated(data: bytes) -> None:
    # A few deflated kilobytes can inflate to gigabytes before a length is known; no archive stores MR so.
    stream = BytesIO(data)
    stream.seek(_PREAMBLE)
    if stream.read(4) != b"DICM":
        raise BrokenInstanceError(
            f"Expected a DICOM Part 10 instance, got {len(data)} bytes without the DICM prefix; "
            "check what the archive sends."
        )
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _FILE_META_GROUP,
    )
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise BrokenInstanceError(
            "A deflated instance is not read, because its size is unknown before it is inflated; "
            "have the archive send Explicit VR Little Endian."
        )


def _check_identifiers(instance: Dataset) -> None:
    for keyword in _IDENTIFIERS:
        value = instance.get(keyword)
        if not isinstance(value, str) or not is_uid(value):
            raise BrokenInstanceError(
                f"Expected {keyword} to be a UID, it is missing or malformed; repair the instance in the archive."
            )


def _file_meta(instance: Dataset) -> FileMetaDataset:
    """What of the file's own header is of use, and agrees with the instance."""
    syntax = instance.file_meta.get("TransferSyntaxUID")
    if not isinstance(syntax, str) or not is_uid(syntax) or instance.group_dataset(_FILE_META_GROUP):
        raise BrokenInstanceError(
            f"The file meta information of instance {instance.SOPInstanceUID} is malformed; "
            "retrieve it again from its source."
        )
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    return meta


def _check_pixel_length(instance: Dataset) -> None:
    transfer_syntax = instance.file_meta.TransferSyntaxUID
    if "PixelData" not in instance:
        return
    if transfer_syntax.is_encapsulated:
        if not instance.PixelData:
            raise BrokenInstanceError(
                f"Instance {instance.SOPInstanceUID} has empty pixel data; retrieve it again from its source."
            )
        return
    pixels = (
        instance.Rows * instance.Columns * instance.get("SamplesPerPixel", 1) * (instance.get("NumberOfFrames") or 1)
    )
    expected = (pixels * instance.BitsAllocated + 7) // 8
    if len(instance.PixelData) < expected:
        raise BrokenInstanceError(
            f"Instance {instance.SOPInstanceUID} is cut off: expected {expected} bytes of pixel data, "
            f"got {len(instance.PixelData)}; retrieve it again from its source."
        )
