"""A reverse proxy in front of a peer that a test can make slow, broken or absent."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}


@dataclass
class Fault:
    """What happens to requests whose "METHOD /path" matches.

    Attributes:
        delay_s: Waited before the request goes on to the peer.
        status: Answered instead of asking the peer; None asks it.
        lose_answer: Ask the peer, and close the connection instead of answering.
        count: So many requests; then the fault is over.
    """

    pattern: str
    delay_s: float = 0.0
    status: int | None = None
    lose_answer: bool = False
    count: int = 1_000_000


class FaultProxy:
    """A running proxy.

    Attributes:
        url: Of the proxy; paths are the peer's.
        seen: "METHOD /path" of each request, in order.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._client = httpx.Client(trust_env=False, timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen from now on."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Be a good proxy again."""
        with self._lock:
            self._faults.clear()
            self.seen.clear()

    def serve(self) -> None:
        """Serve until closed."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def _fault(self, request: str) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            for fault in self._faults:
                if fault.count > 0 and re.search(fault.pattern, request):
                    fault.count -= 1
                    return fault
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy._fault(f"{self.command} {self.path}")
                if fault:
                    time.sleep(fault.delay_s)
                    if fault.status is not None:
                        self._answer(fault.status, {}, b"")
                        return
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                answer = proxy._client.request(self.command, proxy.target + self.path, content=body, headers=headers)
                if fault and fault.lose_answer:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(answer.status_code, dict(answer.headers), answer.content)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        if name.lower() not in _HOP_BY_HOP:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # the other side was killed: that is what the test does

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _forward

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a root URL until the block ends."""
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(10)
