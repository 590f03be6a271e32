"""Our masked sum in one process, measured: every step of the sites and of the coordinator, and sealing."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.masking_run import CLIP, COORDINATOR, Run, Update, exact_mean
from federated.rounds.sealing import SealingKey, seal
from federated.secure_aggregation.aggregator import Aggregator
from federated.secure_aggregation.fixed_point import FixedPoint, pack, unpack
from federated.secure_aggregation.session import SiteSession
from governance.signatures import SigningKey

CONTEXT = b"benchmark, round 1"


def run_ours(updates: Mapping[str, Update], threshold: int, dropped: Sequence[str], bits: int | None = None) -> Run:
    """One round of masking over these updates; the dropped sites leave before they send their vector.

    Args:
        bits: Of a quantised number; None for the full 32-bit ring.
    """
    run, names = Run(), list(updates)
    fixed = FixedPoint(CLIP, len(names)) if bits is None else FixedPoint.quantised(CLIP, len(names), bits)
    identities = {name: SigningKey.generate() for name in names}
    roster = {name: key.verifying_key for name, key in identities.items()}
    size = fixed.length(next(iter(updates.values())).size)
    coordinator = Aggregator(CONTEXT, names, threshold, roster, size=size, bits=fixed.bits)
    reading = SealingKey.generate()
    sessions = {}
    for name in names:
        with run.charge(name):
            sessions[name] = SiteSession.start(
                name, CONTEXT, names, threshold, identities[name], roster, bits=fixed.bits
            )
            public = sessions[name].public()
        with run.charge(COORDINATOR):
            coordinator.add_public(name, _up(run, name, public))
    _deal(run, coordinator, sessions)
    for name in names:
        if name not in dropped:
            _send_vector(run, coordinator, sessions[name], name, updates[name], fixed, reading)
    survivors = coordinator.survivors
    for name in survivors:
        run.got(name, _size(survivors))
        with run.charge(name):
            shares = sessions[name].reveal(survivors)
        with run.charge(COORDINATOR):
            coordinator.add_revealed(name, _up(run, name, shares))
    with run.charge(COORDINATOR):
        mean = fixed.mean(coordinator.total())
    run.error = float(np.abs(mean - exact_mean(updates, dropped)).max() / CLIP)
    return run


def _deal(run: Run, coordinator: Aggregator, sessions: Mapping[str, SiteSession]) -> None:
    publics = coordinator.publics
    for name, session in sessions.items():
        run.got(name, _size(publics))
        with run.charge(name):
            dealt = session.share(publics)
        run.sent(name, _size(dealt))
        with run.charge(COORDINATOR):
            coordinator.add_shares(name, dealt)


def _send_vector(
    run: Run,
    coordinator: Aggregator,
    session: SiteSession,
    name: str,
    update: Update,
    fixed: FixedPoint,
    reading: SealingKey,
) -> None:
    inbox = coordinator.inbox(name)
    run.got(name, _size(inbox))
    with run.charge(name):
        masked = session.mask(fixed.encode(update), inbox)
        sealed = seal(reading.public, pack(masked, fixed.bits), context=CONTEXT)
    run.sent(name, len(sealed) + len(session.statement))
    with run.charge(COORDINATOR):
        opened = reading.open(sealed, context=CONTEXT)
        coordinator.add_masked(name, unpack(opened, fixed.bits, masked.size), session.statement)


def _up(run: Run, name: str, message: bytes) -> bytes:
    run.sent(name, len(message))
    return message


def _size(messages: Mapping[str, bytes]) -> int:
    return sum(len(message) for message in messages.values())
