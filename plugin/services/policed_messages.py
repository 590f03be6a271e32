"""Messages of the rounds within the size that the site's policy takes."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from plugin.errors import SitePolicyError
from plugin.services.policy_rules import check_message
from plugin.services.site_policy import read_policy

_log = logging.getLogger(__name__)
_WITHOUT_POLICY: Final = 1_000_000
"""Bytes of a message while there is no usable policy: enough for a round's terms and for the words of a refusal."""


def within_policy(handle: Callable[[bytes], bytes], policy_file: Path) -> Callable[[bytes], bytes]:
    """Handle only messages that are small enough, and send only such answers; the rest is dropped and logged.

    Args:
        handle: Answers a question; an empty answer is none.
        policy_file: The site's, read anew at every message. Without a usable one small messages pass: the rules refuse
            the round, in words that the coordinator should get.
    """

    def handled(message: bytes) -> bytes:
        if not _is_small(message, "A question", policy_file):
            return b""
        answer = handle(message)
        return answer if _is_small(answer, "An answer", policy_file) else b""

    return handled


def _is_small(message: bytes, what: str, policy_file: Path) -> bool:
    try:
        finding = check_message(read_policy(policy_file), len(message))
    except SitePolicyError:
        return len(message) <= _WITHOUT_POLICY
    if not finding.allowed:
        _log.warning("%s was dropped: %s", what, finding.reason)
    return finding.allowed
