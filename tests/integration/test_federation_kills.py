"""kill -9 in the middle of a round: no finished round is lost, no budget leaks, nothing leaves twice in two forms.

One federation of three hospitals runs through the whole module, over a real Redis; each test kills something in it.
"""

import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers.debian import require_debian
from tests.servers.federation import RunningFederation
from tests.servers.processes import free_port, stop, wait_until

SITES = ("site-01", "site-02", "site-03")
OPTIONS = ("--sites", "3", "--rounds", "100", "--steps", "4", "--cases", "5")
START_S, ROUND_S = 240, 180
"""Longest waits, on a machine that does much else."""
pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


class Redis:
    """A broker that forgets everything when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._command = [require_debian("redis-server", "redis-server"), "--port", str(self.port)]
        self._command += ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--dir", str(folder)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    found = Redis(tmp_path_factory.mktemp("redis"))
    yield found
    stop(found.process)


@pytest.fixture(scope="module")
def federation(tmp_path_factory, redis):
    folder = tmp_path_factory.mktemp("kills") / "federation"
    found = RunningFederation(folder, *OPTIONS, "--broker", f"redis://127.0.0.1:{redis.port}")
    try:
        found.wait_for(found.finished, START_S)
        yield found
    finally:
        found.stop()
        found.kill()


def in_the_middle(federation):
    """Wait until every site is at work, and none is done, in a round that begins after now; gives its number."""
    last = federation.events("round-started")[-1]["round"]

    def at_work():
        number = federation.events("round-started")[-1]["round"]
        told = [event for event in federation.events("site") if (event["round"], event["stage"]) == (number, "train")]
        working = {event["site"] for event in told if event["state"] == "working"}
        return number > last and working == set(SITES) and not any(event["state"] == "done" for event in told)

    federation.wait_for(at_work, ROUND_S)
    return federation.events("round-started")[-1]["round"]


def rows(federation, site, sql):
    path = federation.folder / "sites" / site / "data" / "qfl.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20) as database:
        return database.execute(sql).fetchall()


def charges(federation, site):
    """Epsilon by round."""
    found = rows(federation, site, "SELECT round, epsilon FROM federation_spendings ORDER BY round")
    assert len({number for number, _ in found}) == len(found), "each round is charged once"
    return dict(found)


def updates(federation, site):
    """How many different masked updates left, by round."""
    sql = "SELECT round, COUNT(*) FROM federation_departures WHERE what = 'masked update' GROUP BY round"
    return dict(rows(federation, site, sql))


def finished_event(federation, number):
    return next(event for event in federation.events("round-finished") if event["round"] == number)


def kill_in_the_middle(federation, *roles):
    """Kill, wait for the round, and check what must hold after every kill; gives its number."""
    before = {number: finished_event(federation, number)["model"] for number in federation.finished()}
    number = in_the_middle(federation)
    for role in roles:
        federation.kill_one(role)
    federation.wait_for(lambda: number in federation.finished(), ROUND_S)
    for earlier, model in before.items():
        assert finished_event(federation, earlier)["model"] == model, "finished rounds stay as they were"
    assert federation.finished() == list(range(1, federation.finished()[-1] + 1)), "no round is missing"
    for site in SITES:
        paid = charges(federation, site)
        assert {*before, number} <= set(paid)
        assert len({round(epsilon, 9) for epsilon in paid.values()}) == 1, "a round costs what it costs without a kill"
    return number


def test_worker(federation):
    number = kill_in_the_middle(federation, "worker-site-02")
    assert finished_event(federation, number)["dropped"] == [], "the round went on with all sites"
    assert [updates(federation, site)[number] for site in SITES] == [1, 1, 1]


def test_agent(federation):
    number = kill_in_the_middle(federation, "agent-site-03")
    assert finished_event(federation, number)["dropped"] == []
    assert [updates(federation, site)[number] for site in SITES] == [1, 1, 1]


def test_the_run_s_app(federation):
    number = kill_in_the_middle(federation, "serverapp")
    resumed = federation.events("run-started")[-1]
    assert resumed["resumed_at_round"] == number - 1


def test_the_engine(federation):
    kill_in_the_middle(federation, "superlink")


def test_coordinator(federation):
    number = kill_in_the_middle(federation, "coordinator")
    assert federation.events("run-started")[-1]["resumed_at_round"] == number - 1


def test_broker(federation, redis):
    before = charges(federation, "site-01")
    number = in_the_middle(federation)
    redis.process.kill()
    redis.process.wait(20)
    time.sleep(1)
    redis.start()
    federation.wait_for(lambda: {number, number + 1} <= set(federation.finished()), ROUND_S)
    assert set(before) < set(charges(federation, "site-01"))
    assert updates(federation, "site-01")[number] == 1


def test_everything_at_once(federation):
    """As when the power fails; the same command goes on, and Ctrl-C leaves nothing running."""
    last = federation.finished()[-1]
    in_the_middle(federation)
    federation.kill()
    federation.start_again()
    federation.wait_for(lambda: len(federation.finished()) > last + 2, START_S)
    assert federation.stop() == 130
    wait_until(lambda: not federation.pids(), 20, lambda: str(federation.processes()))
    for site in SITES:
        assert len({round(epsilon, 9) for epsilon in charges(federation, site).values()}) == 1
