"""The instruments of an audit that need the network: each one's figures, and what they say by the policy.

What an instrument found is kept, so that an interrupted audit goes on with the next one. An instrument that cannot be
used, such as a circuit's bound on a network without one, gives insufficient evidence and the reason.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from federated.errors import EvaluationError
from governance.audit import AuditOutcome, canonical_numbers
from governance.audit_controls import (
    Verdict,
    all_of,
    at_least,
    at_most,
    known_number,
    no_evidence,
    none_differs,
    share_verdict,
)
from governance.canonical import canonical_bytes, digest
from governance.errors import AuditDataError
from governance.fairness.intervals import Figure
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_cases import write_whole
from plugin.services.governance.audit_fairness import Findings
from plugin.services.governance.audit_subject import (
    LEAST_HEADS,
    LEAST_OTHERS,
    Effort,
    LateExamples,
    Subject,
    complete_cases,
    example_at,
    first_examples,
    renamed,
)

_FOLDER: Final = "instruments"

_STRESS: Final = "stress-tests"
_OF_ALL_CASES: Final = ("quantum-kernel",)
_VOLUME: Final = "tumour-volume"

Say = Callable[[str, float], None]
"""Takes what is done, and the finished fraction of it."""


def run_instruments(
    subject: Subject, policy: GovernancePolicy, effort: Effort, work: Path, say: Say, is_stopped: Callable[[], bool]
) -> Findings:
    """Use each instrument that has not been used yet.

    Args:
        subject: What is under audit.
        policy: Gives the thresholds.
        effort: How much to look at.
        work: Folder of this audit alone.
        say: Is told how far it is.
        is_stopped: Asked whether to stop.

    Raises:
        KeyboardInterrupt: It was to stop; a repeated call goes on.
        TrainingDataError: A case cannot be read.
    """
    verdicts: dict[str, Verdict] = {}
    sections: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, instrument in _INSTRUMENTS.items():
        key = _key(name, subject, policy, effort)
        path = work / _FOLDER / f"{name}.json"
        found = _kept(path, key)
        if found is None:

            def progress(fraction: float, what: str = name) -> None:
                if is_stopped():
                    raise KeyboardInterrupt
                say(what, fraction)

            progress(0.0)
            started = perf_counter()
            found = {**_use(instrument, name, subject, policy, effort, progress), "key": key}
            found["seconds"] = f"{perf_counter() - started:.1f}"
            path.parent.mkdir(exist_ok=True)
            write_whole(path, canonical_bytes(found))
        verdicts |= {control: _verdict(each) for control, each in found["verdicts"].items()}
        sections[name] = found["section"]
        seconds[name] = float(found["seconds"])
    return Findings(verdicts, {**sections, "seconds": seconds})


def _key(name: str, subject: Subject, policy: GovernancePolicy, effort: Effort) -> str:
    """Of what an instrument looks at: what was kept under another key is not used again.

    Most look at the first complete cases, which stay the same when the audit gets more cases; the folder is of one
    cohort and model.
    """
    known = subject.trained_on if name == "privacy-membership" else None
    return digest(
        {
            "policy": policy.digest,
            "cases": len(subject.measured) if name in _OF_ALL_CASES else None,
            "effort": [canonical_numbers(part) for part in _effort_of(name, effort)],
            "members": [] if known is None else [each.name for each in known.members],
        }
    )


def _effort_of(name: str, effort: Effort) -> list[Any]:
    """What of the effort an instrument uses."""
    budget = effort.budget
    parts: dict[str, list[Any]] = {
        "quantum-kernel": [effort.permutations],
        "lipschitz": [budget.bounded_cases],
        "robustness": [budget.attacked_cases, budget.attacks],
        "privacy-inversion": [budget.inversion_trials, budget.inversion],
        "privacy-membership": [budget.membership_cases],
        _STRESS: [budget.boundary_cases, effort.stresses],
        "interpretability": [effort.explained_cases, effort.samples],
    }
    return parts.get(name, [])


def _use(
    instrument: "Instrument",
    name: str,
    subject: Subject,
    policy: GovernancePolicy,
    effort: Effort,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    try:
        found = instrument(subject, policy, effort, progress)
    except EvaluationError as fault:
        verdicts = {} if name == _STRESS else {name: no_evidence(str(fault))}
        found = Findings(verdicts, {name: {"reason": str(fault)}})
    return {
        "verdicts": {control: asdict(each) for control, each in found.verdicts.items()},
        "section": canonical_numbers(found.sections[name]),
    }


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """What an instrument found before; None where it is to be used, or was on other data."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        raise AuditDataError(
            f"{path}: is damaged ({type(fault).__name__}); remove it and repeat the command."
        ) from fault
    return found if found.get("key") == key else None


def _verdict(found: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**found, "outcome": AuditOutcome(found["outcome"])})


# The instruments


def _kernel(subject: Subject, policy: GovernancePolicy, effort: Effort, _progress: Callable[[float], None]) -> Findings:
    """Quantum-kernel two-sample tests of every group against all others, beside those of a classical kernel."""
    from federated.auditing.kernel_test import compare_groups

    rows = [each for each in subject.measured if each.embedding]
    if not rows:
        raise EvaluationError("The network has no neck whose features could be compared.")
    import numpy as np

    values = np.array([each.embedding for each in rows])
    attributes = policy.fairness.attributes
    found = {
        attribute: compare_groups(
            values,
            [each.groups.get(attribute) for each in rows],
            minimum=policy.fairness.minimum_group,
            permutations=effort.permutations,
        )
        for attribute in attributes
    }
    tests = [(attribute, each) for attribute, comparison in found.items() for each in comparison.groups]
    measured = {
        # Groups are adjusted for within an attribute; this adjusts for the attributes.
        f"{each.group} ({attribute})": min(1.0, each.quantum_p * len(attributes))
        for attribute, each in tests
        if each.test is not None
    }
    skipped = [f"{each.group} ({attribute})" for attribute, each in tests if each.test is None]
    skipped += [attribute for attribute, comparison in found.items() if not comparison.groups]
    verdict = none_differs(measured, skipped, policy)
    return Findings({"quantum-kernel": verdict}, {"quantum-kernel": found})


def _lipschitz(
    subject: Subject, _policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]
) -> Findings:
    """Bounds of the circuits: how far answers to close inputs can part."""
    from federated.auditing.lipschitz import head_lipschitz

    examples = first_examples(subject, effort.budget.bounded_cases)
    head = head_lipschitz(subject.audited, examples, slot="head", progress=lambda share: progress(share / 2))
    neck = head_lipschitz(subject.audited, examples, slot="neck", progress=lambda share: progress(0.5 + share / 2))
    section = {"head": head, "neck": neck}
    slope = head.feature_slope
    measured = (
        f"an answer of the head changes by at most {max(slope.bound):.3g} for each unit of its features "
        f"(steepest seen: {max(slope.observed):.3g})"
    )
    holds = all(
        seen <= bound * (1 + 1e-6)
        for report in (head, neck)
        for bound, seen in zip(report.feature_slope.bound, report.feature_slope.observed, strict=True)
    )
    verdict = Verdict(
        AuditOutcome.PASSED if holds else AuditOutcome.FAILED,
        measured,
        "a proven bound that every input keeps",
        "The bound holds for every pair of patients; the policy sets no limit to it."
        if holds
        else "An input was found that breaks the bound: the bound, or the network, is not what it should be.",
    )
    return Findings({"lipschitz": verdict}, {"lipschitz": section})


def _robustness(
    subject: Subject, policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]
) -> Findings:
    """Deliberate small changes of images and of the circuits' angles."""
    from federated.auditing.adversarial import attack_model

    budget, limit = effort.budget, policy.performance.robust_dice_drop
    examples = first_examples(subject, budget.attacked_cases)
    report = attack_model(subject.audited, examples, settings=budget.attacks, progress=progress)
    judged = {
        f"{each.target} {each.epsilon:g} ({each.method})": at_most(
            Figure(each.drop, each.drop_low, each.drop_high, report.cases),
            limit,
            f"{each.method} on {each.target}, {each.epsilon:g}",
            minimum=policy.fairness.minimum_group,
        )
        for each in report.model.attacks
        if each.method != "random"
    }
    worst = max(report.model.attacks, key=lambda each: each.drop)
    verdict = all_of(judged)
    deciding = [name for name, each in judged.items() if each.outcome is verdict.outcome]
    reasons = {
        AuditOutcome.PASSED: "Every change that was tried costs less, even at the upper end of its interval.",
        AuditOutcome.FAILED: f"More is lost, even at the lower end of the interval, by {', '.join(deciding)}.",
        AuditOutcome.INSUFFICIENT_EVIDENCE: f"Neither is shown of {', '.join(deciding)} on {report.cases} cases.",
    }
    verdict = replace(
        verdict,
        measured=(
            f"largest mean loss of Dice {worst.drop:.3f} ({worst.drop_low:.3f} to {worst.drop_high:.3f}; "
            f"{report.cases} cases), by {worst.method} on {worst.target}, {worst.epsilon:g}"
        ),
        reason=reasons[verdict.outcome],
    )
    return Findings({"robustness": verdict}, {"robustness": report})


def _inversion(
    subject: Subject, policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]
) -> Findings:
    """Images from single updates without noise, which is the worst case."""
    from federated.auditing.gradient_inversion import inversion_trials
    from federated.auditing.proportion import trials_to_pass

    budget, limit = effort.budget, policy.privacy.inversion_limit
    chosen = complete_cases(subject)[: max(LEAST_HEADS, min(2 * LEAST_HEADS, budget.inversion_trials))]
    examples = [example_at(subject, place) for place in chosen]
    report = inversion_trials(
        subject.audited, examples, trials=budget.inversion_trials, settings=budget.inversion, progress=progress
    )
    verdict = share_verdict(
        report.success.count,
        report.success.of,
        report.success.at_least,
        report.success.at_most,
        limit,
        "Share of single unprotected updates from which a patient's image is reconstructed",
    )
    if verdict.outcome is AuditOutcome.INSUFFICIENT_EVIDENCE:
        wanted = trials_to_pass(limit, confidence=policy.fairness.confidence)
        verdict = replace(verdict, reason=f"{verdict.reason} It takes {wanted} trials without any success to pass.")
    return Findings({"privacy-inversion": verdict}, {"privacy-inversion": report})


def _membership(
    subject: Subject, policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]
) -> Findings:
    """Whether a case's loss tells that it was trained on."""
    from federated.auditing.membership_inference import membership_inference

    known = subject.trained_on
    if known is None:
        raise EvaluationError("It is not known which cases the model was trained on: name them with --trained-on.")
    limit, most = policy.privacy.membership_limit, effort.budget.membership_cases
    late = LateExamples(subject.audited.model.preprocessing)
    members, others = late.of("member", known.members[:most]), late.of("other", known.others[:most])
    report = membership_inference(subject.audited, members, others, progress=progress)
    rate = report.by_loss.true_positives
    verdict = share_verdict(
        rate.count,
        rate.of,
        rate.at_least,
        rate.at_most,
        limit,
        "Share of training cases that their loss gives away at 1 % false alarms",
    )
    verdict = replace(verdict, outcome=AuditOutcome(report.judge(limit)), reason=f"{verdict.reason} {known.note}")
    if not report.resolved:
        reason = f"Fewer than {LEAST_OTHERS} cases that it was not trained on: 1 % of them cannot be seen. {known.note}"
        verdict = replace(verdict, reason=reason)
    return Findings({"privacy-membership": verdict}, {"privacy-membership": report})


def _epsilon(
    subject: Subject, policy: GovernancePolicy, _effort: Effort, _progress: Callable[[float], None]
) -> Findings:
    """What the model's card says that training cost a patient."""
    limit, told = policy.privacy.epsilon_limit, subject.audited.model.training.get("epsilon")
    asked = f"at most {limit:g}"
    try:
        epsilon = None if told is None else float(told)
    except (TypeError, ValueError):
        epsilon = None
    if epsilon is None:
        reason = "The model's card tells of no noise in training and of no epsilon: there is no guarantee."
        verdict = no_evidence(reason, asked, "no guarantee")
    else:
        verdict = known_number(epsilon, limit, "What the card says that training cost a patient, epsilon,")
    return Findings({"privacy-epsilon": verdict}, {"privacy-epsilon": {"epsilon": epsilon}})


def _stress(subject: Subject, policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]) -> Findings:
    """Cases made worse step by step; what follows is judged with all measured cases, in boundary_findings."""
    from federated.auditing.boundaries import NORMAL, find_boundaries
    from federated.auditing.stress import STRESSES

    report = find_boundaries(
        subject.audited,
        [renamed(subject, place) for place in complete_cases(subject)],
        floor=policy.performance.worst_group_dice,
        minimum=policy.fairness.minimum_group,
        stresses=STRESSES[: effort.stresses],
        limit=effort.budget.boundary_cases,
        progress=progress,
    )
    # What the whole cohort says of cases as they come, and of sizes, is worth more than the few that were stressed.
    stressed = [each for each in report.boundaries if each.condition not in {NORMAL, _VOLUME}]
    return Findings({}, {_STRESS: {"cases": report.cases, "conditions": stressed}})


def _interpretability(
    subject: Subject, policy: GovernancePolicy, effort: Effort, progress: Callable[[float], None]
) -> Findings:
    """Whether local explanations follow the model."""
    from federated.explanation.fidelity import interpretability

    rules = policy.interpretability
    if not effort.explained_cases:
        raise EvaluationError("This audit explained no case.")
    found = interpretability(
        subject.audited.model,
        subject.sources[: effort.explained_cases],
        local_fidelity=rules.local_fidelity,
        samples=effort.samples,
        progress=progress,
    )
    figure = Figure(found.share_explained, found.low, found.high, found.n)
    what = f"Share of cases whose explanation has an R2 of {rules.local_fidelity:g}"
    verdict = at_least(figure, rules.share_explained, what, minimum=policy.fairness.minimum_group)
    section = {
        "share_explained": found.share_explained,
        "low": found.low,
        "high": found.high,
        "cases": found.n,
        "samples": found.samples,
        "r2": sorted(round(value, 3) for _, value in found.r2),
    }
    return Findings({"interpretability": verdict}, {"interpretability": section})


Instrument = Callable[[Subject, GovernancePolicy, Effort, Callable[[float], None]], Findings]
_INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    "quantum-kernel": _kernel,
    "lipschitz": _lipschitz,
    "robustness": _robustness,
    "privacy-inversion": _inversion,
    "privacy-membership": _membership,
    "privacy-epsilon": _epsilon,
    _STRESS: _stress,
    "interpretability": _interpretability,
}
