"""JOIN and SHARE at the coordinator: who takes part, and the keys and shares between them."""

from collections.abc import Mapping
from dataclasses import replace

from federated.errors import QuorumError
from federated.rounds.conduct import Conduct
from federated.rounds.envelope import terms_piece
from federated.rounds.inquiry import Fate, Told
from federated.rounds.masked_sums import MaskedSums
from federated.rounds.messages import Reply, Stage
from federated.rounds.questions import KEY, SIGNATURE, TERMS, piece, prefixed, question
from federated.rounds.round_report import RoundFacts
from federated.rounds.terms import TERMS_PURPOSE, RoundTerms
from federated.strategies import ServerState


def join(conduct: Conduct, state: ServerState, candidates: tuple[str, ...]) -> tuple[RoundFacts, MaskedSums | None]:
    """Ask who takes part, until all who are left have agreed to the same terms.

    Masks are between the participants that the terms name. So with masking, sites that refuse or do not answer lead to
    new terms for the others, before anything was trained.

    Returns:
        The round so far; with masking, the sums with everyone's keys.

    Raises:
        QuorumError: Too few sites take part; the message says why the others do not.
    """
    facts = RoundFacts(conduct.terms(state, candidates), conduct.clock())
    while True:
        sums = _sums(conduct, state, facts.terms)
        told = _ask_to_join(conduct, state, facts, sums)
        if len(facts.there) < conduct.plan.quorum:
            raise QuorumError(
                f"Expected {conduct.plan.quorum} sites to join round {facts.terms.round}, got {len(facts.there)}. "
                f"{why_not(told)}"
            )
        if sums is None or facts.there == facts.terms.participants:
            return facts, sums
        facts = replace(facts, terms=conduct.terms(state, facts.there))


def share(conduct: Conduct, state: ServerState, facts: RoundFacts, sums: MaskedSums) -> None:
    """Hand everyone's keys to everyone, and take the shares that come back."""
    questions = {
        site: question(facts.terms, site, Stage.SHARE, prefixed(KEY, sums.of(site).publics)) for site in facts.there
    }
    wait = conduct.wait(conduct.plan.patience.stage_s, facts.terms.aggregation.threshold)
    facts.note(conduct.ask(state, facts, questions, wait, sums.add_shares))


def why_not(told: Told) -> str:
    """Why sites are not done, in one line."""
    gone = told.those(Fate.REFUSED, Fate.LATE, Fate.LOST)
    return "; ".join(f"{site} ({told.fates[site].value}): {told.reasons[site]}" for site in gone)


def _ask_to_join(conduct: Conduct, state: ServerState, facts: RoundFacts, sums: MaskedSums | None) -> Told:
    terms = facts.terms
    conduct.begun(terms)
    brief = terms_piece(terms)
    pieces: Mapping[str, bytes] = {TERMS: brief, SIGNATURE: conduct.keys.signing.sign(brief, purpose=TERMS_PURPOSE)}

    def take(site: str, reply: Reply) -> None:
        if sums is not None:
            sums.of(site).add_public(site, piece(reply.pieces, KEY))

    questions = {site: question(terms, site, Stage.JOIN, pieces) for site in terms.participants}
    wait = conduct.wait(conduct.plan.patience.stage_s, conduct.plan.quorum)
    told = conduct.ask(state, facts, questions, wait, take)
    facts.note(told)
    return told


def _sums(conduct: Conduct, state: ServerState, terms: RoundTerms) -> MaskedSums | None:
    if not terms.is_masked:
        return None
    return MaskedSums(terms, conduct.update_size(state), conduct.keys.roster.identities)
