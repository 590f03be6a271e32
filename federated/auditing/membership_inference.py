"""Who was trained on, as the model's answers tell it: membership inference.

The loss of a case on its own (Yeom et al. 2018, arXiv:1709.01604), and where shadow models are given, the likelihood
ratio of its confidence with and without it in their training (LiRA; Carlini et al. 2022, arXiv:2112.03570).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore, plain_network
from federated.auditing.proportion import Outcome, Proportion, judge_share, proportion
from federated.cases import Example
from federated.errors import EvaluationError
from federated.losses import region_loss
from federated.metrics import region_masks
from federated.model_file import Model
from federated.ports import Progress

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
FALSE_POSITIVES: Final = 0.01
LEAST_SPREAD: Final = 1e-3
RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Shadow:
    """A model that the attacker has trained like the audited one, on other draws of the same patients.

    Attributes:
        members: Names of the cases it was trained on.
    """

    model: Model
    members: frozenset[str]


@dataclass(frozen=True)
class Rates:
    """How well a score tells members from others.

    Attributes:
        true_positives: Members found at the threshold that allows FALSE_POSITIVES of the others, counted.
        false_positives: Others above that threshold.
        auc: Area under the ROC; 0.5 is chance. auc_low, auc_high: bootstrap over members and others.
        rate_low, rate_high: Bootstrap of the true-positive rate, the threshold drawn anew each time.
    """

    true_positives: Proportion
    false_positives: Proportion
    auc: float
    auc_low: float
    auc_high: float
    rate_low: float
    rate_high: float


@dataclass(frozen=True)
class MembershipReport:
    """Who was trained on, as attacks tell it.

    Attributes:
        members, others: Cases trained on and not.
        resolved: Whether the others are enough to see FALSE_POSITIVES at all: at least 1 / FALSE_POSITIVES.
        loss_gap: Mean loss of the others less that of the members.
        by_loss: Yeom's attack.
        by_shadows: LiRA, where shadow models were given.
        shadows: How many.
    """

    members: int
    others: int
    resolved: bool
    loss_gap: float
    by_loss: Rates
    by_shadows: Rates | None
    shadows: int

    def judge(self, limit: float) -> Outcome:
        """Whether the stronger attack's true-positive rate at FALSE_POSITIVES is at most a limit."""
        attacks = [self.by_loss] if self.by_shadows is None else [self.by_loss, self.by_shadows]
        outcomes = [judge_share(each.true_positives, limit) for each in attacks]
        if not self.resolved:
            return "insufficient-evidence"
        if "failed" in outcomes:
            return "failed"
        return "passed" if all(each == "passed" for each in outcomes) else "insufficient-evidence"


def membership_inference(
    model: AuditedModel,
    members: Sequence[Example],
    others: Sequence[Example],
    *,
    shadows: Sequence[Shadow] = (),
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = ignore,
) -> MembershipReport:
    """Try to tell training cases from others.

    Args:
        model: The audited model.
        members: Cases that it was trained on.
        others: Cases of the same kind that it was not trained on.
        shadows: For LiRA: each case must be in and out of at least two of them.
        limit: Most cases of each kind.
        seed: Of the intervals.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: A kind has no case, a case is in both, or shadows do not fit.
    """
    inside, outside = chosen_cases(members, limit), chosen_cases(others, limit)
    cases = [*inside, *outside]
    names = [each.name for each in cases]
    if {each.name for each in inside} & {each.name for each in outside}:
        raise EvaluationError("Expected cases that were either trained on or not; a name is among both.")
    is_in = np.array([[name in each.members for name in names] for each in shadows], bool).reshape(-1, len(names))
    if shadows and (is_in.sum(0).min() < 2 or (~is_in).sum(0).min() < 2):
        raise EvaluationError("Expected each case to be in and out of the training of at least two shadow models each.")
    total = (1 + len(shadows)) * len(cases)

    def report(done: int) -> None:
        progress(done / total)

    losses = case_losses(model.network, model.model.network.stride, cases, report)
    of_shadows: list[Floats] = []
    for shadow in shadows:
        before = len(cases) * (1 + len(of_shadows))
        network = plain_network(shadow.model)
        of_shadows.append(case_losses(network, shadow.model.network.stride, cases, partial(_report, report, before)))
    is_member = np.arange(len(cases)) < len(inside)
    rng = np.random.default_rng(seed)
    by_shadows = None
    if of_shadows:
        score = likelihood_ratios(logit_confidence(losses), logit_confidence(np.stack(of_shadows)), is_in)
        by_shadows = attack_rates(score, is_member, rng)
    return MembershipReport(
        members=len(inside),
        others=len(outside),
        resolved=len(outside) >= round(1 / FALSE_POSITIVES),
        loss_gap=float(losses[~is_member].mean() - losses[is_member].mean()),
        by_loss=attack_rates(-losses, is_member, rng),
        by_shadows=by_shadows,
        shadows=len(shadows),
    )


def _report(report: Callable[[int], None], before: int, done: int) -> None:
    report(before + done)


def case_losses(
    network: torch.nn.Module, stride: int, cases: Sequence[Example], report: Callable[[int], None]
) -> Floats:
    """The training's loss of each whole case, float64 (cases,)."""
    from federated.inference import run_network

    losses = []
    for done, case in enumerate(cases, start=1):
        regions = torch.from_numpy(np.stack(list(region_masks(case.labels).values()))).float()
        with torch.inference_mode():
            logits = run_network(network, torch.from_numpy(case.model_input.channels), stride)
            losses.append(float(region_loss(logits[None], regions[None])))
        report(done)
    return np.array(losses)


def logit_confidence(losses: Floats) -> Floats:
    """log(p / (1 - p)) with p = exp(-loss): about normal over trainings, as LiRA wants it."""
    losses = losses.clip(1e-12)
    confidence: Floats = -losses - np.log(-np.expm1(-losses))
    return confidence


def likelihood_ratios(target: Floats, shadows: Floats, is_in: Bools) -> Floats:
    """LiRA's score of each case: log-likelihood of the target's confidence if it was trained on, less that if not.

    Args:
        target: Confidences of the target, (cases,).
        shadows: Of the shadow models, (shadows, cases).
        is_in: Which of them were trained on the case.
    """
    return np.array(
        [
            _log_density(value, seen[inside]) - _log_density(value, seen[~inside])
            for value, seen, inside in zip(target, shadows.T, is_in.T, strict=True)
        ]
    )


def attack_rates(score: Floats, is_member: Bools, rng: np.random.Generator) -> Rates:
    """True positives at FALSE_POSITIVES, and the area under the ROC; members are called where the score is high."""
    inside, outside = score[is_member], score[~is_member]
    found = inside > _threshold(outside)
    resampled = [
        (float((drawn > _threshold(against)).mean()), _area(drawn, against))
        for drawn, against in (
            (rng.choice(inside, len(inside)), rng.choice(outside, len(outside))) for _ in range(RESAMPLES)
        )
    ]
    (rate_low, auc_low), (rate_high, auc_high) = np.quantile(resampled, [0.025, 0.975], axis=0)
    return Rates(
        true_positives=proportion(int(found.sum()), len(inside)),
        false_positives=proportion(int((outside > _threshold(outside)).sum()), len(outside)),
        auc=_area(inside, outside),
        auc_low=float(auc_low),
        auc_high=float(auc_high),
        rate_low=float(rate_low),
        rate_high=float(rate_high),
    )


def _threshold(outside: Floats) -> float:
    """The lowest one that lets no more than FALSE_POSITIVES of the others pass."""
    ordered = np.sort(outside)
    return float(ordered[len(ordered) - 1 - int(FALSE_POSITIVES * len(ordered))])


def _area(inside: Floats, outside: Floats) -> float:
    ordered = np.sort(outside)
    ranks = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(ranks.mean() / 2 / len(ordered))


def _log_density(value: float, sample: Floats) -> float:
    spread = max(float(sample.std(ddof=1)), LEAST_SPREAD)
    return -((value - float(sample.mean())) ** 2) / (2 * spread**2) - math.log(spread)
