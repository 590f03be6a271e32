import math
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy import stats

from federated.augmentation import Augmentation
from federated.errors import (
    CheckpointError,
    DivergedError,
    PrivacyBudgetError,
    PrivacySettingsError,
    TrainingDataError,
    TrainingSettingsError,
)
from federated.guidance import Guide
from federated.models import build_network
from federated.privacy import noised_steps
from federated.privacy.accounting import epsilon
from federated.privacy.noised_steps import NoisedSteps, draw_patients
from federated.privacy.private_state import PrivateState
from federated.privacy.private_training import KEY_FILE, train_privately
from federated.privacy.randomness import SecretRandom
from federated.rounds.terms import Privacy
from federated.sampling import CaseWeights, Pool, Split
from federated.training import Started, Stepped, quiet
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import CPU, MILD, tiny_example, tiny_settings

PRIVACY = Privacy(record_noise=2.0, record_clip=0.5, record_epsilon=20.0)
SPLIT = Split(real=[tiny_example(0), tiny_example(1), tiny_example(2)])
SETTINGS = tiny_settings(steps=3, batch=2, patch=(16, 16, 16), augmentation=None)

VARIED = replace(SETTINGS, steps=2, augmentation=MILD)


def trained(settings=SETTINGS, *, split=SPLIT, privacy=PRIVACY, report=quiet, folder=None, seed=0, **others):
    secret = None if seed is None else SecretRandom.unsafe_seeded(seed)
    return train_privately(split, TINY_NETWORK, settings, privacy, CPU, report, folder, secret=secret, **others)


def bits(result):
    return save(dict(result.weights))


def initial():
    torch.manual_seed(5)
    return dict(build_network(TINY_NETWORK).state_dict())


def steps_of(privacy=PRIVACY, settings=SETTINGS, split=SPLIT, seed=0):
    pool = Pool(split, settings.patch, CPU, synthetic_share=0.0, crops=False)
    return NoisedSteps(pool, settings, privacy, SecretRandom.unsafe_seeded(seed))


def state_of(settings=SETTINGS):
    torch.manual_seed(0)
    return PrivateState(TINY_NETWORK, settings, CPU, Guide(), None)


def test_costs_what_the_accountant_says_for_all_its_steps():
    result = trained()
    assert (result.release.noise, result.release.sample_rate, result.release.steps) == (2.0, 2 / 3, 3)
    assert result.epsilon == epsilon(2.0, 2 / 3, 3, PRIVACY.delta)
    assert result.steps == 3


def test_refuses_case_weights_that_its_accountant_does_not_know():
    with pytest.raises(PrivacySettingsError, match="expected no case weights"):
        trained(split=replace(SPLIT, case_weights=CaseWeights((1.0, 2.0, 1.0))))


def test_tells_its_steps_but_no_loss():
    events = []
    trained(report=events.append)
    assert isinstance(events[0], Started)
    assert [event.step for event in events[1:]] == [1, 2, 3]
    assert all(isinstance(event, Stepped) and math.isnan(event.loss) for event in events[1:])


def test_poisson_sampling_draws_each_patient_independently():
    root, count, rate, rounds = SecretRandom.unsafe_seeded(0), 8, 0.25, 4000
    drawn = np.zeros((rounds, count))
    for step in range(rounds):
        drawn[step, draw_patients(count, rate, root.child("step", step))] = 1
    sizes = drawn.sum(1)
    assert drawn.mean(0) == pytest.approx(np.full(count, rate), abs=5 * math.sqrt(rate * (1 - rate) / rounds))
    # Batch sizes are binomial, empty ones included: no other way of sampling gives them.
    expected = stats.binom.pmf(range(count + 1), count, rate) * rounds
    found = np.bincount(sizes.astype(int), minlength=count + 1)
    pooled = [*zip(found[:6], expected[:6], strict=True), (found[6:].sum(), expected[6:].sum())]
    assert stats.chisquare(*zip(*pooled, strict=True), sum_check=False).pvalue > 0.001
    assert found[0] > 0
    assert abs(np.corrcoef(drawn.T) - np.eye(count)).max() < 5 / math.sqrt(rounds)
    assert draw_patients(3, 1.0, root) == [0, 1, 2]


def test_the_noise_of_a_step_has_the_stated_spread_and_a_mean_of_zero(monkeypatch):
    monkeypatch.setattr(noised_steps, "draw_patients", lambda *_: [])
    found = torch.cat([steps_of(seed=seed).gradient(state_of()) for seed in range(20)]).double()
    # Divided by the two patients that are expected, also when nobody is drawn.
    std = PRIVACY.record_noise * PRIVACY.record_clip / 2
    assert found.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * len(found)))
    assert abs(found.mean().item()) < 5 * std / math.sqrt(len(found))


def test_the_signal_of_a_step_is_the_sum_of_the_clipped_gradients_of_those_drawn(monkeypatch):
    exact = replace(PRIVACY, record_noise=0.0)
    found = {}
    for drawn in ([], [0], [1], [2], [0, 1, 2]):
        monkeypatch.setattr(noised_steps, "draw_patients", lambda *_, drawn=drawn: drawn)
        found[tuple(drawn)] = steps_of(exact, SETTINGS).gradient(state_of()).double()
    assert not found[()].any()
    alone = [found[0,], found[1,], found[2,]]
    torch.testing.assert_close(found[0, 1, 2], sum(alone), rtol=1e-3, atol=1e-6)
    for each in alone:
        assert each.norm() <= PRIVACY.record_clip / 2 * (1 + 1e-6)
        assert each.norm() > 0


def test_no_case_is_varied_by_means_of_another(monkeypatch):
    """With transplants asked for, a case's gradient is the same whoever is drawn beside it."""
    mixing = replace(SETTINGS, augmentation=replace(MILD, transplant=1.0, noise=0.0, coarse=0.0, sharpness=0.0))
    seen = []
    real = noised_steps.augment

    def spy(batch, augmentation, *others):
        seen.append(augmentation)
        return real(batch, augmentation, *others)

    monkeypatch.setattr(noised_steps, "augment", spy)
    trained(mixing)
    assert seen
    assert all(isinstance(each, Augmentation) and each.transplant == 0 for each in seen)


def test_memory_is_bounded_by_the_microbatch(monkeypatch):
    sizes = []
    real = noised_steps.per_patient_gradients

    def spy(network, weights, channels, regions):
        sizes.append(len(channels))
        return real(network, weights, channels, regions)

    monkeypatch.setattr(noised_steps, "per_patient_gradients", spy)
    trained(replace(SETTINGS, batch=3, steps=1))
    assert sizes == [2, 2]


def test_only_the_weights_that_learn_change_and_the_pull_of_a_strategy_acts():
    start = initial()
    result = trained(initial=start, guide=Guide(learns=["head.outward.bias"]))
    assert {name for name in start if not torch.equal(start[name], result.weights[name])} == {"head.outward.bias"}
    target = {name: torch.zeros_like(each) for name, each in start.items()}
    pulled = trained(initial=start, guide=Guide(learns=["head.outward.bias"], pull=100.0, towards=target))
    assert not torch.equal(pulled.weights["head.outward.bias"], result.weights["head.outward.bias"])


def test_the_same_secret_gives_the_same_bits_and_a_fresh_one_others():
    assert bits(trained(VARIED)) == bits(trained(VARIED))
    assert bits(trained(VARIED)) != bits(trained(VARIED, seed=1))
    assert bits(trained(seed=None)) != bits(trained(seed=None))


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2])
def test_goes_on_after_a_kill_with_the_same_noise(tmp_path, at):
    def kill(event):
        if getattr(event, "step", None) == at:
            raise Killed

    whole = trained(folder=tmp_path / "whole", seed=None)
    (tmp_path / "broken").mkdir(mode=0o700)
    (tmp_path / "broken" / KEY_FILE).write_bytes((tmp_path / "whole" / KEY_FILE).read_bytes())
    with pytest.raises(Killed):
        trained(folder=tmp_path / "broken", report=kill, seed=None)
    steps = []
    resumed = trained(folder=tmp_path / "broken", report=lambda event: steps.append(event.step), seed=None)
    assert steps[0] == at
    assert bits(resumed) == bits(whole)
    assert resumed.epsilon == whole.epsilon


def test_a_step_that_was_lost_is_noised_the_same_way_again(tmp_path):
    """A kill between two checkpoints loses steps: no second noised sum of the same step may come to be."""
    first = trained(replace(SETTINGS, steps=2), folder=tmp_path, seed=None)
    for path in tmp_path.glob("step-*"):
        path.unlink()
    assert bits(trained(replace(SETTINGS, steps=2), folder=tmp_path, seed=None)) == bits(first)


def test_other_data_or_weights_never_meet_the_same_noise(tmp_path):
    """The difference of two sums with the same noise would give away the patient by whom they differ."""
    noise = {}
    for name, split, start in (
        ("all", SPLIT, None),
        ("one-less", Split(real=SPLIT.real[:2]), None),
        ("other-weights", SPLIT, initial()),
    ):
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        (folder / KEY_FILE).write_bytes(bytes(32))
        drawn = []
        with pytest.MonkeyPatch.context() as patch:
            real = SecretRandom.normal
            patch.setattr(
                SecretRandom, "normal", lambda self, n, real=real, drawn=drawn: drawn.append(real(self, n)) or drawn[-1]
            )
            trained(replace(SETTINGS, steps=1), split=split, folder=folder, seed=None, initial=start)
        noise[name] = drawn[0]
    assert not np.array_equal(noise["all"], noise["one-less"])
    assert not np.array_equal(noise["all"], noise["other-weights"])


def test_the_folder_of_the_secret_is_its_owners_only(tmp_path):
    trained(folder=tmp_path / "run", seed=None)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / KEY_FILE).stat().st_mode) == 0o600


def test_refuses_checkpoints_of_another_run_and_those_without_their_secret(tmp_path):
    trained(folder=tmp_path, seed=None)
    with pytest.raises(CheckpointError, match="this run"):
        trained(folder=tmp_path, privacy=replace(PRIVACY, record_noise=3.0), seed=None)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(CheckpointError, match="start again"):
        trained(folder=tmp_path, seed=None)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"privacy": replace(PRIVACY, record_noise=0.0)}, PrivacySettingsError, id="no-noise"),
        pytest.param({"privacy": replace(PRIVACY, record_epsilon=0.1)}, PrivacyBudgetError, id="promise-broken"),
        pytest.param({"split": Split(real=SPLIT.real[:1] * 2)}, PrivacySettingsError, id="patient-twice"),
        pytest.param({"split": Split(validation=SPLIT.real)}, PrivacySettingsError, id="no-patient"),
        pytest.param({"settings": replace(SETTINGS, patch=(10, 12, 12))}, TrainingSettingsError, id="patch"),
        pytest.param({"initial": {"other": torch.zeros(1)}}, TrainingSettingsError, id="other-network"),
        pytest.param({"guide": Guide(learns=[])}, TrainingSettingsError, id="nothing-learns"),
        pytest.param({"settings": replace(SETTINGS, learning_rate=1e-8)}, None, id="slow-is-fine"),
    ],
)
def test_refuses_before_it_looks_at_a_patient(changes, error):
    if error is None:
        trained(**changes)
        return
    with pytest.raises(error):
        trained(**changes)


def test_says_when_the_weights_are_not_finite_any_more():
    start = initial()
    start["head.outward.bias"] = torch.full_like(start["head.outward.bias"], 3e38)
    with pytest.raises(DivergedError, match="lower learning rate"):
        trained(initial=start, guide=Guide(pull=3e38, towards={"head.outward.bias": -start["head.outward.bias"]}))


def test_held_out_cases_are_not_looked_at():
    with_held_out = replace(SPLIT, validation=[tiny_example(3)])
    # The split's digest binds the noise, so only what is not noise can be compared: nothing is validated.
    events = []
    trained(split=with_held_out, report=events.append)
    assert {type(event) for event in events} == {Started, Stepped}
    with pytest.raises((PrivacySettingsError, TrainingDataError)):
        trained(split=Split(validation=[tiny_example(3)]))
