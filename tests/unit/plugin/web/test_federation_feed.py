"""The feed: events as they come, from where a reader was, to few readers at once, and to nobody who is not known."""

import json
import threading
from dataclasses import replace

import pytest

from plugin.services.federation_desk import FederationDesk
from plugin.services.federation_runs import RunViews
from plugin.web import federation_feed
from tests.fakes.hospital import sign_in
from tests.fakes.run_events import append, run_events, write_run

PATH = "/api/federation/runs/run-1/events"
EVENTS = run_events(rounds=2, sites=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(federation_feed, "_LOOK_S", 0.01)
    monkeypatch.setattr(federation_feed, "_HEARTBEAT_S", 0.05)


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, EVENTS[:10])


@pytest.fixture
def client(app, folder):
    app.extensions["qfl"] = replace(app.extensions["qfl"], federation=FederationDesk(RunViews(folder.parents[1])))
    client = app.test_client()
    sign_in(client, "reader")
    return client


def follow(client, path=PATH, **headers):
    """Blocks of the feed, one at a time."""
    response = client.get(path, headers=headers, buffered=False)
    assert response.status_code == 200, response.text
    assert response.mimetype == "text/event-stream"
    return response, iter(response.response)


def told(block):
    text = block.decode() if isinstance(block, bytes) else block
    return dict(line.split(": ", 1) for line in text.strip().splitlines() if not line.startswith(":"))


def test_events_come_as_they_are_written_also_from_the_beginning(client, folder):
    response, blocks = follow(client)
    assert told(next(blocks)) == {"retry": "1000"}
    assert [json.loads(told(next(blocks))["data"]) for _ in range(10)] == EVENTS[:10]
    writer = threading.Timer(0.1, append, (folder, EVENTS[10:]))
    writer.start()
    late = [told(block) for block in blocks]
    writer.join()
    response.close()
    found = [json.loads(block["data"]) for block in late if "id" in block]
    assert found == EVENTS[10:]
    assert late[-1] == {"event": "end", "data": "{}"}, "the run is over, and a reader need not come back"


def test_a_torn_line_waits(client, folder):
    line = json.dumps(EVENTS[10])
    with (folder / "events.jsonl").open("a") as file:
        file.write(line[:25])
    response, blocks = follow(client, **{"Last-Event-ID": str(len(_head(folder)))})
    assert told(next(blocks)) == {"retry": "1000"}
    assert next(blocks) in {b": still here\n\n", ": still here\n\n"}
    with (folder / "events.jsonl").open("a") as file:
        file.write(line[25:] + "\n")
    assert json.loads(next(told(block)["data"] for block in blocks if told(block))) == EVENTS[10]
    response.close()


def _head(folder):
    content = (folder / "events.jsonl").read_bytes()
    return content[: content.rindex(b"\n") + 1]


@pytest.mark.parametrize("how", ["header", "argument"])
def test_a_reader_goes_on_where_it_was(client, how):
    response, blocks = follow(client)
    next(blocks)
    ids = [told(next(blocks))["id"] for _ in range(4)]
    response.close()
    headers = {"Last-Event-ID": ids[-1]} if how == "header" else {}
    response, blocks = follow(client, PATH if how == "header" else f"{PATH}?after={ids[-1]}", **headers)
    next(blocks)
    assert json.loads(told(next(blocks))["data"]) == EVENTS[4]
    response.close()


@pytest.mark.parametrize("where", ["-1", "7", "999999", "1e3", "²", "9" * 40, "x"])
def test_a_place_that_is_none_is_the_beginning(client, where):
    response, blocks = follow(client, f"{PATH}?after={where}")
    next(blocks)
    assert json.loads(told(next(blocks))["data"]) == EVENTS[0]
    response.close()


def test_a_quiet_run_is_alive_and_a_feed_ends_after_a_while(client, monkeypatch):
    monkeypatch.setattr(federation_feed, "FEED_S", 0.3)
    response, blocks = follow(client)
    found = list(blocks)
    response.close()
    assert sum(b": still here" in (block if isinstance(block, bytes) else block.encode()) for block in found) >= 2
    assert told(found[-1]).get("event") != "end", "it is the feed that ends, not the run"


def test_only_few_read_at_once_and_a_place_comes_back(client):
    responses = [client.get(PATH, buffered=False) for _ in range(federation_feed.MOST_FEEDS)]
    refused = client.get(PATH)
    assert refused.status_code == 503
    assert refused.json["error"]["code"] == "too-many-watchers"
    assert client.get("/federation/runs/run-1/live").status_code == 200, "the page asks by itself then"
    responses[0].close()
    responses[0].close()  # once more gives no second place
    again = client.get(PATH, buffered=False)
    assert again.status_code == 200
    assert client.get(PATH).status_code == 503
    for response in (*responses, again):
        response.close()
    assert client.head(PATH).status_code == 200
    response, _ = follow(client)
    response.close()


def test_programs_come_with_a_token_and_strangers_not_at_all(app, hospital, client):
    stranger = app.test_client()
    for path in (PATH, "/api/federation/runs", "/api/federation/runs/run-1"):
        assert stranger.get(path).status_code == 401
    token = {"Authorization": f"Bearer {hospital.token()}"}
    assert [run["run"] for run in stranger.get("/api/federation/runs", headers=token).json["runs"]] == ["run-1"]


def test_the_feed_is_kept_by_nobody(client):
    response, _ = follow(client)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    response.close()


def test_a_run_as_json_says_where_its_feed_goes_on(client, folder):
    found = client.get("/api/federation/runs/run-1").json
    assert (found["state"], found["rounds"], len(found["sites"])) == ("running", 2, 3)
    assert found["offset"] == (folder / "events.jsonl").stat().st_size


@pytest.mark.parametrize("path", ["/api/federation/runs/run-7", "/api/federation/runs/run-7/events"])
def test_another_run_is_not_found(client, path):
    assert client.get(path).status_code == 404


def test_without_a_coordinator_there_is_nothing(radiologist):
    assert radiologist.get("/api/federation/runs").status_code == 404
