"""Sends notifications: in order, again with growing pauses when they fail, never two at once to one subscriber."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from sandbox.ehr.notifications import build_notification
from sandbox.ehr.subscriptions import HANDSHAKE, Due, Subscriptions

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_FHIR_JSON = "application/fhir+json"


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again.

    Attributes:
        first_pause_s: Doubled after every failure, to at most longest_pause_s.
        max_attempts: Then the subscription goes into error.
    """

    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    max_attempts: int = 8

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row, from 1."""
        return min(self.first_pause_s * 2.0 ** (failures - 1), self.longest_pause_s)


class DeliveryWorker:
    """The thread that sends.

    Args:
        subscriptions: What to send.
        base_url: The FHIR server's own, for absolute references.
        retry: When to try again.
        put_resources: Whether an R4 rest-hook with payload is a PUT to endpoint/Type/id (as HAPI sends it) or a POST
            to the endpoint (as Medplum does); servers differ.
    """

    def __init__(self, subscriptions: Subscriptions, base_url: str, retry: RetryPolicy, *, put_resources: bool) -> None:
        self._subscriptions = subscriptions
        self._base_url = base_url
        self._retry = retry
        self._put_resources = put_resources
        self._client = httpx.Client(follow_redirects=False, trust_env=False)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="delivery")
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start sending, also what an earlier process left behind."""
        threading.Thread(target=self._loop, name="delivery", daemon=True).start()

    def _loop(self) -> None:
        while True:
            self._subscriptions.work_waits.wait(_POLL_S)
            self._subscriptions.work_waits.clear()
            self._subscriptions.add_heartbeats(time.time())
            for subscription_id in self._subscriptions.waiting():
                with self._lock:
                    if subscription_id in self._busy:
                        continue
                    self._busy.add(subscription_id)
                self._pool.submit(self._work, subscription_id)

    def _work(self, subscription_id: str) -> None:
        try:
            while due := self._subscriptions.next_due(subscription_id, time.time()):
                self._attempt(due)
        finally:
            with self._lock:
                self._busy.discard(subscription_id)

    def _attempt(self, due: Due) -> None:
        fault = self._send(due)
        failures = due.attempts + 1
        if fault is None:
            self._subscriptions.settle(due)
        elif due.kind == HANDSHAKE or failures >= self._retry.max_attempts:
            _log.warning("subscription %s: %s failed for good: %s", due.channel.subscription_id, due.kind, fault)
            self._subscriptions.give_up(due, f"{due.kind} failed after {failures} attempt(s): {fault}")
        else:
            self._subscriptions.postpone(due, time.time() + self._retry.pause_s(failures))

    def _send(self, due: Due) -> str | None:
        """Send one notification; gives what went wrong."""
        request = self._request(due)
        try:
            answer = self._client.send(request)
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if answer.is_success else f"HTTP {answer.status_code}"

    def _request(self, due: Due) -> httpx.Request:
        channel = due.channel
        headers = list(channel.headers)
        if channel.topic is not None:
            body = build_notification(channel, due.kind, due.total, due.events, self._base_url)
            method, url = "POST", channel.endpoint
        else:
            event = due.events[0]
            body = event.resource if channel.media_type and event.resource else {}
            method, url = "POST", channel.endpoint
            if body and self._put_resources:
                method, url = "PUT", f"{channel.endpoint.rstrip('/')}/{event.focus}"
        if not body:
            return self._client.build_request(method, url, headers=headers, content=b"", timeout=channel.timeout_s)
        headers.append(("Content-Type", channel.media_type or _FHIR_JSON))
        return self._client.build_request(method, url, headers=headers, json=body, timeout=channel.timeout_s)
