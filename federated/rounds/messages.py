"""What coordinator and sites say to each other.

The coordinator asks, a site answers at once: that it is done, that it works on it, or that it refuses. Asking again is
harmless and is how the coordinator waits, so a message, an agent or a worker that is lost costs only the time until the
next question. The transport sees bytes: requests are signed by the coordinator, replies are signed by the site and
sealed for the coordinator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """The questions of a round, in this order."""

    JOIN = "join"
    """Here are the terms: will you take part? With masking, the answer brings the site's fresh public keys."""
    SHARE = "share"
    """With masking: here are everyone's signed keys. The answer brings an encrypted share for each other site."""
    TRAIN = "train"
    """Here is the model (and, with masking, the shares for you). The answer, once done, brings the update."""
    UNMASK = "unmask"
    """With masking: these sites' updates arrived. The answer brings what opens the sum."""
    EVALUATE = "evaluate"
    """Here is the new model. The answer, once done, brings its figures on the site's held-out cases."""


class State(StrEnum):
    """Of an answer."""

    DONE = "done"
    WORKING = "working"
    REFUSED = "refused"


@dataclass(frozen=True)
class Progress:
    """How far a site is with its work.

    Attributes:
        step: Optimiser steps, or cases, done.
        loss: Of the last step; None while there is none.
    """

    step: int = 0
    steps: int = 0
    loss: float | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """A question of the coordinator.

    Attributes:
        terms: Digest of the round's terms; the terms themselves come with JOIN.
        header: What the stage needs, as JSON.
        pieces: Bytes by name: terms, weights, keys, shares.
    """

    site: str
    run: str
    round: int
    stage: Stage
    terms: str
    header: Mapping[str, Any] = field(default_factory=dict)
    pieces: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Reply:
    """A site's answer.

    Attributes:
        reason: Of a refusal, in words: the rule, what it expected and what came.
        header: Figures, as JSON.
        pieces: Bytes by name: keys, shares, update.
    """

    site: str
    run: str
    round: int
    stage: Stage
    terms: str
    state: State
    reason: str = ""
    progress: Progress = field(default_factory=Progress)
    header: Mapping[str, Any] = field(default_factory=dict)
    pieces: Mapping[str, bytes] = field(default_factory=dict)
