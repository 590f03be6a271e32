"""A FHIR server in memory, as far as FhirStore's callers use one."""

import copy
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from fhir_adapter.errors import FhirConflictError, FhirNotFoundError, FhirRefusedError, FhirServerError
from fhir_adapter.ports import Resource

_REFERENCE = re.compile(r"([A-Z][A-Za-z]+)/(?!\.+$)([A-Za-z0-9\-.]{1,64})")
_REFERENCE_ELEMENTS = {"patient": ("subject", "patient"), "subject": ("subject",), "target": ("target",)}


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryFhirStore:
    """Keeps resources, counts versions, honours conditional requests, and can be told to fail.

    Attributes:
        requests: What was asked, in order: ("search", "ImagingStudy"), ("update", "Patient/1"), ...
        operations: Canned answers of operation(), by path.
    """

    def __init__(
        self,
        resources: Sequence[Resource] = (),
        *,
        base_url: str = "https://ehr.test/fhir",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.requests: list[tuple[str, str]] = []
        self.operations: dict[str, Resource] = {}
        self._clock = clock
        self._ids = itertools.count(1)
        self._stored: dict[tuple[str, str], Resource] = {}
        self._failures: list[FhirServerError] = []
        for resource in resources:
            self._put(copy.deepcopy(resource))

    # What a test arranges and looks at

    def fail_next(self, error: FhirServerError, *, times: int = 1) -> None:
        """Raise this error instead of answering the next requests."""
        self._failures.extend([error] * times)

    def all(self, resource_type: str) -> list[Resource]:
        """Every stored resource of a type, in the order of creation."""
        return [copy.deepcopy(stored) for (kind, _), stored in self._stored.items() if kind == resource_type]

    # FhirStore

    def read(self, reference: str) -> Resource:
        """See FhirStore."""
        self._asked("read", reference)
        return copy.deepcopy(self._existing(*self._split(reference)))

    def search(self, resource_type: str, parameters: Mapping[str, str], *, limit: int = 200) -> Sequence[Resource]:
        """See FhirStore."""
        self._asked("search", resource_type)
        return [copy.deepcopy(found) for found in self._matches(resource_type, parameters)][:limit]

    def create(self, resource: Resource) -> Resource:
        """See FhirStore."""
        self._asked("create", resource["resourceType"])
        return copy.deepcopy(self._put({**copy.deepcopy(resource), "id": str(next(self._ids))}))

    def update(self, resource: Resource, *, if_match: str | None = None) -> Resource:
        """See FhirStore."""
        self._asked("update", f"{resource['resourceType']}/{resource['id']}")
        self._check_version(resource["resourceType"], resource["id"], if_match)
        return copy.deepcopy(self._put(copy.deepcopy(resource)))

    def delete(self, reference: str) -> None:
        """See FhirStore."""
        self._asked("delete", reference)
        key = self._split(reference)
        self._existing(*key)
        del self._stored[key]

    def transact(self, bundle: Resource) -> Resource:
        """See FhirStore."""
        self._asked("transact", "")
        if bundle.get("type") != "transaction":
            raise FhirRefusedError(f"Expected a Bundle of type transaction, got {bundle.get('type')!r}.")
        with self._all_or_nothing():
            return self._transact(copy.deepcopy(bundle["entry"]))

    def operation(self, path: str) -> Resource:
        """See FhirStore."""
        self._asked("operation", path)
        if path not in self.operations:
            raise FhirNotFoundError(f"This server has no operation {path}.")
        return copy.deepcopy(self.operations[path])

    # How it does it

    def _asked(self, kind: str, what: str) -> None:
        self.requests.append((kind, what))
        if self._failures:
            raise self._failures.pop(0)

    def _split(self, reference: str) -> tuple[str, str]:
        match = _REFERENCE.fullmatch(reference.removeprefix(f"{self.base_url}/"))
        if match is None:
            raise FhirRefusedError(f'Expected "Type/id" or a URL below {self.base_url}, got another reference.')
        return match[1], match[2]

    def _existing(self, resource_type: str, resource_id: str) -> Resource:
        try:
            return self._stored[resource_type, resource_id]
        except KeyError:
            raise FhirNotFoundError(f"There is no {resource_type}/{resource_id}.") from None

    def _check_version(self, resource_type: str, resource_id: str, if_match: str | None) -> None:
        if if_match is None:
            return
        current = self._existing(resource_type, resource_id)["meta"]["versionId"]
        if current != if_match:
            raise FhirConflictError(f"{resource_type}/{resource_id} is at version {current}, not {if_match}.")

    def _put(self, resource: Resource) -> Resource:
        key = resource["resourceType"], resource["id"]
        version = int(self._stored[key]["meta"]["versionId"]) + 1 if key in self._stored else 1
        stamp = {"versionId": str(version), "lastUpdated": self._clock().isoformat(timespec="milliseconds")}
        resource["meta"] = {**resource.get("meta", {}), **stamp}
        self._stored[key] = resource
        return resource

    def _matches(self, resource_type: str, parameters: Mapping[str, str]) -> Iterator[Resource]:
        for (kind, _), resource in self._stored.items():
            if kind == resource_type and all(self._fits(resource, *item) for item in parameters.items()):
                yield resource

    def _fits(self, resource: Resource, name: str, value: str) -> bool:
        wanted = value.split(",")
        match name:
            case "_count" | "_sort":
                return True
            case "_id":
                return resource["id"] in wanted
            case "identifier":
                held = resource.get("identifier", [])
                tokens = [(i.get("system"), i.get("value")) for i in (held if isinstance(held, list) else [held])]
                return any(_token_fits(token, tokens) for token in wanted)
            case "_tag":
                tags = [(tag.get("system"), tag.get("code")) for tag in resource["meta"].get("tag", [])]
                return any(_token_fits(token, tags) for token in wanted)
            case "status":
                return resource.get("status") in wanted
            case "_lastUpdated" if value.startswith("ge"):
                return datetime.fromisoformat(resource["meta"]["lastUpdated"]) >= datetime.fromisoformat(value[2:])
            case "patient" | "subject" | "target":
                return any(_reference_fits(one, held) for one in wanted for held in _references(resource, name))
        raise FhirRefusedError(f"This server does not know the search parameter {name}={value[:2]}...")

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        before = copy.deepcopy(self._stored)
        try:
            yield
        except FhirServerError:
            self._stored = before
            raise

    def _transact(self, entries: list[Resource]) -> Resource:
        resolved: dict[str, str] = {}
        found: dict[int, Resource] = {}
        for index, entry in enumerate(entries):
            if entry["request"]["method"] == "POST":
                existing = self._one_existing(entry)
                if existing:
                    found[index] = existing
                else:
                    entry["resource"]["id"] = str(next(self._ids))
                target = existing or entry["resource"]
                resolved[entry.get("fullUrl", "")] = f"{target['resourceType']}/{target['id']}"
            elif entry["request"]["method"] == "PUT":
                resolved[entry.get("fullUrl", "")] = entry["request"]["url"]
        answers = [
            self._answer(found[index], 200) if index in found else self._apply(_rewritten(entry, resolved))
            for index, entry in enumerate(entries)
        ]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _one_existing(self, entry: Resource) -> Resource | None:
        condition = entry["request"].get("ifNoneExist")
        if condition is None:
            return None
        matches = list(self._matches(entry["request"]["url"], dict(parse_qsl(condition, strict_parsing=True))))
        if len(matches) > 1:
            raise FhirConflictError(f"{len(matches)} resources match {entry['request']['url']}'s ifNoneExist.")
        return matches[0] if matches else None

    def _apply(self, entry: Resource) -> Resource:
        request = entry["request"]
        match request["method"]:
            case "POST":
                return self._answer(self._put(entry["resource"]), 201)
            case "PUT":
                key = self._split(request["url"])
                if (entry["resource"]["resourceType"], entry["resource"]["id"]) != key:
                    raise FhirRefusedError(f"The resource at {request['url']} has another type or id.")
                if_match = request.get("ifMatch")
                self._check_version(*key, if_match.removeprefix('W/"').removesuffix('"') if if_match else None)
                return self._answer(self._put(entry["resource"]), 200)
            case method:
                raise FhirRefusedError(f"This server does not take {method} in a transaction.")

    def _answer(self, resource: Resource, status: int) -> Resource:
        version = resource["meta"]["versionId"]
        location = f"{resource['resourceType']}/{resource['id']}/_history/{version}"
        return {"response": {"status": str(status), "location": location, "etag": f'W/"{version}"'}}


def _token_fits(token: str, held: Sequence[tuple[str | None, str | None]]) -> bool:
    system, bar, value = token.rpartition("|")
    return any(value == code and (not bar or (system or None) == of) for of, code in held)


def _references(resource: Resource, name: str) -> Iterator[str]:
    for element in _REFERENCE_ELEMENTS[name]:
        held = resource.get(element, {})
        yield from (one.get("reference", "") for one in (held if isinstance(held, list) else [held]))


def _reference_fits(wanted: str, held: str) -> bool:
    return held == wanted or (held.endswith(f"/{wanted}") and "/" not in wanted)


def _rewritten(value: object, resolved: Mapping[str, str]) -> object:
    """Replace urn:uuid references by what they became, everywhere in an entry (R4 http.html#trules)."""
    if isinstance(value, dict):
        return {name: _rewritten(item, resolved) for name, item in value.items()}
    if isinstance(value, list):
        return [_rewritten(item, resolved) for item in value]
    if isinstance(value, str) and value.startswith("urn:uuid:"):
        return resolved.get(value, value)
    return value
