"""Lines that a killed writer left half do not spoil the next one."""

import json

from plugin.adapters.line_file import LineFile, LineRecorder


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_appended(tmp_path):
    path = tmp_path / "events.jsonl"
    LineFile(path, durable=False).write({"n": 1})
    LineFile(path, durable=True).write({"n": 2})
    assert read(path) == [{"n": 1}, {"n": 2}]


def test_a_half_line_is_ended_first(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"n": 1}\n{"n"')
    file = LineFile(path, durable=False)
    file.write({"n": 2})
    file.write({"n": 3})
    assert path.read_text() == '{"n": 1}\n{"n"\n{"n": 2}\n{"n": 3}\n'


def test_records_have_their_time(tmp_path):
    path = tmp_path / "records.jsonl"
    LineRecorder(path).record("aggregate", {"round": 1})
    (found,) = read(path)
    assert found.pop("at").endswith("+00:00")
    assert found == {"event": "aggregate", "round": 1}
