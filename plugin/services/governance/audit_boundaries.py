"""Where a model must not be used: what stress tests found, and what all cases say of sizes and scanners."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from governance.audit import AuditOutcome
from governance.audit_controls import Verdict, no_evidence
from governance.fairness.intervals import mean_figure
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_cases import WHOLE, MeasuredCase
from plugin.services.governance.audit_fairness import Findings

SIZES_ML: Final = (60.0, 20.0, 5.0, 0.0)
"""Lower edges of the bins of the whole tumour's volume."""


def boundary_findings(
    cases: Sequence[MeasuredCase], stress_tests: Mapping[str, Any], policy: GovernancePolicy
) -> Findings:
    """Judge the boundaries: that they are known is what is asked for, not that there are none.

    Sizes and scanners of which too few cases were seen are boundaries too: nobody knows what the model does there.

    Args:
        cases: What the model did on cases as they come.
        stress_tests: The section of audit_instruments.
        policy: Its worst group's Dice is the floor.
    """
    floor, minimum = policy.performance.worst_group_dice, policy.fairness.minimum_group
    stressed = stress_tests.get("conditions", [])
    findings = [each["finding"] for each in stressed if each["outcome"] == "reached"]
    findings += [*_by_volume(cases, floor, minimum), *_by_site(cases, floor, minimum)]
    unknown = [each["title"] for each in stressed if each["outcome"] == "insufficient-evidence"]
    overall = mean_figure([each.dice[WHOLE] for each in cases], confidence=policy.fairness.confidence)
    asked = f"mean Dice of at least {floor:g} within the boundaries, each condition tried on {minimum} cases"
    measured = f"{len(findings)} boundaries" if findings else "no boundary was reached"
    if overall.high < floor and len(cases) >= minimum:
        reason = f"On cases as they come its mean Dice is {overall.value:.2f}: it must not be used at all."
        verdict = Verdict(AuditOutcome.FAILED, measured, asked, reason)
    elif unknown or len(cases) < minimum or not stressed:
        what = ", ".join(unknown) or ("cases as they come" if stressed else "stress tests")
        verdict = no_evidence(f"Too few cases for: {what}.", asked, measured)
    else:
        reason = f"Where it must not be used is known, and whoever uses it must keep to that. {' '.join(findings)}"
        verdict = Verdict(AuditOutcome.PASSED, measured, asked, reason.strip())
    section = {
        "floor": floor,
        "minimum": minimum,
        "cases": stress_tests.get("cases", 0),
        "stresses": stressed,
        "findings": findings,
    }
    return Findings({"boundaries": verdict}, {"boundaries": section})


def _by_volume(cases: Sequence[MeasuredCase], floor: float, minimum: int) -> list[str]:
    """Sizes of tumours on which the model does not reach the floor, or of which too few were seen to know."""
    edges = SIZES_ML
    found = []
    for upper, lower in zip((float("inf"), *edges), edges, strict=False):
        inside = [each.dice[WHOLE] for each in cases if lower <= each.drawn_ml[WHOLE] < upper]
        where = f"a tumour of {lower:g} to {upper:g} ml" if upper < float("inf") else f"a tumour above {lower:g} ml"
        if len(inside) < minimum:
            found.append(f"Not audited for {where}: {len(inside)} cases.")
        elif fmean(inside) < floor:
            found.append(f"Must not be used for {where}: mean Dice {fmean(inside):.2f} of {len(inside)} cases.")
    return found


def _by_site(cases: Sequence[MeasuredCase], floor: float, minimum: int) -> list[str]:
    """Scanners and hospitals at which the model does not reach the floor."""
    sites: dict[str, list[float]] = {}
    for each in cases:
        if "site" in each.groups:
            sites.setdefault(each.groups["site"], []).append(each.dice[WHOLE])
    return [
        f"Must not be used at {site}, or a scanner like its: mean Dice {fmean(dice):.2f} of {len(dice)} cases."
        for site, dice in sorted(sites.items())
        if len(dice) >= minimum and fmean(dice) < floor
    ]
