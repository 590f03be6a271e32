"""A site's agent without a hospital: it answers with its process id, its count of questions, and the question.

python -m tests.servers.engine_agent ADDRESS CA KEY DIGEST NUMBER_FILE [LOG]
"""

import logging
import os
import signal
import struct
import sys
import threading
from pathlib import Path

from federated.engine.site_connection import serve_site


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    address, ca, key, digest, number_file = sys.argv[1:6]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    count = 0

    def handle(question: bytes) -> bytes:
        nonlocal count
        count += 1
        return struct.pack(">II", os.getpid() & 0xFFFFFFFF, count) + question

    serve_site(address, Path(ca), Path(key), digest, handle, stop.is_set, number_file=Path(number_file))


if __name__ == "__main__":
    main()
