"""Officers: people with a key of their own, who sign what they do with models, policies and patients' data.

An officer is a user with an ML-DSA-65 key under a passphrase that only the officer knows. An administrator enrols an
officer, by a signed act, for the role that the officer has then: with another role the key signs nothing until the
officer is enrolled again. The very first administrator enrols itself, and the ledger says so.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from governance.canonical import Canonical, canonical_bytes
from governance.decisions import Outcome
from governance.errors import NotPermittedError, OfficerKeyError, SignatureError
from governance.ledger.entries import Entry
from governance.policy import Act, GovernancePolicy
from governance.rules import may_act
from governance.sealed_keys import open_key, seal_key
from governance.signatures import SigningKey, VerifyingKey
from plugin.errors import UserError
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.journal import Journal, officer_key
from plugin.services.governance.values import Officer, SignedAct
from plugin.services.values import User

PURPOSE: Final = "qfl/officer-act"
_ENROLLED, _REVOKED = "enrolled", "revoked"


class People(Protocol):
    """The users."""

    def get_user(self, username: str) -> User | None:
        """One user."""


@dataclass(frozen=True)
class Signer:
    """An officer at work.

    Attributes:
        passphrase: Of the officer's key.
    """

    username: str
    passphrase: str = field(repr=False)


def sign_act(
    desk: GovernanceDesk,
    people: People,
    username: str,
    passphrase: str,
    act: Act,
    subject: str,
    facts: Mapping[str, Canonical],
    at: datetime,
    *,
    policy: GovernancePolicy | None = None,
) -> SignedAct:
    """Have an officer sign what is to be done. Nothing is stored.

    Args:
        desk: Of governance.
        people: The users.
        username: The officer's.
        passphrase: Of the officer's key.
        act: What is done.
        subject: What it is done to: a model version, a digest.
        facts: What the officer agrees to, e.g. the audit that a release rests on.
        at: When.
        policy: That says who may; the one in force unless given.

    Raises:
        OfficerKeyError: No key, a revoked one, one of another role, or a wrong passphrase.
        NotPermittedError: The policy does not let the officer's role do that.
        PolicyError: There is no usable policy: nothing is allowed.
    """
    user, officer = _officer(desk, people, username)
    _check_enrolled_as(desk, user, officer)
    decision = may_act(policy or desk.policy(), act=act, role=user.role)
    if decision.outcome is not Outcome.ALLOW:
        raise NotPermittedError(decision.reason)
    return _sign(desk, user, open_key(officer.encrypted_key, passphrase), act, subject, facts, at)


def verify_act(desk: GovernanceDesk, act: SignedAct) -> Mapping[str, Canonical]:
    """Check that an officer, who may still sign, signed an act as it is stored.

    Returns:
        What the officer agreed to.

    Raises:
        OfficerKeyError: There is no such officer, or the officer's key was revoked.
        SignatureError: The officer's present key did not sign it, or the record is not what was signed.
    """
    officer = desk.store.officer(act.username)
    if officer is None or officer.revoked_at is not None:
        raise OfficerKeyError("An act is signed by somebody who has no key, or whose key was revoked.")
    VerifyingKey(officer.public_key).verify(act.signature, act.document, purpose=PURPOSE)
    document = json.loads(act.document)
    facts = document.pop("facts")
    if document != _frame(desk, act.act, act.subject, act.username, act.role, act.at):
        raise SignatureError("An act's record says another thing than what its officer signed.")
    found: Mapping[str, Canonical] = facts
    return found


def act_entry(desk: GovernanceDesk, act: SignedAct) -> Entry:
    """The ledger's entry of an act."""
    return Journal(desk.digest).officer_act(act)


def enrol(
    desk: GovernanceDesk, people: People, *, username: str, passphrase: str, by: Signer | None, at: datetime
) -> Officer:
    """Give a user a key, or a new one instead of one that is lost.

    Args:
        desk: Of governance.
        people: The users.
        username: Of the officer to be.
        passphrase: That the officer chose.
        by: The enrolled administrator who signs it; None for the very first one, who enrols itself.
        at: When.

    Raises:
        UserError: There is no such user.
        OfficerKeyError: A passphrase is too short or wrong, or the administrator has no key.
        NotPermittedError: Whoever signs may not enrol, or there are officers and nobody of them signs.
    """
    user, key = _user(people, username), SigningKey.generate()
    subject = desk.digest("user", username)
    facts = _enrolment(_ENROLLED, key.verifying_key.raw, user.role)
    officer = Officer(username, key.verifying_key.raw, seal_key(key, passphrase), at)
    if by is None:
        act = _first_enrolment(desk, user, key, subject, facts, at)
    else:
        act = sign_act(desk, people, by.username, by.passphrase, Act.ENROL, subject, facts, at)
    desk.store.save_officer(officer, act=act, entries=[act_entry(desk, act), _officer_entry(desk, user, officer, at)])
    return officer


def revoke(desk: GovernanceDesk, people: People, *, username: str, by: Signer, at: datetime) -> Officer:
    """Take an officer's key away: nothing that it signed counts any more for what is not decided yet.

    Raises:
        OfficerKeyError: There is no such officer, or whoever signs has no key or gave a wrong passphrase.
        NotPermittedError: Whoever signs may not, or nobody could enrol an officer any more.
    """
    user, officer = _officer(desk, people, username)
    enrolling = _who_may_enrol(desk, people)
    if username in enrolling and len(enrolling) == 1:
        raise NotPermittedError("This is the last officer who may enrol officers: enrol another one first.")
    subject = desk.digest("user", username)
    facts = _enrolment(_REVOKED, officer.public_key, user.role)
    act = sign_act(desk, people, by.username, by.passphrase, Act.ENROL, subject, facts, at)
    revoked = replace(officer, revoked_at=at)
    desk.store.save_officer(revoked, act=act, entries=[act_entry(desk, act), _officer_entry(desk, user, revoked, at)])
    return revoked


@dataclass(frozen=True)
class OfficerView:
    """An officer as lists show it.

    Attributes:
        role: That the officer was enrolled for; None where the record of it is missing or of another key.
        key: SHA-256 of the public key.
    """

    username: str
    role: str | None
    enrolled_at: datetime
    revoked_at: datetime | None
    key: str


def list_officers(desk: GovernanceDesk) -> Sequence[OfficerView]:
    """All officers, also those whose keys were revoked."""
    return [
        OfficerView(
            each.username,
            str(_last_enrolment(desk, each.username).get("role")) if each.revoked_at else officer_role(desk, each),
            each.enrolled_at,
            each.revoked_at,
            _fingerprint(each.public_key),
        )
        for each in desk.store.officers()
    ]


def officer_role(desk: GovernanceDesk, officer: Officer) -> str | None:
    """The role that an officer was enrolled for; None where the record of it is missing or of another key."""
    enrolment = _last_enrolment(desk, officer.username)
    is_of_key = enrolment.get("key") == _fingerprint(officer.public_key) and enrolment.get("what") == _ENROLLED
    return str(enrolment.get("role")) if is_of_key else None


def _sign(
    desk: GovernanceDesk,
    user: User,
    key: SigningKey,
    act: Act,
    subject: str,
    facts: Mapping[str, Canonical],
    at: datetime,
) -> SignedAct:
    document = canonical_bytes({**_frame(desk, act, subject, user.username, user.role, at), "facts": facts})
    return SignedAct(act, subject, user.username, user.role.value, document, key.sign(document, purpose=PURPOSE), at)


def _frame(
    desk: GovernanceDesk, act: Act, subject: str, username: str, role: str, at: datetime
) -> dict[str, Canonical]:
    """Everything that is signed but the facts; the ledger and other readers know the officer by a keyed digest."""
    return {
        "v": 1,
        "act": act.value,
        "subject": subject,
        "officer": desk.digest("user", username),
        "role": str(role),
        "at": _text_of(at),
    }


def _first_enrolment(
    desk: GovernanceDesk, user: User, key: SigningKey, subject: str, facts: Mapping[str, Canonical], at: datetime
) -> SignedAct:
    """The act of whoever enrols itself, while there has never been an officer."""
    if any(each.act is Act.ENROL for each in desk.store.acts()):
        raise NotPermittedError("There are officers already: an enrolled administrator must sign an enrolment.")
    decision = may_act(desk.policy(), act=Act.ENROL, role=user.role)
    if decision.outcome is not Outcome.ALLOW:
        raise NotPermittedError(f"The first officer enrols itself and must be one who may. {decision.reason}")
    return _sign(desk, user, key, Act.ENROL, subject, {**facts, "first": True}, at)


def _officer_entry(desk: GovernanceDesk, user: User, officer: Officer, at: datetime) -> Entry:
    facts: dict[str, Canonical] = {
        "officer": desk.digest("user", officer.username),
        "role": user.role.value,
        "action": _REVOKED if officer.revoked_at else _ENROLLED,
        # Whole: whoever has the ledger can check what was signed with it, also after the officer got another one.
        "public_key": b64encode(officer.public_key).decode(),
    }
    return Entry("officer-action", at, facts, officer_key(officer))


def _enrolment(what: str, public_key: bytes, role: str) -> dict[str, Canonical]:
    return {"what": what, "key": _fingerprint(public_key), "role": str(role)}


def _last_enrolment(desk: GovernanceDesk, username: str) -> Mapping[str, Canonical]:
    acts = [each for each in desk.store.acts(desk.digest("user", username)) if each.act is Act.ENROL]
    try:
        found = json.loads(acts[-1].document)["facts"] if acts else {}
    except (ValueError, KeyError, TypeError):
        return {}  # somebody put it into the database
    return found if isinstance(found, Mapping) else {}


def _check_enrolled_as(desk: GovernanceDesk, user: User, officer: Officer) -> None:
    role = officer_role(desk, officer)
    if role is None:
        raise OfficerKeyError(
            f"The key of {user.username} is not the one that was enrolled: an administrator enrols the officer again."
        )
    if role != user.role:
        raise OfficerKeyError(
            f"{user.username} was enrolled as {role} and is {user.role} now: an administrator must enrol the officer "
            "again, with `qfl governance officer enrol`."
        )


def _who_may_enrol(desk: GovernanceDesk, people: People) -> Sequence[str]:
    policy, found = desk.policy(), []
    for officer in desk.store.officers():
        user = people.get_user(officer.username)
        if officer.revoked_at is None and user is not None and policy.may(user.role, Act.ENROL):
            found.append(officer.username)
    return found


def _user(people: People, username: str) -> User:
    user = people.get_user(username)
    if user is None:
        raise UserError(f"There is no user {username!r}. Add one with: qfl users add.")
    return user


def _officer(desk: GovernanceDesk, people: People, username: str) -> tuple[User, Officer]:
    user, officer = people.get_user(username), desk.store.officer(username)
    if user is None or officer is None:
        raise OfficerKeyError(
            f"{username} has no officer's key: an administrator enrols officers with `qfl governance officer enrol`."
        )
    if officer.revoked_at is not None:
        raise OfficerKeyError(f"The key of {username} was revoked: an administrator must enrol the officer again.")
    return user, officer


def _fingerprint(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()


def _text_of(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
