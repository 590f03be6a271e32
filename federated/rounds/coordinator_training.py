"""TRAIN at the coordinator: hand out the model, take the updates, each refused by name if it cannot be right."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from federated.errors import QuorumError
from federated.rounds.conduct import Conduct
from federated.rounds.figures import read_trained
from federated.rounds.inquiry import Fate, Take
from federated.rounds.layout import write_weights
from federated.rounds.masked_sums import MaskedSums
from federated.rounds.messages import Reply, Request, Stage
from federated.rounds.questions import EXTRA, NAMES, SHARE, WEIGHTS, prefixed, question
from federated.rounds.round_report import RoundFacts
from federated.rounds.single_updates import SingleUpdates
from federated.strategies import ServerState, extras

Inboxes = Mapping[str, Mapping[str, bytes]]
_log = logging.getLogger(__name__)


def train_masked(conduct: Conduct, state: ServerState, facts: RoundFacts, sums: MaskedSums) -> None:
    """Have the participants train, and add up their masked updates.

    Raises:
        QuorumError: Too few updates came.
    """

    def take(site: str, reply: Reply) -> None:
        trained = read_trained(site, reply)
        sums.take(site, reply)
        facts.trained[site] = trained

    _ask_to_train(conduct, state, facts, _inboxes(facts, sums), take)
    sums.survivors()


def train_openly(conduct: Conduct, state: ServerState, facts: RoundFacts) -> SingleUpdates:
    """Have the participants train, and collect their updates, with those of earlier rounds that come now.

    Raises:
        QuorumError: Too few sites are there to train.
    """
    updates = SingleUpdates(facts.terms, conduct.update_size(state))

    def take(site: str, reply: Reply) -> None:
        trained = read_trained(site, reply)
        late = conduct.stragglers.terms_of(site)
        updates.take_late(site, reply, trained.examples, late or facts.terms)
        facts.trained[site] = trained
        if late is not None:
            facts.late[site] = late.round

    _ask_to_train(conduct, state, facts, {site: {} for site in facts.there}, take)
    return updates


def _ask_to_train(conduct: Conduct, state: ServerState, facts: RoundFacts, inboxes: Inboxes, take: Take) -> None:
    terms, late = facts.terms, conduct.stragglers.questions
    least = terms.aggregation.threshold
    if len(inboxes) < least:
        raise QuorumError(f"Expected {least} sites to train in round {terms.round}, got {len(inboxes)}.")
    questions = _questions(state, facts, inboxes)
    wait = replace(conduct.wait(conduct.plan.patience.train_s, least), unhurried=frozenset(late))
    told = conduct.ask(state, facts, {**questions, **late}, wait, take)
    facts.note(told)
    conduct.stragglers.settle(told.fates, terms.round)
    if terms.aggregation.late == "merge":
        for site in told.those(Fate.LATE):
            if site in questions:
                conduct.stragglers.add(site, terms, questions[site])


def _questions(state: ServerState, facts: RoundFacts, inboxes: Inboxes) -> dict[str, Request]:
    weights, header = write_weights(state.weights), {NAMES: list(state.names)}
    return {
        site: question(
            facts.terms,
            site,
            Stage.TRAIN,
            {WEIGHTS: weights, **prefixed(EXTRA, extras(state, facts.terms, site)), **inbox},
            header,
        )
        for site, inbox in inboxes.items()
    }


def _inboxes(facts: RoundFacts, sums: MaskedSums) -> Inboxes:
    """The shares for each site whose group is large enough to go on; the others drop out of the round."""
    found = {}
    for site in facts.there:
        try:
            found[site] = prefixed(SHARE, sums.of(site).inbox(site))
        except QuorumError as fault:
            _log.warning("%s drops out, its group is too small: %s", site, fault)
            facts.fates[site] = Fate.LOST.value
    return found
