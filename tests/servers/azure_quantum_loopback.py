"""A stand-in for Azure Quantum and its storage on the loopback interface; it really runs the QIR that it is sent.

It speaks the calls of azure-quantum 3.12: providerStatus, storage/sasUri, blob PUT and GET, jobs PUT, GET and DELETE.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from federated.quantum import qasm  # noqa: F401  # first, so that qdk is imported with its telemetry off

KEY = "loopback-key"
RESOURCE_ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Quantum/Workspaces/qfl"
)
LOCATION = "eastus"
TARGET = "quantinuum.sim.h2-1e"
SIGNATURE = "sig=s3cret-signature"
_JOB = re.compile(r"/jobs/(?P<id>[0-9a-f-]{36})$")
_FORMAT = "microsoft.quantum-results.v2"


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind.

    Attributes:
        method, fragment: Which requests: those whose path contains the fragment.
        status: Answered instead of serving the request; None serves it.
        lose_answer: Serve the request, then close the connection without a word.
        delay_s: Wait before the rest.
        times: For so many requests.
    """

    method: str
    fragment: str
    status: int | None = 503
    lose_answer: bool = False
    delay_s: float = 0.0
    times: int = 1


@dataclass
class AzureQuantumLoopback:
    """The service's state, and how a test looks into it.

    Attributes:
        url: Of the quantum API.
        requests: Method and path of each request, in order.
        unsigned: Paths of requests without the right key (API) or signature (storage).
        jobs: What the service knows of each job, by its id.
        availability: Of the target.
        failure: The code with which jobs fail, and final_status how they end then; None lets them run.
        bill: What the service says that each job costs.
        results: Stored in place of what a job measured.
        running: Jobs wait until this is set.
        seed: Of the simulator.
    """

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    availability: str = "Available"
    failure: str | None = None
    final_status: str = "Failed"
    bill: dict[str, Any] | None = None
    results: bytes | None = None
    running: threading.Event = field(default_factory=threading.Event)
    seed: int = 7
    blobs: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault that hits a request, used up once more."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.fragment in path:
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, fragment: str) -> int:
        """How many requests of a kind came."""
        return sum(1 for found, path in self.requests if found == method and fragment in path)

    def run(self, job_id: str) -> None:
        """Execute a job as the service would, from the blob that it names to the blob of its results."""
        job = self.jobs[job_id]
        self.running.wait()
        if self.failure is not None:
            job.update(status=self.final_status)
            if self.final_status == "Failed":
                job["errorData"] = {"code": self.failure, "message": "The device is out of calibration."}
            return
        job["status"] = "Executing"
        histogram, shots = self._execute(self.blobs[urlsplit(job["inputDataUri"]).path], job["inputParams"])
        path = f"{urlsplit(job['containerUri']).path}/outputData"
        results = {"DataFormat": _FORMAT, "Results": [{"Histogram": histogram, "Shots": shots}]}
        self.blobs[path] = self.results or json.dumps(results).encode()
        job.update(
            outputDataUri=self.signed(path), outputDataFormat=_FORMAT, costEstimate=self.bill, status="Succeeded"
        )

    def signed(self, path: str) -> str:
        """A storage URL that needs no key."""
        return f"{self.url.rstrip('/')}{path}?sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=c&sp=rcw&{SIGNATURE}"

    def _execute(self, program: bytes, parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], list[list[int]]]:
        from qdk import simulation

        runs = simulation.run_qir(program.decode(), shots=parameters["shots"], seed=self.seed, type="cpu")
        shots = [[1 if str(result) == "One" else 0 for result in run] for run in runs]
        counts = Counter(tuple(shot) for shot in shots)
        return [{"Outcome": list(bits), "Display": str(list(bits)), "Count": n} for bits, n in counts.items()], shots


@contextmanager
def azure_quantum_loopback() -> Iterator[AzureQuantumLoopback]:
    """Run the service until the block ends."""
    state = AzureQuantumLoopback()
    state.running.set()

    class Handler(_Handler):
        service = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.running.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: AzureQuantumLoopback

    def handle(self) -> None:
        """Serve a connection; a client that gave up waiting is no error here."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        path, body = unquote(url.path), self._body()
        self.service.requests.append((self.command, path))
        fault = self.service.fault_for(self.command, path)
        if fault is not None:
            time.sleep(fault.delay_s)
        if fault is not None and fault.status is not None:
            wait = {"Retry-After": "0"} if fault.status == 429 else {}
            self._answer(fault.status, {"error": {"code": "Injected", "message": "A fault for a test."}}, wait)
            return
        self._loses_answer = fault is not None and fault.lose_answer
        if path.startswith("/store/"):
            self._storage(path, url.query, body)
        elif self.headers.get("x-ms-quantum-api-key") != KEY:
            self.service.unsigned.append(path)
            self._answer(401, {"error": {"code": "Unauthorized", "message": "The key is wrong."}})
        else:
            self._api(path, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def _api(self, path: str, body: bytes) -> None:
        job = _JOB.search(path)
        if path.endswith("/providerStatus"):
            self._answer(200, {"value": [_provider(self.service.availability)]})
        elif path.endswith("/storage/sasUri"):
            wanted = json.loads(body)
            blob = f"/{wanted['blobName']}" if wanted.get("blobName") else ""
            self._answer(200, {"sasUri": self.service.signed(f"/store/{wanted['containerName']}{blob}")})
        elif job and self.command == "PUT":
            self._create(job["id"], json.loads(body))
        elif job and job["id"] in self.service.jobs:
            if self.command == "DELETE":
                self.service.jobs[job["id"]]["status"] = "Cancelled"
            self._answer(204 if self.command == "DELETE" else 200, self.service.jobs[job["id"]])
        else:
            self._answer(404, {"error": {"code": "ResourceNotFound", "message": path}})

    def _create(self, job_id: str, job: dict[str, Any]) -> None:
        with self.service.lock:
            if job_id in self.service.jobs:
                self._answer(409, {"error": {"code": "JobAlreadyExists", "message": job_id}})
                return
            job.update(id=job_id, status="Waiting", creationTime="2026-11-23T00:00:00Z")
            self.service.jobs[job_id] = job
        self._answer(201, dict(job))
        threading.Thread(target=self.service.run, args=(job_id,), daemon=True).start()

    def _storage(self, path: str, query: str, body: bytes) -> None:
        if SIGNATURE not in query:
            self.service.unsigned.append(path)
            self._answer(403, None)
        elif "restype" in parse_qs(query):
            self._answer(201 if self.command == "PUT" else 200, None)
        elif self.command == "PUT" and path in self.service.blobs and self.headers.get("If-None-Match") == "*":
            self._answer(409, None, {"x-ms-error-code": "BlobAlreadyExists"})
        elif self.command == "PUT":
            self.service.blobs[path] = body
            self._answer(201, None)
        elif path not in self.service.blobs:
            self._answer(404, None, {"x-ms-error-code": "BlobNotFound"})
        else:
            blob = self.service.blobs[path]
            part = {"Content-Range": f"bytes 0-{len(blob) - 1}/{len(blob)}", "x-ms-blob-type": "BlockBlob"}
            self._send(206, blob, {"Content-Type": "application/octet-stream", **part})

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if value is None or status == 204 else json.dumps(value).encode()
        self._send(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if getattr(self, "_loses_answer", False):
            self.close_connection = True
            return
        self.send_response(status)
        common = {"ETag": '"1"', "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT", "x-ms-request-id": "1"}
        for name, text in {"Content-Length": str(len(body)), **common, **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def _provider(availability: str) -> dict[str, Any]:
    targets = [
        {"id": name, "currentAvailability": availability, "averageQueueTime": seconds, "statusPage": ""}
        for name, seconds in ((TARGET, 3), ("quantinuum.qpu.h2-1", 86400))
    ]
    return {"id": "quantinuum", "currentAvailability": availability, "targets": targets}
