from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.demographics import Demographics
from federated.errors import (
    PrivacySettingsError,
    RoundRecordError,
    TermsError,
    TrainingDataError,
    UpdateError,
)
from federated.group_figures import group_figures
from federated.initial_weights import fresh_weights
from federated.local_training import round_settings, site_seed
from federated.local_work import do_work
from federated.metrics import REGIONS
from federated.models import describe_network
from federated.presets import PRESETS, Preset
from federated.rounds.messages import Progress, Stage
from federated.rounds.terms import Learning, Privacy
from federated.sampling import Split
from federated.site_state import SiteFolder
from federated.strategies import extras, norm_names, shared_names, start_state
from tests.fakes.federated_rounds import learning_terms, run_round
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import CPU, tiny_example, tiny_settings

STRATEGIES = ("fedavg", "fedprox", "scaffold", "fedadam", "fedbn", "ditto")
COHORTS = {
    "north": Split(real=[tiny_example(0), tiny_example(1)], validation=[tiny_example(3)]),
    "south": Split(synthetic=[tiny_example(2)], validation=[tiny_example(4)]),
}


@pytest.fixture(autouse=True)
def _unit_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "unit", Preset("for tests", tiny_settings(batch=1)))


class Federation:
    """Two sites with folders of their own."""

    def __init__(self, folder, strategy="fedavg", *, rounds=3, trainable="all", privacy=None, **learning):
        chosen = {"preset": "unit", "strategy": strategy, "trainable": trainable, "steps": 2, "batch": 1, **learning}
        names = shared_names(TINY_NETWORK, Learning(**chosen))
        self.folder = folder
        self.state = start_state(fresh_weights(TINY_NETWORK, 1), names, Learning(**chosen))
        self.terms = learning_terms(self.state, describe_network(TINY_NETWORK), rounds=rounds, **chosen)
        self.terms = replace(self.terms, privacy=privacy or Privacy())

    def work(self, terms, stage, weights, pieces, site, **changes):
        arguments = {
            "site": site,
            "state": self.folder / site / "state",
            "checkpoints": self.folder / site / f"{stage}-{terms.round}",
            "device": CPU,
            **changes,
        }
        return do_work(terms, stage, weights, pieces, arguments.pop("cohort", COHORTS[site]), **arguments)

    def train(self, site="north", **changes):
        pieces = extras(self.state, self.terms, site)
        return self.work(self.terms, Stage.TRAIN, self.state.weights, pieces, site, **changes)

    def evaluate(self, site="north", **changes):
        return self.work(self.terms, Stage.EVALUATE, self.state.weights, {}, site, **changes)

    def round(self, **arguments):
        self.state, self.terms = run_round(self.state, self.terms, self.work, **arguments)


@pytest.fixture
def federation(tmp_path):
    return lambda *arguments, **named: Federation(tmp_path / "sites", *arguments, **named)


def interrupting(at):
    def report(progress):
        if progress.step == at:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_rounds_change_what_is_shared_and_nothing_else(federation, strategy):
    sites = federation(strategy, server_rate=0.01 if strategy == "fedadam" else 1.0)
    before = sites.state.weights
    sites.round()
    sites.round()
    changed = {name for name in before if not np.array_equal(before[name], sites.state.weights[name])}
    shared = set(before) - (norm_names(TINY_NETWORK) if strategy == "fedbn" else set())
    assert changed == shared
    assert (sites.state.round, dict(sites.state.counted)) == (2, {"north": 2, "south": 2})


def test_tells_what_the_training_came_to(federation):
    steps = []
    result = federation().train(report=steps.append)
    assert result.update.dtype == np.float32
    assert (result.examples, result.epsilon) == (2, 0.0)
    assert [(step.step, step.steps) for step in steps] == [(1, 2), (2, 2)]
    assert result.figures["loss"] == pytest.approx(np.mean([step.loss for step in steps]), abs=1e-6)
    assert result.figures["seconds"] > 0
    assert result.figures["joules"] is None
    assert set(result.figures["dice"]) == set(REGIONS)


def test_without_held_out_cases_there_is_no_dice(federation):
    cohort = replace(COHORTS["north"], validation=())
    sites = federation()
    assert sites.train(cohort=cohort).figures["dice"] is None
    found = sites.evaluate(cohort=cohort)
    assert (found["cases"], found["dice"], found["groups"]) == (0, None, {})


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "ditto", "fedbn"])
def test_a_worker_that_is_killed_at_any_step_ends_at_the_same_bytes(federation, tmp_path, strategy):
    sites = federation(strategy, steps=3)
    sites.round()
    whole = sites.train()
    state = SiteFolder(tmp_path / "sites/north/state").after(2)
    killed = tmp_path / "sites/north/killed"
    for step in range(1, 7 if strategy == "ditto" else 4):
        with pytest.raises(KeyboardInterrupt):
            sites.train(checkpoints=killed, report=interrupting(step))
    again = [sites.train(checkpoints=killed, report=interrupting(step)) for step in (-1, 1)]
    for found in again:
        assert found.update.tobytes() == whole.update.tobytes()
        assert {**found.figures, "seconds": 0} == {**whole.figures, "seconds": 0}
    assert again[0].figures == again[1].figures
    after = SiteFolder(tmp_path / "sites/north/state").after(2)
    assert after.control.tobytes() == state.control.tobytes()
    assert {name: each.tobytes() for name, each in after.personal.items()} == {
        name: each.tobytes() for name, each in state.personal.items()
    }


def test_sites_and_rounds_draw_different_cases(federation):
    terms = federation().terms
    seeds = {site_seed(each, site) for each in (terms, replace(terms, round=2)) for site in ("north", "south")}
    other = replace(terms, learning=replace(terms.learning, seed=5))
    assert len(seeds | {site_seed(other, "north")}) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_trains_by_the_terms_numbers_and_the_presets_way(federation):
    settings = round_settings(federation(steps=7, learning_rate=0.02, batch=3).terms, "north")
    assert (settings.steps, settings.learning_rate, settings.batch, settings.patch) == (7, 0.02, 3, (24, 24, 24))
    assert settings.average_decay == 0.0


def test_a_round_without_steps_changes_nothing(federation):
    result = federation(steps=0).train()
    assert not result.update.any()
    assert (result.figures["loss"], result.figures["seconds"]) == (None, 0.0)


def test_fedprox_stays_nearer_to_the_global_model(federation):
    distances = [
        np.linalg.norm(
            federation("fedprox", proximal=pull, steps=12, learning_rate=0.05).train(checkpoints=where).update
        )
        for pull, where in ((0.0, federation().folder / "a"), (100.0, federation().folder / "b"))
    ]
    assert distances[1] < distances[0] / 2


def test_scaffolds_update_brings_the_change_of_the_control(federation, tmp_path):
    sites = federation("scaffold")
    size = sites.state.layout.size
    first = sites.train()
    assert first.update.shape == (2 * size,)
    own = SiteFolder(tmp_path / "sites/north/state").after(1).control
    np.testing.assert_array_equal(first.update[size:], own)
    sites.round()
    second = sites.train()
    np.testing.assert_allclose(
        second.update[size:], SiteFolder(tmp_path / "sites/north/state").after(2).control - own, atol=1e-7
    )
    controls = [SiteFolder(tmp_path / "sites" / site / "state").after(1).control for site in ("north", "south")]
    # Weighted by cases: two and one.
    np.testing.assert_allclose(sites.state.control, (2 * controls[0] + controls[1]) / 3, atol=1e-7)


def test_a_control_whose_update_was_lost_is_taken_back(federation, tmp_path):
    sites = federation("scaffold")
    size = sites.state.layout.size
    sites.round()
    first = SiteFolder(tmp_path / "sites/north/state").after(1).control
    sites.train()
    sites.round(sites=["south"])
    result = sites.train()
    fresh = SiteFolder(tmp_path / "sites/north/state").after(3).control
    np.testing.assert_allclose(result.update[size:], fresh - first, atol=1e-7)


def test_fedbn_keeps_its_norms_at_the_site(federation, tmp_path):
    sites = federation("fedbn")
    sites.round()
    norms = {site: SiteFolder(tmp_path / "sites" / site / "state").after(1).personal for site in ("north", "south")}
    assert set(norms["north"]) == norm_names(TINY_NETWORK)
    assert any(not np.array_equal(norms["north"][name], norms["south"][name]) for name in norms["north"])
    assert not any(name in norm_names(TINY_NETWORK) for name, _ in sites.state.layout.entries)
    told = sites.evaluate("north")
    (tmp_path / "sites/north/state/round-000001.safetensors").unlink()
    assert sites.evaluate("north")["dice"] != told["dice"] or sites.evaluate("north")["auc"] != told["auc"]


def test_dittos_own_model_is_another_one_and_stays(federation, tmp_path):
    sites = federation("ditto", proximal=0.1, steps=4)
    plain = federation("fedavg", steps=4)
    plain.folder = tmp_path / "plain"
    np.testing.assert_array_equal(sites.train().update, plain.train().update)
    sites.round()
    assert sites.evaluate()["personal"]["auc"] != sites.evaluate()["auc"]
    personal = SiteFolder(tmp_path / "sites/north/state").after(1).personal
    assert set(personal) == {name for name, _ in sites.state.layout.entries}
    sites.round()
    drift = SiteFolder(tmp_path / "sites/north/state").after(2).personal
    assert any(not np.array_equal(personal[name], drift[name]) for name in personal)


def test_a_strong_pull_keeps_dittos_own_model_at_the_global_one(federation, tmp_path):
    distances = {}
    for pull in (0.0, 1000.0):
        sites = federation("ditto", proximal=pull, steps=12, learning_rate=0.05)
        sites.folder = tmp_path / str(pull)
        sites.train()
        personal = SiteFolder(sites.folder / "north/state").after(1).personal
        distances[pull] = sum(
            float(np.square(each - sites.state.weights[name]).sum()) for name, each in personal.items()
        )
    assert distances[1000.0] < distances[0.0] / 4


def test_transfer_learning_trains_the_head_only(federation):
    sites = federation(trainable="head")
    assert all(name.startswith("head.") for name, _ in sites.state.layout.entries)
    result = sites.train()
    assert result.update.size == sites.state.layout.size < 60
    assert result.update.any()


def test_fedbn_with_a_frozen_body_keeps_nothing_of_its_own(federation, tmp_path):
    federation("fedbn", trainable="head").train()
    assert not SiteFolder(tmp_path / "sites/north/state").after(1).personal


def test_record_level_privacy_tells_its_cost_and_no_loss(federation):
    privacy = Privacy(record_noise=1.0, record_epsilon=100.0, delta=1e-3)
    steps = []
    sites = federation(privacy=privacy, trainable="head")
    result = sites.train(report=steps.append)
    assert 0 < result.epsilon < 100
    assert result.figures["loss"] is None
    assert {step.loss for step in steps} == {None}
    assert sites.train().update.tobytes() == result.update.tobytes()
    other = federation(privacy=privacy, trainable="head")
    other.folder = sites.folder / "other"
    # The noise is the site's secret: the seed of the run does not give it away.
    assert other.train().update.tobytes() != result.update.tobytes()


def test_dittos_own_figures_stay_with_record_level_privacy(federation):
    sites = federation("ditto", privacy=Privacy(record_noise=1.0, record_epsilon=100.0, delta=1e-3), trainable="head")
    sites.train()
    assert sites.evaluate()["personal"] == {"dice": None, "auc": None}


def test_scaffold_refuses_record_level_privacy(federation):
    with pytest.raises(PrivacySettingsError, match="SCAFFOLD"):
        federation("scaffold", privacy=Privacy(record_noise=1.0)).train()


def test_a_cohort_that_changed_is_trained_anew(federation, tmp_path):
    sites = federation(steps=3)
    with pytest.raises(KeyboardInterrupt):
        sites.train(report=interrupting(2))
    fewer = replace(COHORTS["north"], real=[tiny_example(1)])
    clean = federation(steps=3)
    clean.folder = tmp_path / "clean"
    assert sites.train(cohort=fewer).update.tobytes() == clean.train(cohort=fewer).update.tobytes()


def test_an_evaluation_gives_means_of_the_global_model(federation):
    sites = federation()
    found = sites.evaluate()
    assert found["cases"] == 1
    assert set(found["dice"]) == set(found["auc"]) == set(REGIONS)
    assert (found["groups"], found["groups_epsilon"]) == ({}, None)
    assert found == sites.evaluate()


def people(count):
    return {f"case-{index}": Demographics("FM"[index % 2], 50 if index % 3 else 70, "white") for index in range(count)}


def test_subgroups_leave_as_noised_sums_of_large_groups_in_the_last_round_only(federation, tmp_path):
    terms = federation(rounds=1).terms
    dice = {f"case-{index}": 0.8 for index in range(600)}
    found = group_figures(dice, people(600), terms, tmp_path)
    assert 0 < found.epsilon <= 1
    assert set(found.groups) == {"sex: F", "sex: M", "age: 40-59", "age: 60-79", "ethnicity: white"}
    noised = found.groups["sex: F"]
    assert noised["count"] == pytest.approx(300, abs=100)
    assert noised["count"] != 300
    assert noised["dice"]["whole-tumour"] == pytest.approx(240, abs=100)
    assert group_figures(dice, people(600), terms, tmp_path) == found
    assert group_figures(dice, people(600), replace(terms, rounds=9), tmp_path).epsilon == 0
    small = {name: dice[name] for name in list(dice)[:9]}
    assert group_figures(small, people(9), terms, tmp_path).groups == {}


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        pytest.param({"layout": "0" * 64}, TermsError, "Expected the layout", id="layout"),
        pytest.param({"learning": Learning(preset="none")}, TermsError, "Expected a preset of", id="preset"),
    ],
)
def test_refuses_terms_that_this_version_does_not_have(federation, change, error, told):
    sites = federation()
    sites.terms = replace(sites.terms, **change)
    with pytest.raises(error, match=told):
        sites.train()


def test_refuses_a_stage_that_is_no_work(federation):
    sites = federation()
    with pytest.raises(TermsError, match="train or evaluate, got join"):
        sites.work(sites.terms, Stage.JOIN, sites.state.weights, {}, "north")


def test_refuses_to_train_on_nothing(federation):
    with pytest.raises(TrainingDataError, match="north: expected at least one case"):
        federation().train(cohort=Split(validation=[tiny_example(3)]))


def test_refuses_weights_of_another_network(federation):
    sites = federation()
    weights = {name: each for name, each in sites.state.weights.items() if not name.startswith("head.")}
    with pytest.raises(UpdateError, match="weights of the terms' network"):
        sites.work(sites.terms, Stage.TRAIN, weights, {}, "north")


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        pytest.param({}, "control variate", id="no control"),
        pytest.param({"control": b"12345"}, "control variate", id="half a number"),
        pytest.param({"control": np.float32("nan").tobytes()}, "control variate", id="NaN"),
        pytest.param({"counted": b"one"}, "number of a round", id="no number"),
    ],
)
def test_refuses_pieces_that_cannot_be_right(federation, pieces, told):
    sites = federation("scaffold")
    size = sites.state.layout.size
    given = {"control": bytes(4 * size), "counted": b"0", **pieces} if pieces else {}
    with pytest.raises(UpdateError, match=told):
        sites.work(sites.terms, Stage.TRAIN, sites.state.weights, given, "north")


def test_refuses_a_damaged_state_of_its_own(federation, tmp_path):
    sites = federation("fedbn")
    sites.round()
    (tmp_path / "sites/north/state/round-000001.safetensors").write_bytes(b"half")
    with pytest.raises(RoundRecordError, match="round 1 is damaged"):
        sites.train()


def test_leaves_torch_as_it_was(federation):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    federation().train()
    assert torch.equal(torch.rand(2), expected)


def test_is_quiet_unless_somebody_listens(federation):
    steps = []
    federation().train(report=steps.append)
    assert all(isinstance(step, Progress) for step in steps)
