import pytest

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError


def test_reads_what_is_there_and_none_for_what_is_not():
    element = Element.of({"a": "x", "n": "12", "m": 3, "o": {"reference": "Patient/1"}, "l": [{}, {}]}, "R")

    assert element.text("a") == "x"
    assert element.count("n") == 12
    assert element.count("m") == 3
    assert element.reference("o") == "Patient/1"
    assert len(element.children("l")) == 2
    assert element.text("z") is None
    assert element.count("z") is None
    assert element.child("z") is None
    assert element.children("z") == ()
    assert element.reference("z") is None


@pytest.mark.parametrize(
    ("read", "place"),
    [
        pytest.param(lambda e: e.text("number"), "R.number", id="number-for-text"),
        pytest.param(lambda e: e.text("empty"), "R.empty", id="empty-text"),
        pytest.param(lambda e: e.text("nul"), "R.nul", id="control-character"),
        pytest.param(lambda e: e.text("surrogate"), "R.surrogate", id="lone-surrogate"),
        pytest.param(lambda e: e.count("flag"), "R.flag", id="boolean-for-number"),
        pytest.param(lambda e: e.count("negative"), "R.negative", id="negative-number"),
        pytest.param(lambda e: e.count("huge"), "R.huge", id="number-beyond-64-bits"),
        pytest.param(lambda e: e.child("number"), "R.number", id="number-for-object"),
        pytest.param(lambda e: e.children("object"), "R.object", id="object-for-list"),
        pytest.param(lambda e: e.children("list"), "R.list[1]", id="number-in-list-of-objects"),
        pytest.param(lambda e: e.required_text("absent"), "R.absent", id="nothing"),
    ],
)
def test_names_the_place_of_what_is_wrong(read, place: str):
    fields = {
        "number": 1,
        "empty": "",
        "nul": "a\x00b",
        "surrogate": "\ud800",
        "flag": True,
        "negative": -1,
        "huge": 2**63,
        "object": {},
        "list": [{}, 2],
    }

    with pytest.raises(MalformedResourceError) as raised:
        read(Element.of(fields, "R"))

    assert str(raised.value).startswith(f"{place}:")


def test_message_does_not_repeat_the_value():
    with pytest.raises(MalformedResourceError) as raised:
        Element.of({"name": "Jane\x00Doe"}, "Patient").text("name")

    assert "Jane" not in str(raised.value)


@pytest.mark.parametrize(
    "value", [{"code": "MR"}, {"coding": [{"code": "MR"}, {"code": "CT"}]}], ids=["coding-of-r4", "concept-of-r5"]
)
def test_reads_a_code_of_either_version(value: dict[str, object]):
    assert Element.of({"modality": value}, "R").code("modality") == "MR"
