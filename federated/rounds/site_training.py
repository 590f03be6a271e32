"""TRAIN at a site: have the worker train, make the update that may leave, charge for it, compress and mask it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from federated.compression import Compressor, rounding
from federated.errors import MessageError, PrivacyBudgetError, PrivacySettingsError, TermsRefusedError, UpdateError
from federated.rounds import site_masking
from federated.rounds.layout import Layout
from federated.rounds.masking import case_weight
from federated.rounds.messages import Progress, Reply, Request, Stage
from federated.rounds.ports import LocalResult
from federated.rounds.questions import (
    EXTRA,
    NAMES,
    SHARE,
    UPDATE,
    WEIGHTS,
    group,
    piece,
    read_layout,
    read_model,
)
from federated.rounds.site_desk import Desk, done, missing, working
from federated.rounds.site_memory import Entry, Update, work_digest
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.fixed_point import pack
from federated.strategies import update_size

_TOLD: Final = ("loss", "seconds", "joules", "energy_source", "dice")
_OF_TRAINING_CASES: Final = ("loss", "dice")


def train(desk: Desk, question: Request) -> Reply:
    """Say how far the training is; once it is done, hand over the update.

    Raises:
        MessageError: It is another question than before, of another round, or of another model than the terms'.
        TermsRefusedError: The deadline has passed, the hospital's rules have changed their mind, or this round's update
            left before and is not kept.
        UpdateError: The worker could not do it, or its update does not fit.
        PrivacyBudgetError: The update would cost more than the budget, or the terms, allow.
    """
    entry = desk.entry(question)
    terms = entry.terms
    if terms.aggregation.late == "refuse":
        desk.check_deadline(terms)
    entry, asked = desk.bind(entry, question, is_long=True)
    if (answer := desk.memory.answer(question)) is not None:
        return answer
    if asked is None:
        return missing(question)
    made = _made_before(desk, entry, asked) or _make(desk, terms, asked)
    if isinstance(made, Progress):
        return working(question, made)
    update = _private_update(terms, made)
    desk.memory.keep_update(terms, update)
    desk.records.charge(terms, made.epsilon, now=desk.clock(), patients=made.examples)
    pieces = _pieces(desk, terms, asked, update)
    answer = done(question, pieces, {"examples": made.examples, "epsilon": made.epsilon, "figures": dict(made.figures)})
    desk.memory.keep_answer(question, answer)
    desk.memory.keep_entry(replace(entry, update_left=True))
    desk.record("epsilon-spent", terms, epsilon=repr(made.epsilon))
    return answer


def _made_before(desk: Desk, entry: Entry, asked: Request) -> Update | None:
    """The update of an earlier attempt: it is made once, so that it is paid for once."""
    made = desk.memory.update(entry.terms)
    if made is not None and made.work == work_digest(entry.terms, asked):
        return made
    if entry.update_left:
        raise TermsRefusedError(
            f"{desk.site}: an update of round {entry.terms.round} has left already, made from another model or other "
            "settings; go on with those, or with the next round."
        )
    return None


def _make(desk: Desk, terms: RoundTerms, asked: Request) -> Update | Progress:
    weights = read_model(piece(asked.pieces, WEIGHTS), terms.model)
    layout = read_layout(weights, asked.header.get(NAMES), terms.layout)
    work = desk.worker.work(terms, Stage.TRAIN, weights, group(asked.pieces, EXTRA))
    if work.failure:
        raise UpdateError(f"{desk.site}: the worker could not train: {work.failure}")
    if work.result is None:
        return work.progress if not _is_private(terms) else replace(work.progress, loss=None)
    _check_result(desk.site, terms, layout, work.result)
    # The hospital may have paused, or a patient withdrawn, since the round began.
    desk.check_rules(terms)
    return Update(
        work_digest(terms, asked),
        work.result.update,
        work.result.examples,
        _figures(terms, work.result.figures),
        work.result.epsilon,
    )


def _check_result(site: str, terms: RoundTerms, layout: Layout, result: LocalResult) -> None:
    size = update_size(layout, terms.learning)
    if result.update.shape != (size,) or not np.isfinite(result.update).all():
        raise UpdateError(f"{site}: expected an update of {size} finite numbers, got {result.update.shape} or others.")
    if result.examples < terms.minimum_cases:
        raise UpdateError(f"{site}: expected at least {terms.minimum_cases} cases, trained on {result.examples}.")
    wanted = terms.privacy
    if wanted.record_noise and not 0 < result.epsilon < float("inf"):
        raise PrivacySettingsError(f"{site}: expected a training that accounts for its privacy, got none.")
    if wanted.record_noise and wanted.record_epsilon and result.epsilon > wanted.record_epsilon:
        raise PrivacyBudgetError(
            f"{site}: the terms allow epsilon {wanted.record_epsilon:g}, the training cost {result.epsilon:.4g}."
        )


def _private_update(terms: RoundTerms, update: Update) -> Update:
    """Clipped and noised on site level, where the terms ask for it.

    Noise is drawn once, because the update is kept. An attempt of fewer sites needs a larger share of each: then more
    is added to what is there, which tells nothing that the first did not.
    """
    wanted = terms.privacy
    if not wanted.site_clip or (update.is_clipped and update.site_noise >= _noise_share(terms)):
        return update
    from federated.privacy.randomness import SecretRandom
    from federated.privacy.site_level import clip_and_noise

    random, share = SecretRandom.fresh(), _noise_share(terms)
    if not update.is_clipped:
        threshold, colluding = _sharing(terms)
        vector = clip_and_noise(
            update.vector,
            clip=wanted.site_clip,
            noise=wanted.site_noise,
            threshold=threshold,
            random=random,
            colluding=colluding,
        )
    else:
        more = math.sqrt(share**2 - update.site_noise**2)
        vector = (update.vector + more * random.normal(len(update.vector))).astype(np.float32)
    return replace(update, vector=vector, is_clipped=True, site_noise=share)


def _noise_share(terms: RoundTerms) -> float:
    from federated.privacy.site_level import noise_share

    threshold, colluding = _sharing(terms)
    wanted = terms.privacy
    return noise_share(clip=wanted.site_clip, noise=wanted.site_noise, threshold=threshold, colluding=colluding)


def _sharing(terms: RoundTerms) -> tuple[int, int]:
    threshold = terms.aggregation.threshold
    return threshold, min(terms.aggregation.tolerated, threshold - 1)


def _is_private(terms: RoundTerms) -> bool:
    return bool(terms.privacy.record_noise or terms.privacy.site_noise)


def _figures(terms: RoundTerms, figures: Mapping[str, Any]) -> dict[str, Any]:
    """What is told beside the update: with noise on it, nothing that the training cases decide without noise."""
    hidden = _OF_TRAINING_CASES if _is_private(terms) else ()
    return {name: figures.get(name) if name not in hidden else None for name in _TOLD}


def _pieces(desk: Desk, terms: RoundTerms, asked: Request, update: Update) -> dict[str, bytes]:
    """The update as it travels: plain, or compressed, or compressed and masked."""
    if not terms.is_masked and terms.aggregation.compression == "none":
        return {UPDATE: update.vector.astype("<f4").tobytes()}
    compressor = Compressor.of(terms, len(update.vector))
    counted = _counted(group(asked.pieces, EXTRA))
    residual = desk.memory.residual(terms, counted) if counted else None
    weight = case_weight(terms, update.examples)
    sent = compressor.compress(update.vector, residual, weight, rounding(terms, desk.site))
    if compressor.feeds_back:
        desk.memory.keep_residual(terms, sent.residual, counted)
    if terms.is_masked:
        return site_masking.mask(desk, terms, sent.ring, group(asked.pieces, SHARE))
    return {UPDATE: pack(sent.ring, compressor.fixed.bits)}


def _counted(extras: Mapping[str, bytes]) -> int:
    """The last round whose mean holds this site's update; 0 for none."""
    try:
        return int(extras.get("counted", b"0"))
    except ValueError as fault:
        raise MessageError("Expected the number of a round that counted, got something else.") from fault
