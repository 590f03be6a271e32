"""Figures pass through the policy before the agent sees them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult, Work
from plugin.services.policed_worker import PolicedWorker
from plugin.services.site_policy import default_policy_text
from tests.fakes.round_terms import example_terms

FIGURES = {
    "cases": 4,
    "dice": {"whole tumour": 0.8},
    "groups": {"sex: F": {"count": 12.1, "dice": {"whole tumour": 9.3}}},
    "groups_epsilon": 1.0,
}


@dataclass
class Worker:
    """Has done whatever it is asked."""

    figures: dict = field(default_factory=lambda: dict(FIGURES))
    asked: list = field(default_factory=list)
    forgotten: list = field(default_factory=list)

    def work(self, terms, stage, weights, extras):
        self.asked.append(stage)
        progress = Progress(3, 5, 0.25)
        if stage is Stage.EVALUATE:
            return Work(progress, figures=self.figures)
        result = LocalResult(np.zeros(2, np.float32), 7, {"loss": 0.25, "seconds": 2.0}, 0.5)
        return Work(progress, result=result)

    def forget(self, terms):
        self.forgotten.append(terms)


@pytest.fixture
def policed(tmp_path):
    def build(**leaves):
        text = default_policy_text()
        for name, value in leaves.items():
            text = text.replace(f"{name}: {str(not value).lower()}", f"{name}: {str(value).lower()}")
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        worker = Worker()
        return PolicedWorker(worker, path), worker

    return build


def ask(policed, stage):
    return policed.work(example_terms(), stage, {}, {})


def test_metrics_pass_where_they_may_leave(policed):
    worker, _ = policed()
    trained = ask(worker, Stage.TRAIN)
    assert trained.result.figures == {"loss": 0.25, "seconds": 2.0}
    assert (trained.result.examples, trained.result.epsilon, trained.progress.loss) == (7, 0.5, 0.25)
    assert ask(worker, Stage.EVALUATE).figures == {**FIGURES, "groups": {}, "groups_epsilon": None}


def test_subgroup_sums_pass_with_their_cost_only(policed):
    worker, inner = policed(subgroup_sums=True)
    assert ask(worker, Stage.EVALUATE).figures == FIGURES
    for epsilon in (None, 0.0, -1.0, float("nan"), float("inf"), "much", True):
        inner.figures = {**FIGURES, "groups_epsilon": epsilon}
        assert ask(worker, Stage.EVALUATE).figures == {**FIGURES, "groups": {}, "groups_epsilon": None}
    inner.figures = {"cases": 4, "dice": {}, "groups": {"sex: F": 0.7}}
    assert ask(worker, Stage.EVALUATE).figures["groups"] == {}


def test_without_metrics_nothing_but_the_update_is_handed_on(policed):
    worker, inner = policed(metrics=False)
    trained = ask(worker, Stage.TRAIN)
    assert (trained.result.figures, trained.result.examples, trained.progress.loss) == ({}, 7, None)
    evaluated = ask(worker, Stage.EVALUATE)
    assert evaluated.figures is None
    assert "no metrics" in evaluated.failure
    assert inner.asked == [Stage.TRAIN], "what may not leave is not computed"


def test_without_a_policy_nothing_is_done(tmp_path):
    inner = Worker()
    found = ask(PolicedWorker(inner, tmp_path / "none.yaml"), Stage.TRAIN)
    assert "policy" in found.failure
    assert str(tmp_path) not in found.failure
    assert not inner.asked


def test_forgetting_is_passed_on(policed):
    worker, inner = policed()
    worker.forget(example_terms())
    assert len(inner.forgotten) == 1
