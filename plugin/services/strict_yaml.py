"""YAML that a person wrote, read with suspicion: one document of plain values, small, shallow, each key once."""

from typing import Any, Final

import yaml

from plugin.errors import SitePolicyError

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """The safe loader, which builds plain values only, without what lets a small file be large or mean two things."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases, which can grow without bound, and depth."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that comes twice: which of both is meant is not for a program to say."""
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name[:40]!r} comes twice", key.start_mark)
            seen.add(name)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def parse_yaml(data: bytes) -> dict[str, Any]:
    """Read a mapping.

    Raises:
        SitePolicyError: It is too large or deep, is not YAML, not one mapping, or has a key twice; says on which line.
    """
    if len(data) > MAX_BYTES:
        raise SitePolicyError(f"Expected at most {MAX_BYTES} bytes, got {len(data)}.")
    try:
        found = _StrictLoader(data.decode("utf-8")).get_single_data()
    except UnicodeDecodeError as fault:
        raise SitePolicyError("Expected a text in UTF-8, got other bytes.") from fault
    except yaml.MarkedYAMLError as fault:
        line = f"line {fault.problem_mark.line + 1}: " if fault.problem_mark else ""
        raise SitePolicyError(f"Expected YAML, but {line}{fault.problem}.") from fault
    except (yaml.YAMLError, ValueError) as fault:
        raise SitePolicyError(f"Expected YAML, got something else ({type(fault).__name__}).") from fault
    if not isinstance(found, dict):
        raise SitePolicyError("Expected the keys of a policy, got an empty file or another kind of value.")
    return found
