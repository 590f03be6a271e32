"""EVALUATE at the coordinator: what the sites say of a round's new model."""

from dataclasses import replace

from federated.rounds.conduct import Conduct
from federated.rounds.figures import Evaluated, read_evaluated
from federated.rounds.layout import write_weights
from federated.rounds.messages import Reply, Stage
from federated.rounds.questions import MODEL, WEIGHTS, model_digest, question
from federated.rounds.round_report import RoundFacts
from federated.strategies import ServerState


def evaluate(conduct: Conduct, state: ServerState, facts: RoundFacts) -> dict[str, Evaluated]:
    """Ask the sites that took part; a round is done with whoever answers before its deadline.

    Args:
        conduct: Of the run.
        state: After the round.
        facts: Of the round.

    Returns:
        By site that answered.
    """
    found: dict[str, Evaluated] = {}
    weights = write_weights(state.weights)
    questions = {
        site: question(facts.terms, site, Stage.EVALUATE, {WEIGHTS: weights}, {MODEL: model_digest(weights)})
        for site in facts.there
    }

    def take(site: str, reply: Reply) -> None:
        found[site] = read_evaluated(site, reply)

    wait = conduct.wait(conduct.plan.patience.evaluate_s, least=0)
    wait = replace(wait, until=min(wait.until, facts.terms.deadline))
    facts.note(conduct.ask(state, facts, questions, wait, take), only_bytes=True)
    return found
