"""Round terms, sites and a loop over rounds for tests of learning: no engine, no keys."""

from dataclasses import replace
from datetime import UTC, datetime

from federated.aggregation import combine
from federated.rounds.messages import Stage
from federated.rounds.terms import Aggregation, Learning, Privacy, RoundTerms
from federated.strategies import advance, extras, site_weight, update_size


def learning_terms(state, network=None, *, sites=("north", "south"), rounds=1, **learning):
    """Terms of the next round of a state, unmasked."""
    return RoundTerms(
        federation="test",
        run="run-1",
        round=state.round + 1,
        rounds=rounds,
        participants=tuple(sites),
        app="",
        model="",
        layout=state.layout.digest,
        network=network or {},
        deadline=datetime(2026, 11, 1, tzinfo=UTC),
        learning=Learning(**learning),
        privacy=Privacy(),
        aggregation=Aggregation(rule="mean", threshold=1),
    )


def run_round(state, terms, work, sites=None):
    """One round: work(terms, stage, weights, extras, site) of each site, its mean, the next state and terms."""
    sites = terms.participants if sites is None else sites
    results = {site: work(terms, Stage.TRAIN, state.weights, extras(state, terms, site), site) for site in sites}
    mean = combine(
        "mean",
        [result.update for result in results.values()],
        [site_weight(terms, result.examples) for result in results.values()],
        sites=list(results),
        size=update_size(state.layout, terms.learning),
    )
    following = terms if terms.round == terms.rounds else replace(terms, round=terms.round + 1)
    return advance(state, terms, mean, list(results)), following
