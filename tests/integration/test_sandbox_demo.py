"""How the demo starts, watches and stops processes, and keeps its folder; the loop itself is tested end to end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.demo.errors import CommandError, DemoError, ProcessDiedError
from sandbox.demo.processes import Processes, tail
from sandbox.demo.product import write_settings
from sandbox.demo.state import choose_ports, locked, secret_file

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
)


def python(code):
    return [sys.executable, "-c", code]


@pytest.fixture
def processes(tmp_path):
    processes = Processes(tmp_path / "logs")
    yield processes
    processes.stop()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestProcesses:
    def test_server_is_ready_when_it_says_so(self, processes):
        line = json.dumps({"ready": True, "port": 1, "url": "http://127.0.0.1:1"})
        assert processes.start_server("s", python(f"print('''{line}''', flush=True); import time; time.sleep(99)"))

    def test_server_that_dies_is_told_with_its_log(self, processes):
        with pytest.raises(ProcessDiedError, match="code 3") as caught:
            processes.start_server("s", python("import sys; print('because'); sys.exit(3)"))
        assert "because" in tail(caught.value.log)

    def test_ready_line_of_an_earlier_start_does_not_count(self, tmp_path, processes):
        (tmp_path / "logs" / "s.log").write_text('{"ready": true, "url": "http://127.0.0.1:1"}\n')
        with pytest.raises(ProcessDiedError):
            processes.start_server("s", python("import sys; sys.exit(3)"))

    def test_process_that_dies_later_is_noticed(self, processes):
        managed = processes.start("s", python("pass"))
        managed.process.wait()
        with pytest.raises(ProcessDiedError, match="s ended by itself"):
            processes.check()

    def test_stop_leaves_no_process(self, processes):
        managed = processes.start("s", python("import time; time.sleep(99)"))
        processes.stop()
        assert not is_alive(managed.process.pid)

    def test_stop_kills_what_does_not_end(self, processes, monkeypatch):
        monkeypatch.setattr("sandbox.demo.processes._STOP_TIMEOUT_S", 0.5)
        managed = processes.start("s", python(IGNORES_SIGTERM))
        while not managed.log.read_text():
            time.sleep(0.05)
        processes.stop()
        assert not is_alive(managed.process.pid)

    def test_failed_command_is_told_with_its_log(self, processes):
        with pytest.raises(CommandError) as caught:
            processes.run("c", python("import sys; sys.exit('wrong setting')"), os.environ)
        assert "wrong setting" in tail(caught.value.log)

    def test_command_gets_its_input_and_gives_its_output(self, processes):
        assert processes.run("c", python("print(input()[::-1])"), os.environ, given="abc\n") == "cba\n"


class TestFolder:
    def test_two_demos_do_not_share_a_folder(self, tmp_path):
        with locked(tmp_path), pytest.raises(DemoError, match="another demo"), locked(tmp_path):
            pass

    def test_ports_stay_the_same_while_they_are_free(self, tmp_path):
        first = choose_ports(tmp_path, {"ehr": 0, "pacs": 0})
        assert choose_ports(tmp_path, {"ehr": 0, "pacs": 0}) == first
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", first["ehr"]))
            taken.listen()
            second = choose_ports(tmp_path, {"ehr": 0, "pacs": 0})
        assert second["ehr"] != first["ehr"]
        assert second["pacs"] == first["pacs"]

    def test_wished_port_that_is_taken_is_refused(self, tmp_path):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(DemoError, match="--port"):
                choose_ports(tmp_path, {"product": taken.getsockname()[1]})

    def test_secrets_are_made_once_and_private(self, tmp_path):
        path = secret_file(tmp_path, "token")
        secret = path.read_text()
        assert len(secret) >= 16
        assert path.stat().st_mode & 0o077 == 0
        assert secret_file(tmp_path, "token").read_text() == secret


def test_terminated_demo_stops_what_it_started(tmp_path):
    command = [sys.executable, "-m", "sandbox.demo", "--once", "--json", "--keep", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = tmp_path / "logs" / "pacs.log"
    end = time.monotonic() + 60
    while not (log.exists() and b"ready" in log.read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == b""
    assert b"Stopped" in errors
    for port in json.loads((tmp_path / "ports.json").read_text()).values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_settings_make_a_shells_commands_reach_the_demo(tmp_path):
    path = tmp_path / "it's here" / "settings.sh"
    path.parent.mkdir()
    name = "St. Anna's $HOME `id`"
    write_settings({"QFL_ORGANISATION": name, "QFL_HTTP_PORT": "1", "SECRET": "not the product's"}, path)
    told = 'printf "%s\\n" "$QFL_ORGANISATION" "$SECRET" "$QFL_CHAIN_URL"; command -v qfl'
    done = subprocess.run(
        ["sh", "-c", f'. "$0"; {told}', path],
        env={"PATH": "/usr/bin:/bin", "QFL_CHAIN_URL": "another's"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [name, "", "", str(Path(sys.executable).parent / "qfl")]
