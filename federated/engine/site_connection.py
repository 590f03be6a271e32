"""A hospital's side of the transport: one warm process that asks the coordinator for questions and sends answers.

Connections go out only. No code is taken from the wire: a question is bytes for a function of the installed software,
and a run of an app that this site does not know is refused. Questions repeat, so nothing is stored here but the number
that the coordinator gave this node, which lets a restarted agent go on at once.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.proto.message_pb2 import Message

from federated.engine.fleet_client import FleetClient
from federated.engine.node_key import read_node_key
from federated.engine.payload import MAX_MESSAGE_BYTES
from federated.engine.site_node import SiteNode
from federated.errors import EngineError, MessageError, RefusedCallError

Handle = Callable[[bytes], bytes]
IDLE_POLL_S: Final = 2.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 15.0
_STEP_S: Final = 0.2
_log = logging.getLogger(__name__)


def serve_site(
    address: str,
    ca_file: Path,
    node_key_file: Path,
    app_digest: str,
    handle: Handle,
    should_stop: Callable[[], bool],
    poll_s: float = 0.2,
    *,
    number_file: Path | None = None,
    limit: int = MAX_MESSAGE_BYTES,
) -> None:
    """Answer the coordinator's questions until told to stop, through restarts of either side.

    Args:
        address: host:port of the coordinator's gateway.
        ca_file: The federation's CA certificate; no other authority is believed.
        node_key_file: The site's private node key, PEM or OpenSSH.
        app_digest: Of the bundle that this site takes part in; a run of another one is refused.
        handle: Question to answer; called in this thread, one question at a time, and again with the same question.
        should_stop: Asked several times a second.
        poll_s: Seconds between two looks for a question in the middle of a round; idle, up to IDLE_POLL_S.
        number_file: Where to note this node's number. Without it, an agent that was killed waits 20 s to come back.
        limit: Bytes of a question or an answer.

    Raises:
        ProvisioningError: The key or the CA certificate cannot be used.
    """
    key = read_node_key(node_key_file)
    with FleetClient(address, ca_file, key, limit=limit) as fleet:
        answer_questions(SiteNode(fleet, number_file, limit=limit), app_digest, handle, should_stop, poll_s)


def answer_questions(
    node: SiteNode, app_digest: str, handle: Handle, should_stop: Callable[[], bool], poll_s: float = 0.2
) -> None:
    """The loop of serve_site, on a node's calls."""
    retry_s = _FIRST_RETRY_S
    while not should_stop():
        try:
            with node.online():
                _log.info("Connected to the coordinator.")
                retry_s = _FIRST_RETRY_S
                _serve(node, app_digest, handle, should_stop, poll_s)
        except EngineError as fault:
            _log.warning("%s Trying again in %.1f s.", fault, retry_s)
            _wait(retry_s, should_stop)
            retry_s = min(2 * retry_s, _LAST_RETRY_S)


def _serve(node: SiteNode, app_digest: str, handle: Handle, should_stop: Callable[[], bool], poll_s: float) -> None:
    last = time.monotonic()
    while not should_stop():
        looked = time.monotonic()
        question = node.next_question()
        if question is None:
            # From look to look, a tenth of the time that nothing happened; the gateway has spent most of it waiting.
            pause_s = min(max(poll_s, (looked - last) / 10), IDLE_POLL_S)
            _wait(looked + pause_s - time.monotonic(), should_stop)
            continue
        try:
            _answer(node, question, app_digest, handle)
        except RefusedCallError as fault:
            _log.info("A question ended before its answer left: %s", fault)
        except MessageError as fault:
            _log.warning("A question was not answered: %s", fault)
        last = time.monotonic()


def _answer(node: SiteNode, question: Message, app_digest: str, handle: Handle) -> None:
    found = node.app_of(question)
    if found != app_digest:
        _log.warning("Refused a run: expected the app %s, got %s.", app_digest[:12], found[:12])
        node.send(question, f"This site takes part in the app {app_digest[:12]}, not in {found[:12]}; update one side.")
        return
    payload = node.payload_of(question)
    began = time.monotonic()
    try:
        answer = handle(payload)
    except Exception:  # noqa: BLE001 - the outer edge: the question will come again, and the agent is still there
        _log.exception("A question could not be answered.")
        node.send(question, "The site could not answer; its log says why.")
        return
    node.send(question, answer, seconds=time.monotonic() - began)


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not should_stop():
        time.sleep(min(left, _STEP_S))
