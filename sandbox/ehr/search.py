"""Search: parameters in, matching resources out (http://hl7.org/fhir/R4/search.html)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.ehr.definitions import PARAMETERS, SearchParameter, parameters_of
from sandbox.ehr.errors import FhirError
from sandbox.ehr.search_values import MATCHERS
from sandbox.ehr.store import Resource, Store, StoredVersion

Criteria = Sequence[tuple[str, str]]

DEFAULT_COUNT = 50
MAX_COUNT = 500
RESULT_PARAMETERS = frozenset(
    {"_count", "_offset", "_sort", "_include", "_summary", "_total", "_format", "_pretty", "_elements"}
)
_MODIFIERS = frozenset({"exact", "contains", "not", "missing"})


@dataclass(frozen=True)
class Page:
    """One page of a search.

    Attributes:
        next_offset: Where the next page begins, None on the last.
    """

    total: int
    matches: tuple[StoredVersion, ...]
    included: tuple[StoredVersion, ...]
    next_offset: int | None


def values_at(element: Any, path: str) -> Iterator[Any]:
    """Every value at a dotted path, through lists."""
    if isinstance(element, list):
        for item in element:
            yield from values_at(item, path)
        return
    if not path:
        yield element
        return
    name, _, rest = path.partition(".")
    if isinstance(element, dict) and name in element:
        yield from values_at(element[name], rest)


class Search:
    """Searches one store.

    Args:
        store: Where the resources are.
        base_url: The server's own, so that absolute references to it are recognised.
    """

    def __init__(self, store: Store, base_url: str) -> None:
        self._store = store
        self._base_url = base_url

    def find(self, resource_type: str, criteria: Criteria) -> list[StoredVersion]:
        """All matches, the newest first.

        Raises:
            FhirError: 400 for a parameter or value that this server does not understand: nothing is ignored.
        """
        conditions = [(name, value) for name, value in criteria if name not in RESULT_PARAMETERS]
        for name, _ in conditions:
            _resolve(resource_type, name)
        candidates = self._store.all_of(resource_type)
        return [stored for stored in candidates if stored.resource and self.matches(stored.resource, conditions)]

    def matches(self, resource: Resource, conditions: Criteria) -> bool:
        """Whether a resource meets all conditions."""
        return all(self._meets(resource, name, value) for name, value in conditions)

    def _meets(self, resource: Resource, name: str, value: str) -> bool:
        parameter, modifier, chained = _resolve(resource["resourceType"], name)
        present = [item for path in parameter.paths for item in values_at(resource, path)]
        if chained:
            return any(self._meets_chain(item, modifier, chained, value) for item in present)
        if modifier == "missing":
            return bool(present) != (value == "true")
        alternatives = [part for part in value.split(",") if part]
        found = any(self._matches_value(parameter, modifier, item, asked) for item in present for asked in alternatives)
        return found != (modifier == "not")

    def _matches_value(self, parameter: SearchParameter, modifier: str, item: Any, asked: str) -> bool:
        if modifier == "exact":
            return bool(item == asked)
        if modifier == "contains":
            return isinstance(item, str) and asked.casefold() in item.casefold()
        return MATCHERS[parameter.kind](item, asked, self._base_url)

    def _meets_chain(self, item: Any, target_type: str, chained: str, value: str) -> bool:
        reference = item.get("reference", "") if isinstance(item, dict) else ""
        resource_type, _, resource_id = reference.removeprefix(self._base_url + "/").partition("/")
        if resource_type not in PARAMETERS or (target_type and resource_type != target_type):
            return False
        stored = self._store.current(resource_type, resource_id)
        return stored is not None and stored.resource is not None and self._meets(stored.resource, chained, value)

    def page(self, resource_type: str, criteria: Criteria) -> Page:
        """One page of matches, sorted, with what _include asks for."""
        options = dict(criteria)
        count = min(_number(options, "_count", DEFAULT_COUNT), MAX_COUNT)
        offset = _number(options, "_offset", 0)
        matches = self._sorted(resource_type, self.find(resource_type, criteria), options.get("_sort"))
        if options.get("_summary") == "count":
            return Page(len(matches), (), (), None)
        shown = tuple(matches[offset : offset + count])
        includes = [value for name, value in criteria if name == "_include"]
        end = offset + count
        has_more = count > 0 and end < len(matches)
        return Page(len(matches), shown, self._included(shown, includes), end if has_more else None)

    def _sorted(self, resource_type: str, matches: list[StoredVersion], sort: str | None) -> list[StoredVersion]:
        for rule in reversed((sort or "").split(",")):
            if not rule:
                continue
            paths = _resolve(resource_type, rule.removeprefix("-"))[0].paths

            def key(stored: StoredVersion, paths: tuple[str, ...] = paths) -> str:
                return next((str(value) for path in paths for value in values_at(stored.resource, path)), "")

            matches = sorted(matches, key=key, reverse=rule.startswith("-"))
        return matches

    def _included(self, matches: Sequence[StoredVersion], includes: Sequence[str]) -> tuple[StoredVersion, ...]:
        found: dict[str, StoredVersion] = {}
        for include in includes:
            source_type, _, name = include.partition(":")
            if source_type not in PARAMETERS:
                raise FhirError(400, "value", f"expected _include=Type:parameter, got {include!r}")
            parameter = _resolve(source_type, name.split(":")[0])[0]
            for reference in (
                item.get("reference", "")
                for stored in matches
                for path in parameter.paths
                for item in values_at(stored.resource, path)
                if isinstance(item, dict)
            ):
                resource_type, _, resource_id = reference.removeprefix(self._base_url + "/").partition("/")
                stored_target = self._store.current(resource_type, resource_id)
                if stored_target is not None and stored_target.resource is not None:
                    found[stored_target.reference] = stored_target
        return tuple(found.values())


def _resolve(resource_type: str, name: str) -> tuple[SearchParameter, str, str]:
    """Split a parameter name into its definition, its modifier or target type, and what is chained behind it."""
    head, _, chained = name.partition(".")
    base, _, modifier = head.partition(":")
    parameter = parameters_of(resource_type).get(base)
    if parameter is None:
        known = ", ".join(sorted(parameters_of(resource_type)))
        raise FhirError(400, "not-supported", f"{resource_type} has no search parameter {base!r}; known: {known}")
    is_type = parameter.kind == "reference" and modifier in PARAMETERS
    if modifier and not is_type and modifier not in _MODIFIERS:
        raise FhirError(400, "not-supported", f"search modifier {modifier!r} is not supported")
    if chained and parameter.kind != "reference":
        raise FhirError(400, "not-supported", f"only references can be chained, {base!r} is a {parameter.kind}")
    return parameter, modifier, chained


def _number(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal():
        raise FhirError(400, "value", f"expected a number for {name}, got {text!r}")
    return int(text)
