"""Acts that take several people: what each signs, and whose signatures count for what is to be decided now."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from governance.canonical import Canonical
from governance.decisions import Outcome
from governance.errors import OfficerKeyError, SignatureError
from governance.policy import Act, GovernancePolicy
from governance.rules import may_act
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.officers import officer_role, verify_act
from plugin.services.governance.values import SignedAct

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """What officers are asked to sign.

    Attributes:
        subject: A model version, a policy's digest.
        terms: What all must agree to word for word, e.g. the audit, the policy in force and since when the model stands
            as it does: a signature under other terms, or from before, counts for nothing here.
    """

    act: Act
    subject: str
    terms: Mapping[str, Canonical]


def counted(desk: GovernanceDesk, question: Question, policy: GovernancePolicy) -> Sequence[SignedAct]:
    """The acts that count for a question, one of each officer, in their order; the policy says whose may."""
    found: dict[str, SignedAct] = {}
    for act in desk.store.acts(question.subject):
        if act.act is question.act and act.username not in found and _agrees(desk, act, question.terms, policy):
            found[act.username] = act
    return tuple(found.values())


def _agrees(desk: GovernanceDesk, act: SignedAct, terms: Mapping[str, Canonical], policy: GovernancePolicy) -> bool:
    try:
        facts = verify_act(desk, act)
    except (OfficerKeyError, SignatureError) as fault:
        _log.warning("an officer's act %s does not count: %s", act.act, fault)
        return False
    officer = desk.store.officer(act.username)
    if officer is None or officer_role(desk, officer) != act.role:
        return False
    if may_act(policy, act=act.act, role=act.role).outcome is not Outcome.ALLOW:
        return False
    return all(name in facts and facts[name] == value for name, value in terms.items())
