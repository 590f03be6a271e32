"""Case weights of a training: the fairness filter, run on the cases that a training draws from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.cohort_table import CohortCase, size_outcomes
from federated.balancing.fairness_filter import Filtered, filter_cohort
from federated.balancing.image_features import image_features
from federated.cases import Example
from federated.errors import BalanceDataError
from federated.sampling import CaseWeights


def weigh_cases(
    examples: Sequence[Example], groups: Sequence[Mapping[str, str]], settings: BalanceSettings
) -> CaseWeights:
    """Weights of training cases, the outcome being the tumour's size.

    Args:
        examples: To train on, all on one grid's spacing.
        groups: Of each case, by attribute, as far as they are known.
        settings: What to balance, and how.

    Raises:
        BalanceDataError: No attribute has two groups of enough cases: nothing is trained on a guess.
    """
    outcomes = size_outcomes([float((example.labels > 0).sum()) for example in examples])
    # Real and synthetic cases may share a name.
    cases = [
        CohortCase(f"{place}", known, outcome)
        for place, (known, outcome) in enumerate(zip(groups, outcomes, strict=True))
    ]
    features = np.array([image_features(example) for example in examples])
    filtered = filter_cohort(cases, settings, features)
    if filtered.outcome != "balanced":
        raise BalanceDataError(
            f"Insufficient evidence: expected two groups of {settings.minimum_group} training cases or more by "
            f"{' or '.join(settings.attributes)}, got {_told(filtered)}; add cases with demographics, or train without "
            "--balance."
        )
    return CaseWeights(filtered.weights, describe_filter(filtered, settings))


def describe_filter(filtered: Filtered, settings: BalanceSettings) -> dict[str, Any]:
    """What was done, as JSON for a model's card. Sizes of small groups stay out: they may point at persons."""
    solution = filtered.solution
    return {
        "settings": {**asdict(settings), "attributes": list(settings.attributes)},
        "outcome": filtered.outcome,
        "cases": len(filtered.weights),
        "effective_cases": round(filtered.effective_cases, 1),
        "weights": [round(min(filtered.weights), 3), round(max(filtered.weights), 3)],
        "qubits": filtered.qubits,
        "energy_above_optimum": None
        if solution is None or filtered.optimum is None
        else round(solution.energy - filtered.optimum, 9),
        "attributes": {
            each.attribute: {
                "outcome": each.outcome,
                "p_value": each.p_value,
                "before": None if each.before is None else _rounded(asdict(each.before)),
                "after": None if each.after is None else _rounded(asdict(each.after)),
                "leakage_auc_before": None if each.leakage_before is None else each.leakage_before.auc,
                "leakage_auc_after": None if each.leakage_after is None else each.leakage_after.auc,
            }
            for each in filtered.findings
        },
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}


def _told(filtered: Filtered) -> str:
    return "; ".join(
        f"{each.attribute}: {', '.join(f'{name} {count}' for name, count in each.sizes.items()) or 'unknown of all'}"
        for each in filtered.findings
    )
