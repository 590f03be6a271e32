"""What each question of a round holds, and how a site reads it.

    JOIN      terms, signature                          answer: key
    SHARE     key/<site>...                             answer: share/<site>...
    TRAIN     weights, extra/<name>..., share/<site>... answer: update, statement
    UNMASK    statement/<site>...                       answer: shares
    EVALUATE  weights                                   answer: none; its header has the figures

A question whose answer was "working" is asked again without its pieces, by their digest, so that a model does not
travel each second. A site that has lost the question answers "working" with MISSING, and gets all of it again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from federated.errors import MessageError
from federated.rounds.layout import Layout, Weights, read_weights
from federated.rounds.messages import Request, Stage
from federated.rounds.terms import RoundTerms
from governance.canonical import digest

AGAIN: Final = "again"
MISSING: Final = "missing"
TERMS, SIGNATURE, KEY, WEIGHTS = "terms", "signature", "key", "weights"
UPDATE, STATEMENT, SHARES = "update", "statement", "shares"
EXTRA, SHARE = "extra", "share"
NAMES, MODEL = "names", "model"


def question(
    terms: RoundTerms,
    site: str,
    stage: Stage,
    pieces: Mapping[str, bytes],
    header: Mapping[str, Any] | None = None,
) -> Request:
    """A question of a round to one site."""
    return Request(site, terms.run, terms.round, stage, terms.digest, header or {}, pieces)


def again(asked: Request) -> Request:
    """The same question, without its pieces."""
    return replace(asked, header={AGAIN: content_digest(asked)}, pieces={})


def content_digest(asked: Request) -> str:
    """SHA-256 of what a question holds; of a question that is asked again, of what it held at first."""
    if AGAIN in asked.header:
        return str(asked.header[AGAIN])
    pieces = {name: hashlib.sha256(piece).hexdigest() for name, piece in asked.pieces.items()}
    names = [str(name) for name in asked.header.get(NAMES, ())]
    return digest({"stage": asked.stage.value, "pieces": pieces, "names": names})


def prefixed(prefix: str, messages: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pieces by name, as prefix/name."""
    return {f"{prefix}/{name}": message for name, message in messages.items()}


def group(pieces: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    """The pieces that prefixed gave names to."""
    start = f"{prefix}/"
    return {name.removeprefix(start): piece for name, piece in pieces.items() if name.startswith(start)}


def piece(pieces: Mapping[str, bytes], name: str) -> bytes:
    """One piece of a message.

    Raises:
        MessageError: It is not there.
    """
    if name not in pieces:
        raise MessageError(f"Expected a message with the piece {name!r}, got one without.")
    return pieces[name]


def model_digest(weights: bytes) -> str:
    """SHA-256 of weights as write_weights writes them; terms name the model by it."""
    return hashlib.sha256(weights).hexdigest()


def read_model(data: bytes, expected: str) -> Weights:
    """Weights of a question.

    Raises:
        MessageError: They are others than the question names.
        UpdateError: They are damaged.
    """
    if model_digest(data) != expected:
        raise MessageError(f"Expected the model {expected[:12]}, got {model_digest(data)[:12]}.")
    return read_weights(data)


def read_layout(weights: Weights, names: Any, expected: str) -> Layout:
    """The layout of the round's updates.

    Args:
        weights: Of the model.
        names: Of the weights that change, of whoever.
        expected: Digest, of the terms.

    Raises:
        MessageError: It is another one.
    """
    if not isinstance(names, list) or not all(name in weights for name in _strings(names)):
        raise MessageError("Expected the names of the weights that a round changes, got others.")
    layout = Layout.of(weights, names)
    if layout.digest != expected:
        raise MessageError(f"Expected updates of the layout {expected[:12]}, got {layout.digest[:12]}.")
    return layout


def _strings(names: Iterable[Any]) -> Iterable[str]:
    return (name if isinstance(name, str) else "" for name in names)
