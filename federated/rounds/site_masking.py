"""The masking of a round at a site: its session in the site's memory, and the questions that only masking has."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from federated.errors import SecureAggregationError
from federated.rounds.masking import group_context, group_of, group_threshold, ring_bits
from federated.rounds.messages import Reply, Request
from federated.rounds.questions import KEY, SHARE, SHARES, STATEMENT, UPDATE, group, prefixed
from federated.rounds.site_desk import Desk, done
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.fixed_point import Ring, pack
from federated.secure_aggregation.session import SiteSession

_SESSION: Final = "session"


def check_group(desk: Desk, terms: RoundTerms) -> None:
    """Check that the terms give this site a group that protects it.

    Raises:
        SecureAggregationError: They do not.
    """
    group_of(terms, desk.site)


def begin(desk: Desk, terms: RoundTerms) -> bytes:
    """Start an attempt's masking; the site's fresh public keys."""
    members = group_of(terms, desk.site)
    context, threshold = group_context(terms, members), group_threshold(terms, members)
    identities = desk.roster.identities
    session = SiteSession.start(desk.site, context, members, threshold, desk.signing, identities, bits=ring_bits(terms))
    _keep(desk, terms, session)
    return session.public()


def share(desk: Desk, question: Request) -> Reply:
    """Deal shares to the sites whose keys the question brings.

    Raises:
        MessageError: It is another question than before, or of another round.
        SecureAggregationError: Keys cannot be right.
        SenderError: A site did not sign its keys.
        QuorumError: They are too few.
    """
    entry = desk.entry(question)
    desk.check_deadline(entry.terms)
    entry, _ = desk.bind(entry, question)
    if (answer := desk.memory.answer(question)) is not None:
        return answer
    session = _session(desk, entry.terms)
    shares = session.share(group(question.pieces, KEY))
    _keep(desk, entry.terms, session)
    answer = done(question, prefixed(SHARE, shares))
    desk.memory.keep_answer(question, answer)
    return answer


def mask(desk: Desk, terms: RoundTerms, vector: Ring, inbox: Mapping[str, bytes]) -> dict[str, bytes]:
    """The pieces of a masked update.

    Raises:
        SecureAggregationError: Shares cannot be right, or another vector was masked before.
        SenderError: A site did not sign its shares.
        QuorumError: They are too few.
    """
    session = _session(desk, terms)
    masked = session.mask(vector, inbox)
    _keep(desk, terms, session)
    return {UPDATE: pack(masked, ring_bits(terms)), STATEMENT: session.statement}


def unmask(desk: Desk, question: Request) -> Reply:
    """Give the shares that open the sum over the sites whose statements the question brings.

    The deadline may have passed: the update has left, and nothing but this sum can be opened with the answer.

    Raises:
        MessageError: It is another question than before, or of another round.
        SecureAggregationError: The survivors cannot be right, or others were named before.
        SenderError: A site did not sign its statement.
        QuorumError: They are too few.
    """
    entry = desk.entry(question)
    entry, _ = desk.bind(entry, question)
    if (answer := desk.memory.answer(question)) is not None:
        return answer
    session = _session(desk, entry.terms)
    revealed = session.reveal(group(question.pieces, STATEMENT))
    _keep(desk, entry.terms, session)
    desk.memory.keep_entry(replace(entry, is_opened=True))
    answer = done(question, {SHARES: revealed})
    desk.memory.keep_answer(question, answer)
    desk.record("sum-opened", entry.terms, survivors=sorted(group(question.pieces, STATEMENT)))
    return answer


def _session(desk: Desk, terms: RoundTerms) -> SiteSession:
    data = desk.memory.secrets(terms, _SESSION)
    if data is None:
        raise SecureAggregationError(
            f"{desk.site}: expected the masking secrets of round {terms.round}, they are gone; ask to join anew."
        )
    return SiteSession.from_bytes(data, desk.signing, desk.roster.identities)


def _keep(desk: Desk, terms: RoundTerms, session: SiteSession) -> None:
    desk.memory.keep_secrets(terms, _SESSION, session.to_bytes())
