"""Canonical bytes: one value, one text, whatever the order it was built in."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.canonical import canonical_bytes, digest
from governance.errors import NotCanonicalError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_the_digest_is_a_known_one() -> None:
    # printf '{"a":[1,"ö",null],"b":true}' | sha256sum
    expected = hashlib.sha256('{"a":[1,"ö",null],"b":true}'.encode()).hexdigest()
    assert digest({"b": True, "a": [1, "ö", None]}) == expected


@given(VALUES)
def test_bytes_are_json_of_the_same_value(value: object) -> None:
    assert json.loads(canonical_bytes(value)) == value  # type: ignore[arg-type]


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_bytes(value) == canonical_bytes(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [1.5, {"a": 1.0}, {1: "a"}, {"a"}, b"bytes", [object()]])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_bytes(value)  # type: ignore[arg-type]
