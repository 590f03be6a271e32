"""EVALUATE at a site: the round's new model on the site's held-out cases. Only means over cases leave."""

import math
from collections.abc import Mapping
from typing import Any

from federated.errors import MessageError, UpdateError
from federated.rounds.messages import Reply, Request, Stage
from federated.rounds.questions import MODEL, WEIGHTS, piece, read_model
from federated.rounds.site_desk import Desk, done, missing, working
from federated.rounds.terms import RoundTerms

GROUPS, GROUPS_EPSILON = "groups", "groups_epsilon"
"""Of a worker's figures: statistics of subgroups, and what their noise costs each patient. Without noise none leave."""


def evaluate(desk: Desk, question: Request) -> Reply:
    """Say how far the evaluation is; once it is done, hand over its figures.

    That there is a new model says that the round's sum is safe with the coordinator: what was kept to make it goes.

    Raises:
        MessageError: It is another question than before, of another round, or of another model than it says.
        TermsRefusedError: The hospital's rules have changed their mind.
        UpdateError: The worker could not do it.
    """
    entry = desk.entry(question)
    terms = entry.terms
    entry, asked = desk.bind(entry, question, is_long=True)
    if (answer := desk.memory.answer(question)) is not None:
        return answer
    if asked is None:
        return missing(question)
    desk.memory.close(terms)
    named = asked.header.get(MODEL)
    if not isinstance(named, str):
        raise MessageError(f"{desk.site}: expected an evaluation that names its model, got one that does not.")
    weights = read_model(piece(asked.pieces, WEIGHTS), named)
    work = desk.worker.work(terms, Stage.EVALUATE, weights, {})
    if work.failure:
        raise UpdateError(f"{desk.site}: the worker could not evaluate: {work.failure}")
    if work.figures is None:
        return working(question, work.progress)
    desk.check_rules(terms)
    answer = done(question, header={"figures": _paid(desk, terms, work.figures)})
    desk.memory.keep_answer(question, answer)
    desk.worker.forget(terms)
    return answer


def _paid(desk: Desk, terms: RoundTerms, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that leave; what their subgroups cost is charged first.

    Raises:
        PrivacyBudgetError: They would cost more than the budget allows.
    """
    found = dict(figures)
    epsilon = found.get(GROUPS_EPSILON)
    if type(epsilon) is not float or not 0 < epsilon < math.inf:
        return {**found, GROUPS: {}, GROUPS_EPSILON: None}
    desk.records.charge(terms, epsilon, now=desk.clock(), what="statistics")
    return found
