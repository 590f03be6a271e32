"""From measured cases to what an audit says of fairness and performance: verdicts, and tables for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

from governance.audit import AuditOutcome
from governance.audit_controls import (
    Verdict,
    at_least,
    at_most,
    bias_verdict,
    equity_verdict,
    no_evidence,
    worst_group_verdict,
)
from governance.errors import AuditDataError
from governance.fairness.bias import BiasScore, bias_score
from governance.fairness.classification import FoundCase, classification_fairness, outcomes_of
from governance.fairness.groups import GroupedCase
from governance.fairness.intervals import Figure, mean_figure
from governance.fairness.segmentation import equity_scaled_by, size_normalised_dice, worst_group
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_cases import WHOLE, MeasuredCase
from plugin.services.governance.mimic_cohort import MimicCohort

DICE: Final = "Dice of the whole tumour"
SURFACE: Final = "surface Dice of the whole tumour"
NORMALISED: Final = "size-normalised Dice of the whole tumour"
_DESERVED: Final = "deserved confidence"
_ENHANCING: Final = "enhancing"
_LEAST_ENHANCING_ML: Final = 0.1
"""Of enhancing tumour, from which on a case has it: less is a few voxels."""
_SEED: Final = 0


@dataclass(frozen=True)
class Findings:
    """What was found: verdicts by the control's name, and tables by section."""

    verdicts: Mapping[str, Verdict]
    sections: Mapping[str, Any]


def segmentation_findings(cases: Sequence[MeasuredCase], policy: GovernancePolicy) -> Findings:
    """Judge outlines.

    Raises:
        AuditDataError: There is no case.
    """
    if not cases:
        raise AuditDataError("Expected measured cases, got none.")
    rules = policy.fairness
    grouped = [each.grouped(outcome) for each, outcome in zip(cases, _outcomes(cases), strict=True)]
    dice, surface, normalised = (_score(grouped, outcome, policy) for outcome in (DICE, SURFACE, NORMALISED))
    deserved = _score(grouped, _DESERVED, policy)
    overall = mean_figure([each.dice[WHOLE] for each in cases], confidence=rules.confidence)
    worst = worst_group(dice.gaps, confidence=rules.confidence)
    equity = [
        equity_scaled_by(
            grouped, DICE, attribute, minimum_group=rules.minimum_group, confidence=rules.confidence, seed=_SEED
        )
        for attribute in rules.attributes
    ]
    enhancing = [
        FoundCase(
            GroupedCase(each.name, each.groups),
            each.drawn_ml[_ENHANCING] >= _LEAST_ENHANCING_ML,
            each.found_ml[_ENHANCING] >= _LEAST_ENHANCING_ML,
        )
        for each in cases
    ]
    finding = f"enhancing tumour, {_LEAST_ENHANCING_ML:g} ml or more"
    verdicts = {
        "bias": bias_verdict(dice, policy),
        "performance": at_least(
            overall,
            policy.performance.whole_tumour_dice,
            "Mean Dice of the whole tumour",
            minimum=rules.minimum_group,
        ),
        "worst-group": worst_group_verdict(worst, policy),
        "equity-scaled-dice": equity_verdict(equity, policy),
        "surface-distance": bias_verdict(surface, policy, "bias score of surface Dice"),
        "calibration": _calibration_verdict(deserved, policy),
    }
    return Findings(
        verdicts,
        {
            "groups": _group_rows(cases, dice),
            "bias": [_score_row(score) for score in (dice, surface, normalised)],
            "equity": equity,
            "classification": [
                classification_fairness(enhancing, finding, attribute, minimum_group=rules.minimum_group)
                for attribute in rules.attributes
            ],
            "classification-bias": [_classification_score(enhancing, finding, policy)],
            "calibration": _calibration(cases),
            "cases": {
                "dice": sorted(round(each.dice[WHOLE], 3) for each in cases),
                "mean-dice": {region: fmean(each.dice[region] for each in cases) for region in cases[0].dice},
                "performance": overall,
            },
        },
    )


def mimic_findings(cohort: MimicCohort, policy: GovernancePolicy) -> Findings:
    """Judge yes-or-no findings: those who have one must be recognised, and those who have it not be cleared, alike.

    The bias score is the largest of all findings' scores, each of which is that of these two outcomes. With several
    findings the confidence is shared among them.

    Raises:
        AuditDataError: A finding has no case.
    """
    rules = policy.fairness
    share = 1 - (1 - rules.confidence) / len(cohort.findings)
    scores: dict[str, BiasScore] = {}
    tables: list[Any] = []
    for finding, cases in cohort.findings.items():
        scores[finding] = _found_score(cases, policy, share)
        tables.extend(
            classification_fairness(cases, finding, attribute, minimum_group=rules.minimum_group)
            for attribute in rules.attributes
        )
    verdicts = {name: bias_verdict(score, policy, "score") for name, score in scores.items()}
    accuracy = {
        name: mean_figure([float(each.truth == each.predicted) for each in cases], confidence=rules.confidence)
        for name, cases in cohort.findings.items()
    }
    outlines = "These are yes-or-no findings; there are no outlines to measure."
    return Findings(
        {
            "bias": _worst_of(verdicts),
            **dict.fromkeys(
                ("performance", "worst-group", "equity-scaled-dice", "surface-distance", "calibration"),
                no_evidence(outlines),
            ),
        },
        {
            "bias": [{"finding": name, **_score_row(score)} for name, score in scores.items()],
            "classification": tables,
            "accuracy": accuracy,
            "threshold": cohort.threshold,
        },
    )


def _outcomes(cases: Sequence[MeasuredCase]) -> list[dict[str, float]]:
    shares = [(each.voxels[0] + each.voxels[2]) / max(sum(each.voxels), 1) for each in cases]
    reference = min(max(fmean(shares), 1e-6), 1 - 1e-6)
    return [
        {
            DICE: each.dice[WHOLE],
            SURFACE: each.surface_dice[WHOLE],
            NORMALISED: size_normalised_dice(*each.voxels, reference_share=reference),
            _DESERVED: (1 - each.confidence + each.dice[WHOLE]) / 2,
        }
        for each in cases
    ]


def _score(cases: Sequence[GroupedCase], outcome: str, policy: GovernancePolicy) -> BiasScore:
    rules = policy.fairness
    return bias_score(
        cases,
        (outcome,),
        rules.attributes,
        minimum_group=rules.minimum_group,
        confidence=rules.confidence,
        seed=_SEED,
    )


def _found_score(cases: Sequence[FoundCase], policy: GovernancePolicy, confidence: float) -> BiasScore:
    judged = [outcomes_of(each) for each in cases]
    return bias_score(
        judged,
        sorted({name for each in judged for name in each.outcomes}),
        policy.fairness.attributes,
        minimum_group=policy.fairness.minimum_group,
        confidence=confidence,
        seed=_SEED,
    )


def _classification_score(cases: Sequence[FoundCase], finding: str, policy: GovernancePolicy) -> dict[str, Any]:
    return {"finding": finding, **_score_row(_found_score(cases, policy, policy.fairness.confidence))}


def _worst_of(verdicts: Mapping[str, Verdict]) -> Verdict:
    """All findings' verdicts as one: what failed is named, and what passed only counted."""
    for outcome in (AuditOutcome.FAILED, AuditOutcome.INSUFFICIENT_EVIDENCE, AuditOutcome.PASSED):
        found = {name: each for name, each in verdicts.items() if each.outcome is outcome}
        if found:
            first = next(iter(found.values()))
            return Verdict(
                outcome,
                "; ".join(f"{name}: {each.measured}" for name, each in found.items()),
                first.threshold,
                f"{len(found)} of {len(verdicts)} findings: "
                + " ".join(dict.fromkeys(e.reason for e in found.values())),
            )
    return no_evidence("There is no finding.")


def _calibration_verdict(deserved: BiasScore, policy: GovernancePolicy) -> Verdict:
    """The group whose results deserve their confidence least: mean confidence less mean Dice, held to the threshold."""
    limit = policy.fairness.bias_threshold
    worst = worst_group(deserved.gaps, confidence=policy.fairness.confidence)
    if worst is None:
        return no_evidence(f"No group has {policy.fairness.minimum_group} cases.", f"at most {limit:g}, upper end")
    figure = Figure(1 - 2 * worst.figure.value, 1 - 2 * worst.figure.high, 1 - 2 * worst.figure.low, worst.figure.cases)
    what = f"Confidence less Dice is largest for {worst.group} ({worst.attribute})"
    return at_most(figure, limit, what)


def _group_rows(cases: Sequence[MeasuredCase], dice: BiasScore) -> list[dict[str, Any]]:
    """One row a group, the small ones too; values are sorted, so that no case can be followed between attributes."""
    rows = []
    for gap in dice.gaps:
        judged = {each.group: each for each in gap.groups}
        names = sorted({each.groups[gap.attribute] for each in cases if gap.attribute in each.groups})
        for name in names:
            inside = [each for each in cases if each.groups.get(gap.attribute) == name]
            known = judged.get(name)
            rows.append(
                {
                    "attribute": gap.attribute,
                    "group": name,
                    "cases": len(inside),
                    "judged": known is not None,
                    "dice": fmean(each.dice[WHOLE] for each in inside),
                    "low": known.low if known else None,
                    "high": known.high if known else None,
                    "surface_dice": fmean(each.surface_dice[WHOLE] for each in inside),
                    "hausdorff_95_mm": median(each.hausdorff_95_mm[WHOLE] for each in inside),
                    "confidence": fmean(each.confidence for each in inside),
                    "drawn_ml": median(each.drawn_ml[WHOLE] for each in inside),
                    "values": sorted(round(each.dice[WHOLE], 3) for each in inside) if known else [],
                }
            )
    return rows


def _score_row(score: BiasScore) -> dict[str, Any]:
    return {
        "outcome": ", ".join(dict.fromkeys(gap.outcome for gap in score.gaps)),
        "score": score.score,
        "low": score.low,
        "high": score.high,
        "by_chance": score.by_chance,
        "missing": list(score.missing),
        "attributes": [
            {
                "outcome": gap.outcome,
                "attribute": gap.attribute,
                "score": gap.score,
                "low": gap.low,
                "high": gap.high,
                "by_chance": gap.by_chance,
                "best": gap.best,
                "worst": gap.worst,
                "missing": gap.missing,
            }
            for gap in score.gaps
        ],
    }


def _calibration(cases: Sequence[MeasuredCase]) -> dict[str, Any]:
    """The whole tumour's reliability over all voxels of the heads, and the expected calibration error."""
    bins = len(cases[0].reliability[0])
    counts, predicted, observed = (
        [sum(each.reliability[row][number] for each in cases) for number in range(bins)] for row in range(3)
    )
    total = sum(counts)
    error = sum(abs(one - other) for one, other in zip(predicted, observed, strict=True)) / total if total else None
    return {
        "voxels": int(total),
        "predicted": [one / count if count else None for one, count in zip(predicted, counts, strict=True)],
        "observed": [one / count if count else None for one, count in zip(observed, counts, strict=True)],
        "shares": [count / total if total else None for count in counts],
        "expected_error": error,
        "mean_confidence": fmean(each.confidence for each in cases),
        "mean_dice": fmean(each.dice[WHOLE] for each in cases),
    }
