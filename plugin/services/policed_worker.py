"""A site's worker, whose figures pass through the site's policy before the agent sees them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from federated.rounds.layout import Weights
from federated.rounds.messages import Stage
from federated.rounds.ports import SiteWorker, Work
from federated.rounds.terms import RoundTerms
from plugin.errors import SitePolicyError
from plugin.services.policy_model import Leaves
from plugin.services.site_policy import read_policy

GROUPS, GROUPS_EPSILON = "groups", "groups_epsilon"
"""Figures of subgroups, and what their noise leaves them to cost each patient; without a cost they have no noise."""


class PolicedWorker:
    """SiteWorker that hands on only the figures that may leave; the policy is read anew at every call."""

    def __init__(self, worker: SiteWorker, policy_file: Path) -> None:
        """Stand before a worker."""
        self._worker = worker
        self._policy_file = policy_file

    def work(self, terms: RoundTerms, stage: Stage, weights: Weights, extras: Mapping[str, bytes]) -> Work:
        """Have a stage done, if anything of it may leave; see SiteWorker."""
        try:
            leaves = read_policy(self._policy_file).leaves
        except SitePolicyError:
            return Work(failure="The site's policy cannot be used, and nothing leaves without one.")
        if stage is Stage.EVALUATE and not leaves.metrics:
            return Work(failure="The site's policy lets no metrics leave: the new model is not evaluated here.")
        found = self._worker.work(terms, stage, weights, extras)
        if found.result is not None and not leaves.metrics:
            found = replace(found, result=replace(found.result, figures={}))
        if not leaves.metrics:
            found = replace(found, progress=replace(found.progress, loss=None))
        return replace(found, figures=_filtered(found.figures, leaves)) if found.figures is not None else found

    def forget(self, terms: RoundTerms) -> None:
        """The round is over."""
        self._worker.forget(terms)


def _filtered(figures: Mapping[str, Any], leaves: Leaves) -> Mapping[str, Any]:
    epsilon = figures.get(GROUPS_EPSILON)
    if leaves.subgroup_sums and isinstance(epsilon, float) and 0 < epsilon < math.inf:
        return figures
    return {**figures, GROUPS: {}, GROUPS_EPSILON: None}
