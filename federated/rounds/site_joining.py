"""JOIN at a site: read the terms, refuse what may not be, and enter the round."""

from datetime import timedelta
from typing import Final

from federated.errors import MessageError, SenderError, TermsRefusedError
from federated.privacy.site_level import check_site_level
from federated.rounds import site_masking
from federated.rounds.envelope import read_terms
from federated.rounds.messages import Reply, Request, Stage
from federated.rounds.questions import KEY, SIGNATURE, TERMS, piece
from federated.rounds.site_desk import Desk, done
from federated.rounds.site_memory import Entry
from federated.rounds.terms import TERMS_PURPOSE, RoundTerms
from governance.errors import SignatureError

_LONGEST: Final = timedelta(days=60)


def join(desk: Desk, question: Request) -> Reply:
    """Take part in a round, or say why not.

    Returns:
        With masking, this site's fresh public keys.

    Raises:
        TermsError: There are no terms that can be read.
        MessageError: They are of an earlier round or attempt, or not for this site.
        SenderError: The coordinator did not sign them.
        TermsRefusedError: The hospital does not allow them.
        PrivacySettingsError: Their privacy would not hold.
        SecureAggregationError: Their masking would not hold.
    """
    terms = read_terms(question)
    signature = _check_signature(desk, question)
    known = desk.memory.entry(terms.run)
    if known is None or known.terms.digest != terms.digest:
        _check_newer(desk, terms, known)
        _check_federation(desk, terms)
        desk.check_deadline(terms)
        check_site_level(terms)
        if terms.is_masked:
            site_masking.check_group(desk, terms)
        desk.check_rules(terms)
        left = desk.memory.begin(_entry(terms, signature, known))
        # A second attempt of the same round goes on with the work of the first.
        if left is not None and (left.terms.run, left.terms.round) != (terms.run, terms.round):
            desk.worker.forget(left.terms)
        desk.record("terms-accepted", terms)
    elif (answer := desk.memory.answer(question)) is not None:
        return answer
    pieces = {KEY: site_masking.begin(desk, terms)} if terms.is_masked else {}
    answer = done(question, pieces)
    desk.memory.keep_answer(question, answer)
    return answer


def _check_signature(desk: Desk, question: Request) -> bytes:
    signature = piece(question.pieces, SIGNATURE)
    try:
        desk.roster.coordinator.verify(signature, piece(question.pieces, TERMS), purpose=TERMS_PURPOSE)
    except SignatureError as fault:
        raise SenderError(f"{desk.site}: expected terms that the coordinator signed, got others.") from fault
    return signature


def _check_newer(desk: Desk, terms: RoundTerms, known: Entry | None) -> None:
    """A replayed JOIN must not throw the site back, and a second attempt must not tell more than the first."""
    if known is None or terms.round > known.terms.round:
        return
    if terms.round < known.terms.round or terms.deadline <= known.terms.deadline:
        raise MessageError(
            f"{desk.site}: expected a question of round {known.terms.round} or later, with a deadline after "
            f"{known.terms.deadline.isoformat()}; got one of round {terms.round} that is out of date."
        )
    if Stage.EVALUATE in known.asked:
        raise MessageError(f"{desk.site}: round {terms.round} is over, its new model was evaluated; ask for the next.")
    if known.is_opened or (known.update_left and desk.memory.update(terms) is None):
        raise TermsRefusedError(
            f"{desk.site}: it helped to open the sum of round {terms.round} already, or its update of that round has "
            "left and is not kept any more; a second sum would tell more. Go on with the first, or with the next round."
        )


def _check_federation(desk: Desk, terms: RoundTerms) -> None:
    if terms.federation != desk.roster.federation:
        raise TermsRefusedError(
            f"{desk.site}: expected terms of the federation {desk.roster.federation}, got {terms.federation!r}."
        )
    if terms.app != desk.app:
        raise TermsRefusedError(
            f"{desk.site}: expected terms for the installed app {desk.app[:12]}, got {terms.app[:12]!r}; install the "
            "same release as the coordinator."
        )
    if strangers := sorted(set(terms.participants) - set(desk.roster.sites)):
        raise TermsRefusedError(
            f"{desk.site}: expected participants of this site's roster, got {strangers[0]!r}; fetch the newest roster."
        )
    if terms.deadline > desk.clock() + _LONGEST:
        raise TermsRefusedError(f"{desk.site}: expected a round of at most {_LONGEST.days} days, got a longer one.")


def _entry(terms: RoundTerms, signature: bytes, known: Entry | None) -> Entry:
    if known is not None and known.terms.round == terms.round:
        return Entry(terms, signature, update_left=known.update_left, is_opened=known.is_opened)
    return Entry(terms, signature)
