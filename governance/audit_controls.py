"""From what was measured to the audit's controls: by named rules, with thresholds from the policy alone.

A control passes where the measurement's interval shows that the policy is met, fails where the interval shows that it
is not, and has insufficient evidence in between: a number on the right side whose interval reaches over to the wrong
one has shown nothing. Where nothing was measured there is insufficient evidence too, and the reason says why.

Rules:
    at-least       passes where the lower end reaches the threshold, fails where the upper end does not
    at-most        passes where the upper end is within the threshold, fails where the lower end is not
    all-of         as the worst of several
    none-differs   passes where no test says that groups differ, fails where one does; says nothing of fairness
    known-number   an exact number, within the threshold or not
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from governance.audit import AuditOutcome, Control
from governance.fairness.bias import BiasScore, cases_to_show
from governance.fairness.intervals import Figure
from governance.fairness.segmentation import EquityScaled, WorstGroup
from governance.policy import GovernancePolicy

TITLES: Final[Mapping[str, str]] = {
    "bias": "Bias between groups",
    "performance": "Performance: mean over all cases",
    "worst-group": "Performance of the worst group",
    "privacy-inversion": "Privacy: images from an update",
    "privacy-membership": "Privacy: who was trained on",
    "privacy-epsilon": "Privacy: what training cost a patient",
    "robustness": "Robustness to deliberate changes",
    "boundaries": "Boundaries: where it must not be used",
    "equity-scaled-dice": "Equity-scaled mean",
    "surface-distance": "Bias of outlines, apart from size",
    "quantum-kernel": "Groups as the network sees them",
    "lipschitz": "How far close inputs can part",
    "interpretability": "Explanations that follow the model",
    "calibration": "Confidence that is deserved in each group",
}
"""Of every control, in the order in which they are told."""
_NEITHER: Final = "the interval holds the threshold, so neither is shown."
_BEFORE: Final = (AuditOutcome.FAILED, AuditOutcome.INSUFFICIENT_EVIDENCE, AuditOutcome.PASSED)


@dataclass(frozen=True)
class Verdict:
    """What a rule says, before it is a control of a policy."""

    outcome: AuditOutcome
    measured: str
    threshold: str
    reason: str


def no_evidence(reason: str, threshold: str = "none", measured: str = "nothing") -> Verdict:
    """Where nothing was measured."""
    return Verdict(AuditOutcome.INSUFFICIENT_EVIDENCE, measured, threshold, reason)


def at_least(figure: Figure, threshold: float, what: str, *, minimum: int = 1) -> Verdict:
    """The rule at-least.

    Args:
        figure: What was measured.
        threshold: Of the policy.
        what: Was measured, for the reason.
        minimum: Fewest cases from which anything is concluded.
    """
    asked, found = f"at least {threshold:g}, lower end", _figure(figure)
    if figure.cases < minimum:
        return no_evidence(f"{what}: {figure.cases} cases, fewer than {minimum}.", asked, found)
    if figure.low >= threshold:
        return Verdict(AuditOutcome.PASSED, found, asked, f"{what}: even the lower end of the interval reaches it.")
    if figure.high < threshold:
        return Verdict(AuditOutcome.FAILED, found, asked, f"{what}: even the upper end of the interval is below it.")
    return no_evidence(f"{what}: {_NEITHER}", asked, found)


def at_most(figure: Figure, threshold: float, what: str, *, minimum: int = 1) -> Verdict:
    """The rule at-most; see at_least."""
    asked, found = f"at most {threshold:g}, upper end", _figure(figure)
    if figure.cases < minimum:
        return no_evidence(f"{what}: {figure.cases} cases, fewer than {minimum}.", asked, found)
    if figure.high <= threshold:
        return Verdict(AuditOutcome.PASSED, found, asked, f"{what}: even the upper end of the interval is within it.")
    if figure.low > threshold:
        return Verdict(AuditOutcome.FAILED, found, asked, f"{what}: even the lower end of the interval is above it.")
    return no_evidence(f"{what}: {_NEITHER}", asked, found)


def all_of(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The rule all-of: fails if one does, else has insufficient evidence if one has."""
    if not verdicts:
        return no_evidence("Nothing was looked at.")
    worst = min(verdicts.values(), key=lambda each: _BEFORE.index(each.outcome))
    several = len(verdicts) > 1
    return Verdict(
        worst.outcome,
        "; ".join(f"{name}: {each.measured}" if several else each.measured for name, each in verdicts.items()),
        "; ".join(dict.fromkeys(each.threshold for each in verdicts.values())),
        " ".join(dict.fromkeys(each.reason for each in verdicts.values() if each.outcome is worst.outcome)),
    )


def bias_verdict(score: BiasScore, policy: GovernancePolicy, what: str = "bias score") -> Verdict:
    """The bias score against the policy's threshold.

    It fails where bias is shown, however many groups cannot be judged; it passes only where each group of each
    attribute can be, and the upper end of the interval is within the threshold.
    """
    rules = policy.fairness
    asked = f"at most {rules.bias_threshold:g}, upper end"
    largest = score.largest
    if largest is None or score.score is None or score.low is None or score.high is None:
        return no_evidence(" ".join(score.missing) or "No group can be judged.", asked)
    found = (
        f"{what} {score.score:.3f} ({rules.confidence:.0%} interval {score.low:.3f} to {score.high:.3f}; "
        f"by chance alone about {score.by_chance or 0:.3f})"
    )
    where = f"The largest gap is of {largest.outcome} by {largest.attribute}: {largest.best} over {largest.worst}."
    missing = " ".join(score.missing)
    if score.low > rules.bias_threshold:
        shown = [gap for gap in score.gaps if gap.low is not None and gap.low > rules.bias_threshold]
        by = ", ".join(f"{gap.outcome} by {gap.attribute}" for gap in shown)
        reason = f"Bias is shown: {by}. {where} Its size cannot be explained by chance and the choice of the largest."
        return Verdict(AuditOutcome.FAILED, found, asked, f"{reason} {missing}".strip())
    if score.high > rules.bias_threshold:
        needed = cases_to_show(largest, rules.bias_threshold, confidence=rules.confidence)
        more = f" It would take about {needed} cases of each group." if needed else ""
        reason = f"Neither bias nor its absence is shown. {where}{more} {missing}".strip()
        return no_evidence(reason, asked, found)
    if missing:
        return no_evidence(missing, asked, found)
    return Verdict(
        AuditOutcome.PASSED, found, asked, f"No group is served worse than another by more than that. {where}"
    )


def worst_group_verdict(worst: WorstGroup | None, policy: GovernancePolicy) -> Verdict:
    """The mean of the worst group of a sufficient size."""
    limit = policy.performance.worst_group_dice
    if worst is None:
        reason = f"No group has {policy.fairness.minimum_group} cases."
        return no_evidence(reason, f"at least {limit:g}, lower end")
    verdict = at_least(worst.figure, limit, f"Worst is {worst.group} ({worst.attribute})")
    return replace(verdict, measured=f"{worst.group}: {verdict.measured}")


def equity_verdict(scaled: Sequence[EquityScaled], policy: GovernancePolicy) -> Verdict:
    """Equity-scaled means of all attributes, held against what the worst group must reach."""
    limit = policy.performance.worst_group_dice
    return all_of(
        {
            each.attribute: no_evidence(
                f"By {each.attribute} no two groups have enough cases.", f"at least {limit:g}, lower end"
            )
            if each.figure is None
            else at_least(each.figure, limit, f"By {each.attribute}")
            for each in scaled
        }
    )


def none_differs(p_values: Mapping[str, float], skipped: Sequence[str], policy: GovernancePolicy) -> Verdict:
    """The rule none-differs.

    Args:
        p_values: Adjusted for their number, by what was tested.
        skipped: What could not be tested.
        policy: Its confidence leaves the significance.
    """
    level = 1 - policy.fairness.confidence
    asked = f"no p-value below {level:.2g}"
    if not p_values:
        return no_evidence("No group could be tested: too few cases.", asked)
    lowest = min(p_values, key=lambda name: p_values[name])
    found = f"least p-value {p_values[lowest]:.3g} ({lowest}), of {len(p_values)} tests"
    different = [name for name, value in p_values.items() if value < level]
    if different:
        reason = (
            f"The network sees differences: {', '.join(different)}. They may have good reasons, such as another "
            "scanner; they are no finding of bias."
        )
        return Verdict(AuditOutcome.FAILED, found, asked, reason)
    if skipped:
        return no_evidence(f"Not tested, for too few cases: {', '.join(skipped)}.", asked, found)
    return Verdict(
        AuditOutcome.PASSED,
        found,
        asked,
        "No difference was seen. That is no proof that there is none, nor of fairness.",
    )


def known_number(value: float, limit: float, what: str) -> Verdict:
    """The rule known-number: a bound or an accountant's result, which has no interval."""
    passed = value <= limit
    return Verdict(
        AuditOutcome.PASSED if passed else AuditOutcome.FAILED,
        f"{value:.4g}",
        f"at most {limit:g}",
        f"{what} is within it." if passed else f"{what} is above it.",
    )


def share_verdict(count: int, of: int, at_least_: float, at_most_: float, limit: float, what: str) -> Verdict:
    """A counted share against a limit: passes and fails by its exact one-sided bounds.

    Args:
        count, of: Successes and trials.
        at_least_, at_most_: Bounds of the share.
        limit: Of the policy.
        what: Was counted.
    """
    share = count / of if of else 0.0
    found = Figure(share, at_least_, at_most_, of)
    verdict = at_most(found, limit, what)
    return replace(verdict, measured=f"{count} of {of} ({share:.2%}; at least {at_least_:.2%}, at most {at_most_:.2%})")


def build_controls(verdicts: Mapping[str, Verdict], policy: GovernancePolicy) -> tuple[Control, ...]:
    """The controls of an audit, each known one once; what the policy requires and nobody looked at has no evidence.

    Args:
        verdicts: By the control's name; see TITLES.
        policy: Says which are required.
    """
    required = policy.audit.required
    names = [*TITLES, *(name for name in (*verdicts, *required) if name not in TITLES)]
    return tuple(
        Control(
            name=name,
            title=TITLES.get(name, name),
            outcome=verdict.outcome,
            required=name in required,
            measured=verdict.measured,
            threshold=verdict.threshold,
            reason=verdict.reason,
        )
        for name in dict.fromkeys(names)
        for verdict in [verdicts.get(name) or no_evidence("This audit did not look at it.")]
    )


def _figure(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}; {figure.cases} cases)"
