"""Archives behind DICOMweb.

References:
    DICOM PS3.18 10.4 (WADO-RS), 10.5 (STOW-RS), 10.6 (QIDO-RS).
"""

import json
import ssl
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
from pydicom.dataset import Dataset

from dicom_ingest.attributes import number, text
from dicom_ingest.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnavailableError,
    HostNotAllowedError,
    InstanceNotFoundError,
    SeriesNotFoundError,
    StudyNotFoundError,
    TooLargeError,
)
from dicom_ingest.instances import parse_header, parse_instance
from dicom_ingest.model import Series
from dicom_ingest.multipart import boundary_of, join_part, split_parts
from dicom_ingest.uids import is_uid

_DICOM = "application/dicom"
_DICOM_JSON = "application/dicom+json"
_DECODED = f'multipart/related; type="{_DICOM}"'
_AS_STORED = f"{_DECODED}; transfer-syntax=*"
_CANNOT_TRANSCODE = frozenset({406, 500, 501})
"""What archives answer that cannot decompress what they store."""

_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
_GONE = frozenset({404, 410})

# PS3.18 table 10.5.3-1 and PS3.4 CC.2.3: failure reasons.
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_DUPLICATE = 0x0111


@dataclass(frozen=True)
class Limits:
    """What an archive may take and send; bytes and seconds."""

    part_bytes: int = 256 * 2**20
    series_bytes: int = 4 * 2**30
    json_bytes: int = 64 * 2**20
    connect_s: float = 5.0
    read_s: float = 60.0
    series_s: float = 900.0


class BearerAuth(httpx.Auth):
    """A fixed bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token to each request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class DicomWebArchive:
    """One archive behind DICOMweb; implements ImageArchive."""

    def __init__(self, client: httpx.Client, base_url: str, auth: httpx.Auth | None, limits: Limits) -> None:
        """Keep the archive's address; nothing is contacted yet.

        Args:
            client: Follows no redirects.
            base_url: Without a trailing slash.
        """
        self._client = client
        self._base_url = base_url
        self._auth = auth
        self._limits = limits

    def list_series(self, study_instance_uid: str) -> Sequence[Series]:
        """See ImageArchive. The header of a series that is not MR holds what the archive lists of it."""
        missing = StudyNotFoundError(f"The archive has no study {study_instance_uid}.")
        study = f"/studies/{_checked(study_instance_uid)}"
        listed = self._search(f"{study}/series", missing)
        if not listed:
            raise missing
        return tuple(self._series(study, study_instance_uid, item) for item in listed)

    def fetch_instances(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[Dataset]:
        """See ImageArchive."""
        missing = SeriesNotFoundError(f"The archive has no series {series_instance_uid}.")
        path = f"/studies/{_checked(study_instance_uid)}/series/{_checked(series_instance_uid)}"
        count = 0
        for instance in self._retrieve(path, missing):
            if (instance.StudyInstanceUID, instance.SeriesInstanceUID) != (study_instance_uid, series_instance_uid):
                raise ArchiveRefusedError(
                    f"Asked for series {series_instance_uid}, the archive sent an instance of another series; "
                    "check the archive."
                )
            count += 1
            yield instance
        if not count:
            raise missing

    def store_instance(self, instance: bytes, study_instance_uid: str) -> None:
        """See ImageArchive. That the archive accepts an instance does not say that it keeps it: read it back."""
        body, content_type = join_part(instance, _DICOM)
        headers = {"Content-Type": content_type, "Accept": _DICOM_JSON}
        path = f"/studies/{_checked(study_instance_uid)}"
        with self._request("POST", path, headers=headers, content=body) as response:
            answer = self._read(response)
            # Archives answer 4xx though they stored, and 2xx though they did not: the body decides.
            is_stored, failures = _store_outcome(answer)
            for reason in failures:
                _raise_failure(reason, study_instance_uid)
            if not is_stored:
                _check_status(response, None)

    def fetch_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset:
        """See ImageArchive."""
        missing = InstanceNotFoundError(f"The archive has no instance {sop_instance_uid}.")
        path = (
            f"/studies/{_checked(study_instance_uid)}/series/{_checked(series_instance_uid)}"
            f"/instances/{_checked(sop_instance_uid)}"
        )
        for instance in self._retrieve(path, missing):
            if sop_instance_uid == instance.SOPInstanceUID:
                return instance
        raise missing

    def _series(self, study: str, study_instance_uid: str, listed: Dataset) -> Series:
        uid = text(listed, "SeriesInstanceUID")
        modality = text(listed, "Modality")
        missing = SeriesNotFoundError(f"The archive lists series {uid} but has no instance of it.")
        path = f"{study}/series/{_checked(uid)}"
        header, count = listed, number(listed, "NumberOfSeriesRelatedInstances")
        if count is None:
            count = len(self._search(f"{path}/instances", missing))
        if modality == "MR" and count:
            first = self._get_json(f"{path}/instances", missing, {"limit": "1"})
            sop_instance_uid = text(parse_header(first[0]), "SOPInstanceUID") if first else ""
            found = self._get_json(f"{path}/instances/{_checked(sop_instance_uid)}/metadata", missing)
            header = parse_header(found[0]) if found else listed
        return Series(study_instance_uid, uid, modality, int(count), header)

    def _search(self, path: str, missing: ArchiveError) -> list[Dataset]:
        """All matches of a search: an archive may stop at its own limit, so the rest is asked for until none is new.

        Returns:
            One header per UID, in the archive's order.
        """
        found: dict[tuple[str, str], Dataset] = {}
        while True:
            query = {"offset": str(len(found))} if found else None
            page = [parse_header(item) for item in self._get_json(path, missing, query)]
            fresh = {(text(each, "SeriesInstanceUID"), text(each, "SOPInstanceUID")): each for each in page}
            if found.keys() >= fresh.keys():
                return list(found.values())
            found |= fresh

    def _get_json(
        self, path: str, missing: ArchiveError, query: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        with self._request("GET", path, headers={"Accept": _DICOM_JSON}, params=query) as response:
            _check_status(response, missing)
            if response.status_code == httpx.codes.NO_CONTENT:
                return []
            answer = _parse_json(self._read(response))
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise ArchiveRefusedError(
                "Expected DICOM JSON from the archive, got something else; check the archive's address."
            )
        return answer

    def _retrieve(self, path: str, missing: ArchiveError) -> Iterator[Dataset]:
        with self._request("GET", path, headers=_retrieve_headers(_DECODED)) as response:
            if response.status_code not in _CANNOT_TRANSCODE:
                yield from self._instances(response, missing)
                return
        with self._request("GET", path, headers=_retrieve_headers(_AS_STORED)) as response:
            yield from self._instances(response, missing)

    def _instances(self, response: httpx.Response, missing: ArchiveError) -> Iterator[Dataset]:
        _check_status(response, missing)
        if response.status_code == httpx.codes.NO_CONTENT:
            raise missing
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            raise ArchiveUnavailableError("The archive sent only some of the instances.")
        chunks = _bounded(response, self._limits.series_bytes, self._limits.series_s)
        boundary = boundary_of(response.headers.get("Content-Type", ""))
        for part in split_parts(chunks, boundary, max_part_bytes=self._limits.part_bytes):
            yield parse_instance(part)

    def _read(self, response: httpx.Response) -> bytes:
        return b"".join(_bounded(response, self._limits.json_bytes, self._limits.series_s))

    @contextmanager
    def _request(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, self._base_url + path, auth=self._auth, **options) as response:
                yield response
        except httpx.HTTPError as error:
            raise ArchiveUnavailableError(
                f"The archive did not answer completely ({type(error).__name__}); it is tried again."
            ) from error


class DicomWebArchives:
    """The archives that the site allows; implements Archives."""

    def __init__(
        self,
        default_url: str,
        allowed: Mapping[str, httpx.Auth | None],
        limits: Limits | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Check the addresses; nothing is contacted yet.

        Args:
            default_url: The archive at None; below an allowed base URL.
            allowed: DICOMweb base URLs that may be contacted, with the credentials for each.
            transport: Instead of the network.

        Raises:
            HostNotAllowedError: A base URL is malformed, or the default is not below one.
        """
        self._limits = limits or Limits()
        self._allowed = {_parse_address(base_url): auth for base_url, auth in allowed.items()}
        self._default_url = default_url
        self._client = httpx.Client(
            follow_redirects=False,
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            # The machine's own certificates, a hospital's own authority among them.
            verify=ssl.create_default_context(),
            # Nothing in the environment sends images through a proxy or adds credentials.
            trust_env=False,
            transport=transport,
        )
        self.at(None)

    def at(self, address: str | None) -> DicomWebArchive:
        """See Archives."""
        wanted = _parse_address(self._default_url if address is None else address)
        bases = [base for base in self._allowed if wanted.is_below(base)]
        if not bases:
            raise HostNotAllowedError(
                f"Expected an archive below an allowed address, got {wanted.url}; "
                "if that is right, allow it in the settings."
            )
        nearest = max(bases, key=lambda base: len(base.path))
        return DicomWebArchive(self._client, wanted.url, self._allowed[nearest], self._limits)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@dataclass(frozen=True)
class _Address:
    scheme: str
    host: str
    port: int
    path: tuple[str, ...]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "/".join((f"{self.scheme}://{host}:{self.port}", *self.path))

    def is_below(self, base: "_Address") -> bool:
        same_server = (self.scheme, self.host, self.port) == (base.scheme, base.host, base.port)
        return same_server and self.path[: len(base.path)] == base.path


_PORTS = {"http": 80, "https": 443}


def _parse_address(address: str) -> _Address:
    """Read a base URL strictly: whatever two parsers could read differently is refused.

    Raises:
        HostNotAllowedError: It is not a plain http or https URL.
    """
    fault = HostNotAllowedError("Expected an archive address like https://host/dicom-web, got something else.")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise fault from error
    if parts.scheme not in _PORTS or not parts.hostname or not _is_plain(address, parts):
        raise fault
    path = tuple(segment for segment in parts.path.split("/") if segment)
    if any(segment in {".", ".."} for segment in path):
        raise fault
    return _Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def _is_plain(address: str, parts: SplitResult) -> bool:
    odd = any(character in address for character in "\\%@?#") or not address.isascii() or not address.isprintable()
    return not odd and " " not in address and parts.username is None


def _checked(uid: str) -> str:
    if not is_uid(uid):
        raise ArchiveRefusedError("Expected a UID, got something else; nothing was asked of the archive.")
    return uid


def _retrieve_headers(accept: str) -> dict[str, str]:
    return {"Accept": accept, "Accept-Encoding": "identity"}


def _check_status(response: httpx.Response, missing: ArchiveError | None) -> None:
    status = response.status_code
    if response.is_success:
        return
    if missing and status in _GONE:
        raise missing
    if response.is_server_error or status in _WORTH_ANOTHER_TRY:
        raise ArchiveUnavailableError(f"The archive answered {status}; it is tried again.")
    if response.has_redirect_location:
        raise ArchiveRefusedError(f"The archive answered {status}, a redirect, which is not followed; set its address.")
    if status in {401, 403}:
        raise ArchiveRefusedError(f"The archive answered {status}; check the credentials and their rights.")
    raise ArchiveRefusedError(f"The archive answered {status}; check its address and what it supports.")


def _bounded(response: httpx.Response, limit_bytes: int, limit_s: float) -> Iterator[bytes]:
    received, deadline = 0, time.monotonic() + limit_s
    for chunk in response.iter_bytes():
        received += len(chunk)
        if received > limit_bytes:
            raise TooLargeError(f"Expected at most {limit_bytes} bytes from the archive, more came.")
        if time.monotonic() > deadline:
            raise ArchiveUnavailableError(f"The archive took longer than {limit_s:g} s to answer.")
        yield chunk


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _store_outcome(answer: bytes) -> tuple[bool, list[int]]:
    """Whether an instance is named as stored, and the failure reasons of those that are not."""
    parsed = _parse_json(answer)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return False, []
    outcome = parse_header(parsed)
    failed: Sequence[Dataset] = outcome.get("FailedSOPSequence") or ()
    reasons = [int(number(item, "FailureReason") or 0) for item in failed]
    # Storing the same instance again is harmless.
    is_stored = bool(outcome.get("ReferencedSOPSequence")) or _DUPLICATE in reasons
    return is_stored, [reason for reason in reasons if reason != _DUPLICATE]


def _raise_failure(reason: int, study_instance_uid: str) -> None:
    message = f"The archive did not store an instance of study {study_instance_uid}: failure reason {reason:04X}H"
    if reason in _OUT_OF_RESOURCES:
        raise ArchiveUnavailableError(f"{message}, out of resources; it is tried again.")
    raise ArchiveRefusedError(f"{message}; see the archive's log.")
