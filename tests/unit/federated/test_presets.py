from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from federated.balancing.balance_settings import BalanceSettings
from federated.cases import phantom_case, write_cohort
from federated.errors import BalanceDataError, TrainingDataError, TrainingSettingsError
from federated.models import ARMS, build_network
from federated.phantom import build_phantom
from federated.presets import PRESETS, Phantoms, choose_preset, gather
from federated.training_request import TrainingRequest, describe_request, parse_request


@dataclass(frozen=True)
class Built:
    name: str

    def read(self):
        seed = int(self.name[-1])
        return phantom_case(self.name, build_phantom(np.random.default_rng(seed), spacing_mm=8.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "cases"
    write_cohort(folder, [Built(f"case-{number}") for number in range(5)])
    return folder


def names(examples):
    return [example.name for example in examples]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("arm", ARMS)
def test_every_preset_can_train_every_arm(name, arm):
    preset = choose_preset(TrainingRequest(name, arm=arm))
    assert all(length % preset.network.stride == 0 for length in preset.settings.patch)
    assert preset.preprocessing.stride % preset.network.stride == 0
    assert preset.settings.augmentation.spacing_mm == preset.spacing_mm == preset.preprocessing.spacing_mm


@pytest.mark.parametrize("arm", ARMS)
def test_a_narrow_network_works(arm):
    preset = choose_preset(TrainingRequest("tiny", arm=arm))
    network = build_network(preset.network)
    with torch.inference_mode():
        assert network(torch.zeros(1, 8, 16, 16, 16)).shape == (1, 3, 16, 16, 16)
    assert sum(w.numel() for w in network.parameters()) < sum(w.numel() for w in build_network(ARMS[arm]).parameters())


def test_what_is_wanted_otherwise_is_taken():
    request = TrainingRequest("tiny", arm="mlp", steps=7, seed=3, learning_rate=1e-3, batch=1, precision="float32")
    preset = choose_preset(request)
    assert preset.arm == "mlp"
    settings = preset.settings
    assert (settings.steps, settings.seed, settings.learning_rate, settings.batch, settings.precision) == (
        7,
        3,
        1e-3,
        1,
        "float32",
    )
    assert replace(preset, arm="hybrid", settings=PRESETS["tiny"].settings) == PRESETS["tiny"]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        pytest.param(TrainingRequest("huge"), "preset of tiny, phantom, real, got 'huge'", id="preset"),
        pytest.param(TrainingRequest("tiny", arm="rnn"), "arm of hybrid, .*, got 'rnn'", id="arm"),
        pytest.param(TrainingRequest("tiny", steps=0), "steps as whole numbers from 1", id="steps"),
    ],
)
def test_refuses_what_there_is_not(request_, told):
    with pytest.raises(TrainingSettingsError, match=told):
        choose_preset(request_)


def test_gathers_the_same_phantoms_each_time_and_tells_how_far_it_is():
    preset = replace(PRESETS["tiny"], spacing_mm=8.0, phantoms=Phantoms(training=3, validation=1))
    told = []
    split = gather(preset, lambda *so_far: told.append(so_far))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert (len(split.real), len(split.synthetic), len(split.validation)) == (0, 3, 1)
    assert len({name.split("-training")[0] for name in names(split.synthetic)}) == 3, "of three sites"
    assert gather(preset, lambda *_: None).digest() == split.digest()


def test_balance_weighs_the_training_cases():
    phantoms = Phantoms(training=10, validation=1)
    balance = BalanceSettings(("sex",), "equal-reweighing", minimum_group=2)
    preset = replace(PRESETS["tiny"], spacing_mm=8.0, phantoms=phantoms, balance=balance)
    split = gather(preset, lambda *_: None)
    assert len(split.case_weights.values) == 10
    assert [sorted(known) for known in split.validation_groups] == [["age", "ethnicity", "sex", "site"]]
    assert split.case_weights.origin["attributes"]["sex"]["after"]["share_gap"] < 0.2
    with pytest.raises(BalanceDataError, match="Insufficient evidence"):
        gather(replace(preset, balance=BalanceSettings(("sex",), minimum_group=10)), lambda *_: None)


def test_the_filter_is_off_unless_asked_for():
    assert choose_preset(TrainingRequest("tiny")).balance is None
    wanted = TrainingRequest("tiny", balance=("sex",), balance_solver="qaoa", seed=4, max_gap=0.1)
    assert choose_preset(wanted).balance == BalanceSettings(("sex",), "qaoa", seed=4, max_gap=0.1)
    assert parse_request(describe_request(wanted)) == wanted


def test_a_request_of_before_the_filter_is_still_read():
    document = describe_request(TrainingRequest("tiny"))
    del document["balance"], document["balance_solver"], document["max_gap"]
    assert parse_request(document) == TrainingRequest("tiny")


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        pytest.param(TrainingRequest("tiny", balance=("income",)), "got income", id="attribute"),
        pytest.param(TrainingRequest("tiny", balance=("sex",), balance_solver="magic"), "got 'magic'", id="solver"),
        pytest.param(TrainingRequest("tiny", balance_solver="exact"), "got only how", id="nothing to balance"),
        pytest.param(TrainingRequest("tiny", max_gap=0.1), "got only how", id="no groups to bound"),
        pytest.param(TrainingRequest("tiny", balance=("sex",), max_gap=2.0), "a gap of 0 to 1", id="bound"),
        pytest.param(TrainingRequest("tiny", balance=("sex", "age"), max_gap=0.1), "one attribute", id="two bounds"),
    ],
)
def test_refuses_to_balance_what_there_is_not(request_, told):
    with pytest.raises(TrainingSettingsError, match=told):
        choose_preset(request_)


def test_a_folder_takes_the_place_of_the_phantoms(folder):
    split = gather(choose_preset(TrainingRequest("tiny", data=str(folder))), lambda *_: None)
    assert names(split.real) == ["case-0", "case-1", "case-2", "case-3"]
    assert (names(split.synthetic), names(split.validation)) == ([], ["case-4"])


def test_named_cases_are_held_out(folder):
    request = TrainingRequest("tiny", data=str(folder), held_out=("case-1", "case-3"))
    split = gather(choose_preset(request), lambda *_: None)
    assert names(split.real) == ["case-0", "case-2", "case-4"]
    assert names(split.validation) == ["case-1", "case-3"]


@pytest.mark.parametrize(
    ("held_out", "told"),
    [
        pytest.param(("nobody",), "expected to hold out nobody, but it has only case-0", id="unknown"),
        pytest.param(tuple(f"case-{n}" for n in range(5)), "a case to train on beside", id="all"),
    ],
)
def test_refuses_to_hold_out_what_cannot_be(folder, held_out, told):
    request = TrainingRequest("tiny", data=str(folder), held_out=held_out)
    with pytest.raises(TrainingDataError, match=told):
        gather(choose_preset(request), lambda *_: None)


def test_refuses_to_hold_out_of_no_folder():
    with pytest.raises(TrainingDataError, match="Expected a folder of cases"):
        gather(choose_preset(TrainingRequest("tiny", held_out=("case-1",))), lambda *_: None)


def test_refuses_a_folder_without_cases(tmp_path):
    with pytest.raises(TrainingDataError, match=str(tmp_path)):
        gather(choose_preset(TrainingRequest("tiny", data=str(tmp_path))), lambda *_: None)


def test_the_demo_subject_is_never_trained_on():
    preset = PRESETS["real"]
    assert preset.held_out == ("Brats18_TCIA02_370_1",)
    assert (preset.data / "Brats18_TCIA02_370_1_seg_2mm.nii.gz").exists()


def test_a_request_survives_json():
    request = TrainingRequest("real", "cpu", steps=3, learning_rate=0.1, held_out=("a", "b"))
    assert parse_request(describe_request(request)) == request


@pytest.mark.parametrize(
    "change",
    [{"steps": "many"}, {"preset": None}, {"held_out": "a"}, {"learning_rate": True}, {"unknown": 1}],
    ids=str,
)
def test_refuses_what_is_no_request(change):
    with pytest.raises(TrainingSettingsError, match="Not a training request"):
        parse_request({**describe_request(TrainingRequest("tiny")), **change})
