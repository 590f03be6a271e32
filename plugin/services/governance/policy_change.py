"""Officers put another policy in force: each reads the file and signs its digest; the policy in force says how many.

A signature is bound to the policy that it replaces. A text that cannot be used is refused before anybody signs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from governance import rules
from governance.canonical import Canonical
from governance.decisions import Outcome
from governance.errors import NotPermittedError, PolicyError
from governance.ledger.entries import Entry
from governance.policy import Act, GovernancePolicy
from plugin.services.governance.approvals import Question, counted
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.journal import policy_key
from plugin.services.governance.model_use import decided
from plugin.services.governance.officers import Signer, act_entry, sign_act
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from plugin.services.ports import Services


@dataclass(frozen=True)
class PolicyChange:
    """What came of an officer's signature.

    Attributes:
        policy: The one that was signed.
        is_done: Whether it is in force; otherwise more officers must sign the same policy.
        given: How many different officers have signed.
        needed: How many must.
    """

    policy: GovernancePolicy
    is_done: bool
    given: int
    needed: int


def change_policy(services: Services, *, text: str, by: Signer) -> PolicyChange:
    """Sign a policy; with enough signatures it is in force.

    Args:
        services: Of the site.
        text: YAML. Two texts that say the same, in other words or order, are one policy.
        by: An officer.

    Raises:
        PolicyError: The text cannot be used, or is in force already.
        NotPermittedError: The officer's role may not, or the officer has signed it already.
        OfficerKeyError: No key, or a wrong passphrase.
    """
    desk, now = services.governance, services.clock()
    proposed, (in_force, is_usable) = parse_policy_text(text), _judge(desk)
    if is_usable and proposed.digest == in_force.digest:
        raise PolicyError("This policy is in force already.")
    question = _question(proposed, in_force)
    asked = (Act.CHANGE_POLICY, question.subject, question.terms, now)
    act = sign_act(desk, services.store, by.username, by.passphrase, *asked, policy=in_force)
    earlier = [each.username for each in counted(desk, question, in_force)]
    usernames = earlier if by.username in earlier else [*earlier, by.username]
    officers = [desk.digest("user", name) for name in usernames]
    enough = rules.enough_approvals(in_force, act=Act.CHANGE_POLICY, officers=officers)
    needed = in_force.approvals[Act.CHANGE_POLICY]
    if enough.outcome is not Outcome.ALLOW and by.username in earlier:
        raise NotPermittedError("You have signed this policy already: another officer must.")
    entries = [act_entry(desk, act), *decided([enough], now)]
    if enough.outcome is not Outcome.ALLOW:
        desk.store.add_act(act, entries=entries)
        return PolicyChange(proposed, False, len(officers), needed)
    facts: dict[str, Canonical] = {
        "policy": proposed.digest,
        "officer": desk.digest("user", by.username),
        "officers": officers,
        "before": in_force.digest,
    }
    entries.append(Entry("policy-changed", now, facts, policy_key(proposed.digest, now)))
    desk.store.set_policy(text, digest=proposed.digest, at=now, acts=[act], entries=entries)
    return PolicyChange(proposed, True, len(officers), needed)


def signed_by(desk: GovernanceDesk, policy: GovernancePolicy) -> Sequence[str]:
    """Usernames of the officers who have signed that a policy replaces the one in force."""
    in_force, _ = _judge(desk)
    return [each.username for each in counted(desk, _question(policy, in_force), in_force)]


def _judge(desk: GovernanceDesk) -> tuple[GovernancePolicy, bool]:
    """The policy that says who may change it, and whether it is the one in force.

    Of one that cannot be read, e.g. since an upgrade of the product asks for another key, it is the one that is
    shipped: until it is replaced nothing else is allowed.
    """
    try:
        return desk.policy(), True
    except PolicyError:
        return parse_policy_text(default_policy_text()), False


def _question(proposed: GovernancePolicy, in_force: GovernancePolicy) -> Question:
    return Question(Act.CHANGE_POLICY, proposed.digest, {"policy": proposed.digest, "before": in_force.digest})
