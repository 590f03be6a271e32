"""Children are kept running and never left behind, however they or their parent end."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from plugin.adapters.child_processes import ChildProcesses, alone
from plugin.errors import FederationBusyError, FederationProcessError
from plugin.services.local_federation import Process
from tests.servers.processes import wait_until

SLEEPS = "import time; print('up', flush=True); time.sleep(99)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
WITH_CHILD = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
    "print(child.pid, flush=True); child.wait()"
)


def python(code, name="child"):
    return Process(name, [sys.executable, "-c", code], dict(os.environ))


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def children(tmp_path):
    found = ChildProcesses(tmp_path)
    yield found
    found.stop()


def tend_until(children, condition):
    deaths = []

    def look():
        deaths.extend(children.tend())
        return condition(deaths)

    wait_until(look, 20)
    return deaths


def test_a_killed_child_is_started_again(children):
    first = children.start(python(SLEEPS))
    os.kill(first, signal.SIGKILL)
    deaths = tend_until(children, lambda _: children.pid("child") not in (None, first))
    assert [(death.name, death.pid, death.code) for death in deaths] == [("child", first, -9)]


def test_a_child_that_never_lives_is_told_with_its_log(children, monkeypatch):
    monkeypatch.setattr("plugin.adapters.child_processes._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("plugin.adapters.child_processes._MOST_DEATHS", 2)
    children.start(python("raise SystemExit('a wrong setting')"))
    with pytest.raises(FederationProcessError, match="a wrong setting"):
        tend_until(children, lambda _: False)


def test_stopping_ends_what_does_not_listen_and_what_it_started(children, monkeypatch):
    monkeypatch.setattr("plugin.adapters.child_processes._STOP_TIMEOUT_S", 0.5)
    stubborn = children.start(python(STUBBORN, "stubborn"))
    parent = children.start(python(WITH_CHILD, "parent"))
    for name in ("stubborn", "parent"):
        wait_until(lambda name=name: children.log(name).read_bytes().endswith(b"\n"), 20)
    grandchild = int(children.log("parent").read_text())
    assert is_alive(grandchild)
    children.stop()
    wait_until(lambda: not any(is_alive(pid) for pid in (stubborn, parent, grandchild)), 10)


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from plugin.adapters.child_processes import ChildProcesses
from tests.integration.test_child_processes import SLEEPS, STUBBORN, python
children = ChildProcesses(Path({folder!r}))
print(children.start(python(SLEEPS, "polite")), children.start(python(STUBBORN, "stubborn")), flush=True)
time.sleep(99)
"""


def test_a_killed_parent_takes_its_children_along_and_the_next_one_ends_the_rest(tmp_path):
    root = str(__import__("pathlib").Path(__file__).parents[2])
    code = PARENT.format(root=root, folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    polite, stubborn = (int(pid) for pid in parent.stdout.readline().split())
    wait_until(lambda: (tmp_path / "logs" / "stubborn.log").read_bytes() == b"up\n", 20)
    parent.kill()
    parent.wait(20)
    parent.stdout.close()
    wait_until(lambda: not is_alive(polite), 10)
    assert is_alive(stubborn)
    ChildProcesses(tmp_path).end_leftovers()
    wait_until(lambda: not is_alive(stubborn), 10)


def test_a_later_process_of_the_same_number_is_left_alone(tmp_path):
    bystander = subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        (tmp_path / "processes.json").write_text(f"[[{bystander.pid}, 1.0]]")
        ChildProcesses(tmp_path).end_leftovers()
        time.sleep(0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_folder_belongs_to_one_process(tmp_path):
    with alone(tmp_path), pytest.raises(FederationBusyError, match="another process"), alone(tmp_path):
        pass
