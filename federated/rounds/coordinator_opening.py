"""UNMASK at the coordinator: have the sums opened that the sites' updates are in.

The sums are kept on disk before anyone is asked. From then on the round has no other attempt: the sites give shares for
these sums and no others, so a coordinator that dies here goes on here.
"""

from collections.abc import Collection
from dataclasses import replace

from federated.errors import QuorumError, SecureAggregationError
from federated.rounds.conduct import Conduct
from federated.rounds.coordinator_joining import why_not
from federated.rounds.masked_sums import MaskedSums
from federated.rounds.messages import Reply, Stage
from federated.rounds.questions import SHARES, STATEMENT, piece, prefixed, question
from federated.rounds.round_report import RoundFacts
from federated.rounds.run_folder import Unmasking
from federated.rounds.single_updates import Combined
from federated.strategies import ServerState


def open_sums(conduct: Conduct, state: ServerState, facts: RoundFacts, sums: MaskedSums) -> Combined:
    """Ask those whose updates came to open their sums.

    Raises:
        QuorumError: Too few help; the message says why the others do not.
        SecureAggregationError: A site lied about its shares.
        AggregationError: The groups that open are too few for the rule.
    """
    groups = sums.survivors()
    conduct.folder.keep(Unmasking(facts, sums.to_bytes()), conduct.plan.run)
    questions = {
        site: question(facts.terms, site, Stage.UNMASK, prefixed(STATEMENT, statements))
        for statements in groups.values()
        for site in statements
    }

    def take(site: str, reply: Reply) -> None:
        sums.of(site).add_revealed(site, piece(reply.pieces, SHARES))

    def is_plenty(_done: Collection[str]) -> bool:
        return all(sums.is_opened(members) for members in groups)

    wait = replace(conduct.wait(conduct.plan.patience.stage_s, least=1), is_plenty=is_plenty)
    told = conduct.ask(state, facts, questions, wait, take)
    facts.note(told, only_bytes=True)
    try:
        return sums.combine()
    except (QuorumError, SecureAggregationError) as fault:
        raise type(fault)(f"{fault} {why_not(told)}".strip()) from fault


def resume_opening(conduct: Conduct, state: ServerState, unmasking: Unmasking) -> tuple[RoundFacts, Combined]:
    """Go on with a round whose masked updates were there already.

    Raises:
        QuorumError: Too few help.
        SecureAggregationError: A site lied about its shares.
        AggregationError: The groups that open are too few for the rule.
        RoundRecordError: What was kept is damaged.
    """
    facts, identities = unmasking.facts, conduct.keys.roster.identities
    sums = MaskedSums(facts.terms, conduct.update_size(state), identities)
    sums.restore(unmasking.sums, identities)
    return facts, open_sums(conduct, state, facts, sums)
