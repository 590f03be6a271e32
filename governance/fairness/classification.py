"""Fairness of yes-or-no findings, by AIF360 and Fairlearn, as the field measures it.

Each group is compared with all others, for AIF360 knows a privileged group and the rest only; Fairlearn gives the
largest difference between any two groups. What cannot be computed, such as a rate of wrong alarms where every case has
the finding, is None: not a number, and not zero.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from governance.errors import AuditDataError
from governance.fairness.groups import GroupedCase
from governance.fairness.quiet_aif360 import quiet_aif360

RECOGNISED, CLEARED = "recognised", "cleared"
"""The outcomes of cases with the finding, and without it: 1 where the model says so too."""
_ATTRIBUTE: Final = "group"
_LABEL: Final = "finding"


@dataclass(frozen=True)
class FoundCase:
    """One case, whether it has the finding, and whether the model says so.

    Attributes:
        case: A pseudonym and groups.
    """

    case: GroupedCase
    truth: bool
    predicted: bool


@dataclass(frozen=True)
class OneAgainstRest:
    """A group against all others, by AIF360.

    Attributes:
        cases: Of the group.
        statistical_parity_difference: Share called positive, the group's minus that of the others; 0 is alike.
        disparate_impact: The same as a ratio; 1 is alike.
        equal_opportunity_difference: Of those with the finding, the share that is recognised; 0 is alike.
        average_odds_difference: Mean difference of the recognised and of the wrong alarms; 0 is alike.
    """

    group: str
    cases: int
    statistical_parity_difference: float | None
    disparate_impact: float | None
    equal_opportunity_difference: float | None
    average_odds_difference: float | None


@dataclass(frozen=True)
class GroupRates:
    """What Fairlearn's MetricFrame counts in a group."""

    group: str
    cases: int
    selection_rate: float | None
    true_positive_rate: float | None
    false_positive_rate: float | None
    accuracy: float | None


@dataclass(frozen=True)
class ClassificationFairness:
    """One finding and one attribute, over its sufficiently large groups.

    Attributes:
        missing: Why there are no figures, in a sentence; None where there are.
        theil: Theil's index of the benefits of all cases: 0, all have the same.
        demographic_parity_difference, equalized_odds_difference: The largest between two groups, by Fairlearn.
    """

    finding: str
    attribute: str
    missing: str | None
    rest: tuple[OneAgainstRest, ...] = ()
    rates: tuple[GroupRates, ...] = ()
    theil: float | None = None
    demographic_parity_difference: float | None = None
    equalized_odds_difference: float | None = None


def outcomes_of(found: FoundCase) -> GroupedCase:
    """A case as governance.fairness.bias takes it: how well those with the finding, or without it, are served."""
    name = RECOGNISED if found.truth else CLEARED
    return GroupedCase(found.case.name, found.case.groups, {name: float(found.truth == found.predicted)})


def classification_fairness(
    cases: Sequence[FoundCase], finding: str, attribute: str, *, minimum_group: int
) -> ClassificationFairness:
    """Measure one finding by one attribute.

    Args:
        cases: Those whose attribute is unknown, and those of small groups, are left out.
        finding: Its name.
        attribute: By which people are told apart.
        minimum_group: Fewest cases of a group that is judged.

    Raises:
        AuditDataError: There is no case.
    """
    if not cases:
        raise AuditDataError(f"{finding}: expected cases, got none.")
    counts = Counter(each.case.groups.get(attribute) for each in cases)
    judged = sorted(group for group, count in counts.items() if group is not None and count >= minimum_group)
    if len(judged) < 2:
        return ClassificationFairness(
            finding, attribute, f"{finding}, {attribute}: fewer than two groups of {minimum_group} cases."
        )
    kept = [each for each in cases if each.case.groups.get(attribute) in judged]
    return ClassificationFairness(
        finding,
        attribute,
        None,
        rest=tuple(_one_against_rest(kept, attribute, group) for group in judged),
        rates=_group_rates(kept, attribute),
        theil=_theil(kept, attribute, judged[0]),
        **_largest_differences(kept, attribute),
    )


def _one_against_rest(cases: Sequence[FoundCase], attribute: str, group: str) -> OneAgainstRest:
    metric = _aif360_metric(cases, attribute, group)
    with quiet_aif360():
        return OneAgainstRest(
            group=group,
            cases=sum(each.case.groups[attribute] == group for each in cases),
            statistical_parity_difference=_finite(metric.statistical_parity_difference()),
            disparate_impact=_finite(metric.disparate_impact()),
            equal_opportunity_difference=_finite(metric.equal_opportunity_difference()),
            average_odds_difference=_finite(metric.average_odds_difference()),
        )


def _theil(cases: Sequence[FoundCase], attribute: str, group: str) -> float | None:
    metric = _aif360_metric(cases, attribute, group)
    with quiet_aif360():
        return _finite(metric.theil_index())


def _aif360_metric(cases: Sequence[FoundCase], attribute: str, group: str) -> Any:
    """The group is AIF360's unprivileged one, all others are privileged."""
    with quiet_aif360():
        import pandas as pd
        from aif360.datasets import BinaryLabelDataset
        from aif360.metrics import ClassificationMetric

        frames = [
            pd.DataFrame(
                {
                    _ATTRIBUTE: [float(each.case.groups[attribute] == group) for each in cases],
                    _LABEL: [float(each.truth if is_true else each.predicted) for each in cases],
                }
            )
            for is_true in (True, False)
        ]
        truth, predicted = (
            BinaryLabelDataset(
                favorable_label=1.0,
                unfavorable_label=0.0,
                df=frame,
                label_names=[_LABEL],
                protected_attribute_names=[_ATTRIBUTE],
            )
            for frame in frames
        )
        return ClassificationMetric(
            truth, predicted, unprivileged_groups=[{_ATTRIBUTE: 1.0}], privileged_groups=[{_ATTRIBUTE: 0.0}]
        )


def _group_rates(cases: Sequence[FoundCase], attribute: str) -> tuple[GroupRates, ...]:
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    frame = MetricFrame(
        metrics={
            "cases": count,
            "selection_rate": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
            "accuracy": accuracy_score,
        },
        **_columns(cases, attribute),
    )
    with_finding = Counter(each.case.groups[attribute] for each in cases if each.truth)
    found = []
    for group, row in frame.by_group.iterrows():
        # A rate over no case is nothing, where Fairlearn says 0.
        positives, negatives = with_finding[group], int(row["cases"]) - with_finding[group]
        found.append(
            GroupRates(
                group=str(group),
                cases=int(row["cases"]),
                selection_rate=_finite(row["selection_rate"]),
                true_positive_rate=_finite(row["true_positive_rate"]) if positives else None,
                false_positive_rate=_finite(row["false_positive_rate"]) if negatives else None,
                accuracy=_finite(row["accuracy"]),
            )
        )
    return tuple(found)


def _largest_differences(cases: Sequence[FoundCase], attribute: str) -> dict[str, float | None]:
    groups = {each.case.groups[attribute] for each in cases}
    both = {(each.case.groups[attribute], each.truth) for each in cases}
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    columns = _columns(cases, attribute)
    parity = _finite(demographic_parity_difference(**columns))
    # Only where each group has cases with the finding and without it is there a rate of both kinds.
    odds = _finite(equalized_odds_difference(**columns)) if len(both) == 2 * len(groups) else None
    return {"demographic_parity_difference": parity, "equalized_odds_difference": odds}


def _columns(cases: Sequence[FoundCase], attribute: str) -> dict[str, Any]:
    return {
        "y_true": [int(each.truth) for each in cases],
        "y_pred": [int(each.predicted) for each in cases],
        "sensitive_features": [each.case.groups[attribute] for each in cases],
    }


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
