"""How a control's status follows from the numbers of its evidence: whoever has the numbers comes to the same status."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from governance.canonical import Canonical
from governance.errors import ReportError

Numbers: TypeAlias = Mapping[str, Canonical]
"""What a query found: whole numbers, and texts; shares are texts."""

EDITION: Final = 1
"""Of the controls, rules and reasons; a change of any of them makes a new one."""

SHARE_BAR: Final = "0.95"
"""The share of applicable controls that the framework of the QFL paper asks for."""


class Status(StrEnum):
    """What is said of a control."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"
    INSUFFICIENT = "insufficient-evidence"
    """Nothing, or too little, was recorded: nothing is concluded, and it does not count as passed."""
    UNATTESTED = "attestation-missing"
    """An officer must say so and sign, and none has; it does not count as passed."""


@dataclass(frozen=True)
class Judgement:
    """A status and why.

    Attributes:
        reason: One sentence for people; it names no person.
    """

    status: Status
    reason: str


@dataclass(frozen=True)
class Rule:
    """How a status follows.

    Attributes:
        passes_when: For people.
        judge: From the numbers.
    """

    passes_when: str
    judge: Callable[[Numbers], Judgement]


def judge(evidence: str, numbers: Numbers) -> Judgement:
    """The status that the numbers of an evidence function give.

    Raises:
        ReportError: There is no such rule, or a number that it needs is missing or of another type.
    """
    rule = RULES.get(evidence)
    if rule is None:
        raise ReportError(f"Expected evidence of {', '.join(sorted(RULES))}, got {evidence!r}.")
    try:
        return rule.judge(numbers)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as fault:
        raise ReportError(f"The evidence {evidence} lacks a number that its rule needs ({fault}).") from fault


def _count(numbers: Numbers, name: str) -> int:
    found = numbers[name]
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise TypeError(f"{name} is no count")
    return found


def _share(numbers: Numbers, name: str) -> float:
    found = float(str(numbers[name]))
    if not 0 <= found < float("inf"):
        raise ValueError(f"{name} is out of range")
    return found


def _passed(reason: str) -> Judgement:
    return Judgement(Status.PASSED, reason)


def _failed(reason: str) -> Judgement:
    return Judgement(Status.FAILED, reason)


def _too_little(reason: str) -> Judgement:
    return Judgement(Status.INSUFFICIENT, reason)


def _outside(reason: str) -> Judgement:
    return Judgement(Status.NOT_APPLICABLE, reason)


def _all_of(total: str, wrong: Mapping[str, str], nothing: str, good: str) -> Callable[[Numbers], Judgement]:
    """A rule: something is there, and nothing of it is wrong.

    Args:
        total: Name of the number of things that were looked at.
        wrong: Name of each number that must be 0, and what it counts.
        nothing: Said where there is nothing: insufficient evidence.
        good: Said where all is well; it may use {total}.
    """

    def judged(numbers: Numbers) -> Judgement:
        count = _count(numbers, total)
        faults = [(_count(numbers, name), what) for name, what in wrong.items()]
        found = [f"{number} {what}" for number, what in faults if number]
        if found:
            return _failed(f"{'; '.join(found)}.")
        return _passed(good.format(total=count)) if count else _too_little(nothing)

    return judged


def _ledger_intact(numbers: Numbers) -> Judgement:
    entries, signed = _count(numbers, "entries"), _count(numbers, "signed")
    if _count(numbers, "findings"):
        return _failed(f"{numbers['findings']} findings; the first: {numbers['first_finding']}")
    if not entries:
        return _too_little("The log has no entries.")
    if signed < entries:
        return _failed(f"{entries - signed} of {entries} entries are not under a signed checkpoint.")
    return _passed(f"{entries} entries verified, all under a signed checkpoint.")


def _ledger_complete(numbers: Numbers) -> Judgement:
    rows, missing = _count(numbers, "rows"), _count(numbers, "missing")
    if missing:
        return _failed(f"{missing} of {rows} transactions have no entry of their own, or another one.")
    return _passed(f"All {rows} transactions have their entry.") if rows else _too_little("There are no transactions.")


def _witnessed(numbers: Numbers) -> Judgement:
    known, cosigned = _count(numbers, "known"), _count(numbers, "cosigned")
    if not known:
        return _too_little("The log names no witness.")
    return (
        _passed(f"{cosigned} of {known} witnesses cosigned the last signed tree.")
        if cosigned
        else _failed(f"None of {known} witnesses cosigned the last signed tree.")
    )


def _retention(numbers: Numbers) -> Judgement:
    if not _count(numbers, "entries"):
        return _too_little("The log has no entries.")
    if _count(numbers, "starts_at_opening"):
        return _passed(f"Kept from the log's opening, {numbers['days_kept']} days ago; nothing was removed.")
    if _count(numbers, "days_kept") >= _count(numbers, "days_required"):
        return _passed(f"{numbers['days_kept']} days are kept; {numbers['days_required']} are asked for.")
    return _failed(f"{numbers['days_kept']} days are kept; {numbers['days_required']} are asked for.")


def _release_gate(numbers: Numbers) -> Judgement:
    released = _count(numbers, "released")
    without = {"without_audit": "without its audit", "without_act": "without the officers' signed acts"}
    found = [f"{_count(numbers, name)} {what}" for name, what in without.items() if _count(numbers, name)]
    if found:
        return _failed(f"Of {released} released models: {', '.join(found)}.")
    if not released:
        return _too_little("No model is released.")
    by_override = _count(numbers, "by_override")
    more = f", {by_override} of them by override" if by_override else ""
    return _passed(f"Released models: {released}{more}; each has its audit and signed acts.")


def _audit_current(numbers: Numbers) -> Judgement:
    released, stale = _count(numbers, "released"), _count(numbers, "stale")
    if stale:
        return _failed(f"The audits of {stale} of {released} released models are older than {numbers['days']} days.")
    if not released:
        return _too_little("No model is released.")
    return _passed(f"The audit of each released model ({released}) is at most {numbers['days']} days old.")


def _audit_control(numbers: Numbers) -> Judgement:
    released, failed = _count(numbers, "released"), _count(numbers, "failed")
    passed, unclear = _count(numbers, "passed"), _count(numbers, "insufficient")
    if failed:
        return _failed(f"The audit's control failed for {failed} of {released} released models.")
    if not released:
        return _too_little("No model is released, so no audit counts.")
    if passed == released:
        return _passed(f"The audit's control passed for each released model ({released}).")
    return _too_little(f"{unclear} audits have too little evidence, {released - passed - unclear} lack the control.")


def _within(total: str, part: str, what: str) -> Callable[[Numbers], Judgement]:
    """A rule: of enough cases, at most a share are of a kind."""

    def judged(numbers: Numbers) -> Judgement:
        count, found = _count(numbers, total), _count(numbers, part)
        limit, least = _share(numbers, "limit"), _count(numbers, "minimum")
        if count < max(1, least):
            return _too_little(f"{count} cases; nothing is concluded from fewer than {least}.")
        text = f"{found} of {count} {what} ({found / count:.1%}); at most {limit:.0%} may be."
        return _passed(text) if found <= limit * count else _failed(text)

    return judged


def _epsilon(numbers: Numbers) -> Judgement:
    if not _count(numbers, "joined"):
        return _outside("The site has joined no federation.")
    if not _count(numbers, "charges"):
        return _outside("No federated round has used patients' records with a privacy budget.")
    epsilon, limit = _share(numbers, "epsilon"), _share(numbers, "limit")
    text = f"The costliest run cost a patient's record at most epsilon {numbers['epsilon']}; {numbers['limit']} may be."
    return _passed(text) if epsilon <= limit * (1 + 1e-9) else _failed(text)


def _rounds(wrong: str, what: str, good: str) -> Callable[[Numbers], Judgement]:
    def judged(numbers: Numbers) -> Judgement:
        if not _count(numbers, "joined"):
            return _outside("The site has joined no federation.")
        rounds, found = _count(numbers, "rounds"), _count(numbers, wrong)
        if not rounds:
            return _outside("Nothing has left the site for a federated round.")
        return _failed(f"{found} of {rounds} rounds {what}.") if found else _passed(good.format(total=rounds))

    return judged


def _policy(numbers: Numbers) -> Judgement:
    if not _count(numbers, "usable"):
        return _failed("The governance policy cannot be read: nothing is allowed.")
    changes, approved = _count(numbers, "changes"), _count(numbers, "approved")
    if not changes:
        return _passed("The policy that is shipped is in force, unchanged.")
    if approved < _count(numbers, "needed"):
        return _failed(f"The policy in force has {approved} signed approvals; {numbers['needed']} are needed.")
    return _passed(f"The policy in force has {approved} signed approvals; it was changed {changes} times.")


_ROLES: Final = ("ethics-officer", "data-steward", "auditor", "administrator")


def _officers(numbers: Numbers) -> Judgement:
    lacking = [role for role in _ROLES if not _count(numbers, role)]
    if lacking:
        return _failed(f"Nobody is appointed as {', '.join(lacking)}.")
    return _passed("Each role has somebody appointed to it.")


def _halts(numbers: Numbers) -> Judgement:
    halts = _count(numbers, "halts")
    wrong = {"unexplained": "halts without a recorded decision", "unsigned": "resumptions without officers"}
    found = [f"{_count(numbers, name)} {what}" for name, what in wrong.items() if _count(numbers, name)]
    if found:
        return _failed(f"{'; '.join(found)}.")
    return _passed(f"{halts} halts, each with what it was decided from.") if halts else _outside("No model was halted.")


def _subjects(numbers: Numbers) -> Judgement:
    answered, erased = _count(numbers, "answered"), _count(numbers, "erased")
    if _count(numbers, "remaining"):
        return _failed(f"{numbers['remaining']} analyses of erased patients are still there.")
    if not answered + erased:
        return _outside("No patient has asked.")
    return _passed(
        f"{answered} patients were told what is held on them, {erased} were erased; nothing of them is left."
    )


def _same(all_of: str, some: str, nothing: str, what: str) -> Callable[[Numbers], Judgement]:
    """A rule: two numbers that must be equal are."""

    def judged(numbers: Numbers) -> Judgement:
        total, found = _count(numbers, all_of), _count(numbers, some)
        if not total:
            return _too_little(nothing)
        text = f"{found} of {total} {what}."
        return _passed(text) if found >= total else _failed(text)

    return judged


def _attestation(numbers: Numbers) -> Judgement:
    if not _count(numbers, "attested"):
        return Judgement(Status.UNATTESTED, "No officer has attested it.")
    if _count(numbers, "expired"):
        return Judgement(Status.UNATTESTED, f"The attestation of {numbers['at']} has lapsed.")
    return _passed(f"Attested and signed by an officer on {numbers['at']}; document {str(numbers['document'])[:12]}.")


RULES: Final[Mapping[str, Rule]] = {
    "ledger-intact": Rule("no finding, and every entry under a signed checkpoint", _ledger_intact),
    "ledger-complete": Rule("each transaction of the operational tables has its entry", _ledger_complete),
    "ledger-witnessed": Rule("a witness cosigned the last signed tree", _witnessed),
    "log-retention": Rule("the log reaches back to its opening, or as far as is asked for", _retention),
    "log-impersonal": Rule(
        "no entry holds what looks like personal data",
        _all_of(
            "entries",
            {"suspicious": "entries look like personal data"},
            "The log has no entries.",
            "{total} entries looked at.",
        ),
    ),
    "automatic-logging": Rule(
        "the period's analyses are in the log",
        _same("analyses", "recorded", "No analysis ended in the period.", "analyses of the period have an entry"),
    ),
    "decisions-explained": Rule(
        "each decision has its rule, inputs, outcome and reason",
        _all_of(
            "decisions",
            {"unexplained": "decisions without rule, inputs, outcome or reason"},
            "No rule has decided anything in the period.",
            "{total} decisions of the period, each with rule, inputs, outcome and reason.",
        ),
    ),
    "human-review": Rule(
        "no result is final without a radiologist's decision",
        _all_of(
            "decided",
            {"without_reviewer": "final results without a reviewer"},
            "No radiologist has decided on a result in the period.",
            "{total} results decided by radiologists; the others wait as preliminary.",
        ),
    ),
    "release-gate": Rule("each released model has an audit and the officers' signed acts", _release_gate),
    "audit-current": Rule("each released model's audit is within the policy's interval", _audit_current),
    "audit-control": Rule("the audit's control passed for each released model", _audit_control),
    "epsilon-budget": Rule("no run cost a record more than the policy's epsilon", _epsilon),
    "minimum-sites": Rule(
        "no round that the site sent something for had fewer sites than the policy asks for",
        _rounds("below", "had fewer sites than the policy asks for", "{total} rounds, each with enough sites."),
    ),
    "consent-checked": Rule(
        "the cohort of each round was drawn under a policy of consent",
        _rounds(
            "unchecked",
            "have no record of the cohort and the policy of consent",
            "{total} rounds, each with its cohort's digest and the policy it was drawn under.",
        ),
    ),
    "policy-in-force": Rule("the policy can be read, and a changed one has its approvals", _policy),
    "roles-appointed": Rule("each role of governance has somebody with a key", _officers),
    "acts-signed": Rule(
        "each officer's act has a good signature and an entry",
        _all_of(
            "acts",
            {
                "bad": "acts without a good signature",
                "unrecorded": "acts without an entry",
                "without_key": "acts of officers without a key",
            },
            "No officer has signed anything.",
            "{total} acts, each signed and in the log.",
        ),
    ),
    "separate-duties": Rule(
        "nobody released a model that the same person trained",
        _all_of(
            "releases",
            {
                "by_trainer": "releases signed by somebody who trained the model",
                "unreadable": "audits that are missing or were changed",
            },
            "No release was signed.",
            "Signed releases: {total}; none by who trained the model.",
        ),
    ),
    "monitoring": Rule(
        "each result of the period is watched",
        _same("results", "observed", "There were no results in the period.", "results of the period are watched"),
    ),
    "minimal-observations": Rule(
        "monitoring keeps groups of the policy's attributes only",
        _all_of(
            "observations",
            {"other": "observations with other attributes"},
            "Nothing is watched yet.",
            "{total} observations, groups only.",
        ),
    ),
    "halts-explained": Rule("each halt has its decision, each resumption its officers", _halts),
    "rejections": Rule(
        "radiologists rejected at most the policy's share", _within("decided", "rejected", "decided results rejected")
    ),
    "failures": Rule("at most the policy's share of analyses failed", _within("ended", "failed", "analyses failed")),
    "model-cards": Rule(
        "each released model has a card",
        _same("released", "with_card", "No model is released.", "released models have a card"),
    ),
    "subject-requests": Rule("nothing is left of an erased patient", _subjects),
    "transport": Rule(
        "EHR, archive and pages are reached by TLS",
        _all_of(
            "endpoints",
            {"plain": "addresses without TLS"},
            "No address is known.",
            "{total} addresses, all with TLS.",
        ),
    ),
    "accounts": Rule(
        "each account has a role and a password",
        _all_of(
            "users",
            {"without_password": "accounts without a password", "without_role": "accounts without a known role"},
            "There are no accounts.",
            "{total} accounts, each with a role and a password.",
        ),
    ),
    "disclosures": Rule(
        "each delivery to PACS or EHR is in the log",
        _same("sent", "recorded", "Nothing was sent in the period.", "deliveries of the period have an entry"),
    ),
    "attestation": Rule("an officer attested it and signed, and the attestation holds", _attestation),
}
"""By the name of the evidence function."""
