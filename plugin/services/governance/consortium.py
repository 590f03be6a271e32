"""Keeping up with the consortium's chain, where the site has one: what was halted there, and the ledger's root."""

import logging
from datetime import timedelta
from typing import Final

from governance.decisions import Decision, Outcome
from governance.errors import AnchorError, GovernanceError
from governance.ports import Chain
from plugin.services.governance.anchoring import anchor_ledger, model_id
from plugin.services.governance.model_use import halt_model
from plugin.services.governance.values import ModelState
from plugin.services.ports import Services

_log = logging.getLogger(__name__)

HALTED_BY_CONSORTIUM: Final = "halted-by-consortium"
ANCHORED: Final = "checkpoint-anchored"
ANCHOR_EVERY: Final = timedelta(hours=1)


def keep_up(services: Services) -> None:
    """Halt here what a member halted there, and anchor the ledger once an hour; for the timer.

    A chain that does not answer stops nothing here: it is logged, and asked again.
    """
    try:
        chain = services.governance.chain()
        if chain is None:
            return
        follow_halts(services, chain)
        _anchor_if_due(services, chain)
    except GovernanceError as fault:
        _log.warning("the consortium's chain: %s: %s", type(fault).__name__, fault)


def follow_halts(services: Services, chain: Chain) -> None:
    """Halt each model in use that a member of the consortium halted.

    Raises:
        AnchorError: The chain does not answer.
    """
    desk = services.governance
    for status in desk.store.model_statuses():
        if status.state is not ModelState.RELEASED or not chain.model(model_id(status.model_version)).halted:
            continue
        reason = "An institution of the consortium halted the model for all of them."
        decision = Decision(
            "not-halted-by-consortium",
            Outcome.HALT,
            {"model": status.model_version, "contract": chain.name},
            reason,
        )
        is_halted = halt_model(
            desk,
            model_version=status.model_version,
            reason_code=HALTED_BY_CONSORTIUM,
            reason=reason,
            decisions=[decision],
            at=services.clock(),
        )
        if is_halted:
            _log.warning("the model is halted (%s)", HALTED_BY_CONSORTIUM)


def _anchor_if_due(services: Services, chain: Chain) -> None:
    ledger = services.governance.ledger
    last = ledger.last(1, ANCHORED)
    if last and services.clock() - last[-1][1].at < ANCHOR_EVERY:
        return
    try:
        anchor_ledger(ledger, chain)
    except AnchorError as fault:
        _log.error("the ledger was not anchored: %s", fault)
