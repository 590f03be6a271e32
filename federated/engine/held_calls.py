"""A site's look for a question waits at the gateway until there may be one."""

import asyncio
import time
from typing import Final

from federated.engine.bells import Bell

HOLD_S: Final = 2.0
"""Then the engine is asked in any case: a bell that was lost costs no more."""
_LOOK_S: Final = 0.02


class HeldCalls:
    """Knows since when there is nothing for a node."""

    def __init__(self, questions: Bell, *, hold_s: float = HOLD_S) -> None:
        """Listen to a bell."""
        self._questions, self._hold_s = questions, hold_s
        self._nothing_at: dict[bytes, bytes] = {}

    async def wait(self, node: bytes) -> bytes:
        """Wait until there may be a question for a node, or long enough.

        Returns:
            The bell's state, from before the engine is asked; for note.
        """
        deadline = time.monotonic() + self._hold_s
        while (state := self._questions.state()) == self._nothing_at.get(node) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
        return state

    def note(self, node: bytes, state: bytes, *, is_nothing: bool) -> None:
        """Take note of what the engine had for a node that asked in this state."""
        if is_nothing:
            self._nothing_at[node] = state
        else:
            self._nothing_at.pop(node, None)
