"""A file that grows is read line by line, each line once, also by a reader that comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.services import event_tail
from plugin.services.event_tail import EventTail

EVENTS = [{"event": "site", "number": number, "text": "ü" * number} for number in range(6)]
CONTENT = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in EVENTS)


@given(st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_it_does_not_matter_where_the_file_is_torn(tmp_path_factory, cuts):
    path = tmp_path_factory.mktemp("run") / "events.jsonl"
    tail, found, before = EventTail(path), [], 0
    for cut in [*sorted(cuts), len(CONTENT)]:
        with path.open("ab") as file:
            file.write(CONTENT[before:cut])
        before = cut
        found += tail.read()
    assert found == EVENTS
    assert tail.offset == len(CONTENT)


@pytest.mark.parametrize("first", range(len(EVENTS)))
def test_another_reader_goes_on_after_an_offset(tmp_path, first):
    path = tmp_path / "events.jsonl"
    path.write_bytes(CONTENT)
    offset, event = EventTail(path).lines()[first]
    assert event == EVENTS[first]
    assert EventTail(path, after=offset).read() == EVENTS[first + 1 :]


@pytest.mark.parametrize("after", [pytest.param(3, id="inside-a-line"), pytest.param(10**9, id="behind-the-end")])
def test_an_offset_of_another_file_begins_anew(tmp_path, after):
    path = tmp_path / "events.jsonl"
    path.write_bytes(CONTENT)
    assert EventTail(path, after=after).read() == EVENTS


def test_rubbish_is_passed_over_however_long(tmp_path, monkeypatch):
    monkeypatch.setattr(event_tail, "_CHUNK", 64)
    path = tmp_path / "events.jsonl"
    deep = b"[" * 30 + b"\n"
    path.write_bytes(b"x" * 500 + b"\n" + deep + b'[1]\n{"event": 3}\n{"event": "a"}\n')
    assert EventTail(path).read() == [{"event": "a"}]


def test_a_file_that_is_not_there_yet_has_nothing(tmp_path):
    tail = EventTail(tmp_path / "events.jsonl")
    assert tail.read() == []
    (tmp_path / "events.jsonl").write_bytes(CONTENT)
    assert tail.read() == EVENTS
