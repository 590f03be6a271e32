"""A FHIR server over REST with JSON (R4 http.html)."""

import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from fhir_adapter.adapters.outcomes import error_for, status_code
from fhir_adapter.elements import Element
from fhir_adapter.errors import (
    FhirRefusedError,
    FhirTooLargeError,
    FhirUnavailableError,
    MalformedResourceError,
)
from fhir_adapter.ports import Resource
from fhir_adapter.references import parse_reference

_FHIR_JSON: Final = "application/fhir+json"
_JSON_TYPES = {_FHIR_JSON, "application/json", "text/json"}
_PAGE_SIZE = 100
_MOST_PAGES = 100
_RESOURCE_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
# Type/id/$operation?name=value: no scheme, no host, no way up.
_OPERATION = re.compile(r"(?:[A-Z][A-Za-z]+/)?(?:[A-Za-z0-9\-]{1,64}/)?(?:\$[a-z\-]+|metadata)(?:\?[\w\-=&%.$:|,+]*)?")


class FhirRestStore:
    """A FhirStore on a FHIR server.

    Only URLs below the base are ever asked, whatever a resource or an answer says, and redirects are not followed: the
    site's token goes to the site's server alone. The environment's proxy settings are not used. Threads may share it.
    """

    def __init__(
        self,
        base_url: str,
        auth: httpx.Auth | None = None,
        *,
        timeout_s: float = 30.0,
        max_bytes: int = 50_000_000,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            base_url: Of the FHIR API, without a query.
            auth: Adds the credentials to each request, e.g. httpx.BasicAuth.
            timeout_s: For connecting, and for each wait for data.
            max_bytes: The largest answer that is taken.
            transport: In place of a plain HTTP one, e.g. to trust the hospital's own certificate authority.

        Raises:
            ValueError: The base is not an http(s) URL, or carries a user, a query or a fragment.
        """
        base = httpx.URL(base_url)
        if base.scheme not in {"http", "https"} or not base.host or base.userinfo or base.query or base.fragment:
            raise ValueError("Expected the http(s) URL of a FHIR API without user, query and fragment.")
        self._base = str(base).rstrip("/")
        self._max_bytes = max_bytes
        self._client = httpx.Client(
            auth=auth,
            timeout=timeout_s,
            transport=transport,
            # The machine's own certificates, a hospital's own authority among them.
            verify=ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            # An encoded answer could be small on the wire and huge in memory.
            headers={"Accept": _FHIR_JSON, "Accept-Encoding": "identity", "Prefer": "return=representation"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(self, reference: str) -> Resource:
        """See FhirStore."""
        url = self._url_of(reference)
        resource = self._json("GET", url)
        if resource["resourceType"] != url.removeprefix(f"{self._base}/").partition("/")[0]:
            raise FhirRefusedError("Expected the resource that was asked for, got one of another type.")
        return resource

    def search(self, resource_type: str, parameters: Mapping[str, str], *, limit: int = 200) -> Sequence[Resource]:
        """See FhirStore. The parameters travel in the body: they may name a patient, and URLs end up in logs."""
        if not _RESOURCE_TYPE.fullmatch(resource_type):
            raise FhirRefusedError("Expected a FHIR resource type to search for, got another text.")
        form = {"_count": str(min(limit, _PAGE_SIZE)), **parameters}
        found: list[Resource] = []
        for page in self._pages(f"{self._base}/{resource_type}/_search", form):
            found += [resource for resource in _matches(page) if resource.get("resourceType") == resource_type]
            if len(found) >= limit:
                break
        return found[:limit]

    def create(self, resource: Resource) -> Resource:
        """See FhirStore."""
        return self._written("POST", f"{self._base}/{resource['resourceType']}", resource)

    def update(self, resource: Resource, *, if_match: str | None = None) -> Resource:
        """See FhirStore."""
        url = self._url_of(f"{resource['resourceType']}/{resource['id']}")
        return self._written("PUT", url, resource, {"If-Match": f'W/"{if_match}"'} if if_match else {})

    def delete(self, reference: str) -> None:
        """See FhirStore."""
        self._send("DELETE", self._url_of(reference))

    def transact(self, bundle: Resource) -> Resource:
        """See FhirStore. A server that answers 200 although an entry failed is not believed."""
        answer = self._json("POST", self._base, content=bundle)
        try:
            entries = Element.of(answer, "answer").children("entry")
            responses = [response for entry in entries if (response := entry.child("response"))]
            statuses = [(response.required_text("status")[:3], response) for response in responses]
        except MalformedResourceError as error:
            raise FhirRefusedError(f"Expected a transaction-response Bundle. {error}") from error
        if len(statuses) != len(bundle["entry"]):
            raise FhirRefusedError(f"Expected {len(bundle['entry'])} answers to the transaction, got {len(statuses)}.")
        for index, (status, response) in enumerate(statuses):
            if not status.startswith("2"):
                outcome = response.fields.get("outcome")
                raise error_for(status_code(status), f"transaction entry {index}", outcome, {})
        return answer

    def operation(self, path: str) -> Resource:
        """See FhirStore."""
        if not _OPERATION.fullmatch(path):
            raise FhirRefusedError('Expected an operation like "Subscription/1/$status", got another path.')
        return self._json("GET", f"{self._base}/{path}")

    def _url_of(self, reference: str) -> str:
        parsed = parse_reference(reference)
        if parsed is None:
            raise FhirRefusedError('Expected a reference "Type/id", or a URL below the FHIR server, got another text.')
        if parsed.base is not None and parsed.base.rstrip("/") != self._base:
            raise FhirRefusedError(
                f"Expected a reference below {self._base}, got one to another server, which is not contacted. Check "
                "the configured base URL of the FHIR server."
            )
        version = f"/_history/{parsed.version}" if parsed.version else ""
        return f"{self._base}/{parsed.local}{version}"

    def _pages(self, url: str, form: Mapping[str, str]) -> Iterator[Resource]:
        try:
            page = self._json("POST", url, form=form)
        except FhirRefusedError as error:
            if error.status != httpx.codes.METHOD_NOT_ALLOWED:
                raise
            # R4 search.html#3.1.1.1 lets a server offer only one of both ways.
            page = self._json("GET", f"{url.removesuffix('/_search')}?{httpx.QueryParams(form)}")
        yield page
        for _ in range(_MOST_PAGES):
            following = self._next_url(page)
            if following is None:
                return
            page = self._json("GET", following)
            yield page
        raise FhirTooLargeError(f"Expected at most {_MOST_PAGES} pages of search results, got more.")

    def _next_url(self, page: Resource) -> str | None:
        for link in _children(page, "link"):
            if link.get("relation") == "next":
                return self._below_base(str(link.get("url")))
        return None

    def _below_base(self, link: str) -> str:
        """Resolve a link of the server, which may be relative."""
        try:
            url = str(httpx.URL(f"{self._base}/").join(link))
        except httpx.InvalidURL as error:
            raise FhirRefusedError("Expected a link to a URL, got another text.") from error
        if url != self._base and not url.startswith((f"{self._base}/", f"{self._base}?")):
            raise FhirRefusedError(
                f"Expected a link below {self._base}, got one to another server, which is not contacted. Check the "
                "base URL that the FHIR server gives itself."
            )
        return url

    def _written(self, method: str, url: str, resource: Resource, headers: Mapping[str, str] | None = None) -> Resource:
        """Create or update; a server that gives no representation is asked for it."""
        response, body = self._send(method, url, content=resource, headers=headers)
        if body:
            return _resource(response, body)
        location = self._below_base(response.headers.get("Location", url))
        return self.read(location.partition("/_history/")[0])

    def _json(
        self, method: str, url: str, *, content: Resource | None = None, form: Mapping[str, str] | None = None
    ) -> Resource:
        response, body = self._send(method, url, content=content, form=form)
        return _resource(response, body)

    def _send(
        self,
        method: str,
        url: str,
        *,
        content: Resource | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Response, bytes]:
        written = json.dumps(content, ensure_ascii=False, allow_nan=False).encode() if content is not None else None
        sent = {**(headers or {}), **({"Content-Type": _FHIR_JSON} if written else {})}
        what = f"{method} {_without_ids(url.removeprefix(self._base))}"
        try:
            with self._client.stream(method, url, content=written, data=form, headers=sent) as response:
                body = self._limited(response, what)
        except httpx.RequestError as error:
            raise FhirUnavailableError(
                f"{what}: no answer from the FHIR server ({type(error).__name__}). Check that it runs and is reachable."
            ) from error
        if not response.is_success:
            raise error_for(response.status_code, what, _parsed(body), response.headers)
        return response, body

    def _limited(self, response: httpx.Response, what: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._max_bytes:
                raise FhirTooLargeError(f"{what}: expected at most {self._max_bytes} bytes, got more.")
        return bytes(body)


def _resource(response: httpx.Response, body: bytes) -> Resource:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    parsed = _parsed(body)
    if media_type not in _JSON_TYPES or not isinstance(parsed, dict) or "resourceType" not in parsed:
        raise FhirRefusedError(
            f"Expected a FHIR resource as JSON, got {len(body)} bytes of {media_type[:60] or 'no type'}. Is the base "
            "URL that of the FHIR API?"
        )
    return parsed


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _matches(page: Resource) -> list[Resource]:
    """The matches of a searchset, without what was included with them."""
    matches = []
    for entry in _children(page, "entry"):
        search = entry.get("search")
        mode = search.get("mode", "match") if isinstance(search, dict) else "match"
        if mode == "match" and isinstance(entry.get("resource"), dict):
            matches.append(entry["resource"])
    return matches


def _children(page: Resource, name: str) -> list[Resource]:
    try:
        return [child.fields for child in Element.of(page, "Bundle").children(name)]
    except MalformedResourceError as error:
        raise FhirRefusedError(f"Expected a searchset Bundle. {error}") from error


def _without_ids(path: str) -> str:
    """The path as it may stand in an error message: types stay, ids and queries go."""
    return (
        re.sub(r"/(?![A-Z][A-Za-z]+(?:/|$)|_search|\$|metadata|_history)[^/]+", "/...", path.partition("?")[0]) or "/"
    )
