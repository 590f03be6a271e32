import json
import re
from dataclasses import replace

import pytest
import torch

from federated.decision import LABEL_MAP, Decision
from federated.errors import ModelFileError
from federated.model_file import CARD, WEIGHTS, load_model, save_model
from federated.preprocessing import Preprocessing
from tests.fakes.tiny_model import build_tiny_model


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path, build_tiny_model())
    return tmp_path


def edit(folder, change):
    card = json.loads((folder / CARD).read_text())
    change(card)
    (folder / CARD).write_text(json.dumps(card))


def test_reads_back_what_was_written(tmp_path):
    model = build_tiny_model()
    version = save_model(tmp_path, model)
    found, identity = load_model(tmp_path)
    assert (found.name, found.network, found.preprocessing, found.decision) == (
        model.name,
        model.network,
        model.preprocessing,
        model.decision,
    )
    assert identity.version == version
    assert identity.label_map == LABEL_MAP
    assert identity.contrasts == ("T1", "T1ce", "T2", "FLAIR")
    for name, tensor in model.weights.items():
        torch.testing.assert_close(found.weights[name].float(), tensor, rtol=1e-3, atol=1e-4)


def test_version_is_a_digest(folder):
    version = load_model(folder)[1].version
    assert re.fullmatch("[0-9a-f]{64}", version)


def test_the_same_model_has_the_same_version(tmp_path):
    assert save_model(tmp_path / "a", build_tiny_model()) == save_model(tmp_path / "b", build_tiny_model())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(build_tiny_model(seed=1), id="weights"),
        pytest.param(replace(build_tiny_model(), preprocessing=Preprocessing(spacing_mm=3.0)), id="preprocessing"),
        pytest.param(replace(build_tiny_model(), decision=Decision(min_component_ml=1.0)), id="decision"),
    ],
)
def test_what_decides_the_answer_decides_the_version(tmp_path, other):
    assert save_model(tmp_path / "a", build_tiny_model()) != save_model(tmp_path / "b", other)


def test_words_about_the_training_do_not_change_the_version(tmp_path):
    other = replace(build_tiny_model(), training={"note": "another"})
    assert save_model(tmp_path / "a", build_tiny_model()) == save_model(tmp_path / "b", other)


def test_refuses_changed_weights(folder):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(ModelFileError, match=r"expected version [0-9a-f]{64}"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda card: card["decision"].update(thresholds=["0.1", "0.1", "0.1"]), id="thresholds"),
        pytest.param(lambda card: card["preprocessing"].update(spacing_mm="1.0"), id="spacing"),
        pytest.param(lambda card: card["network"].update(detail=8), id="network"),
        pytest.param(lambda card: card["label_map"].update({"1": "oedema", "2": "enhancing"}), id="label map"),
        pytest.param(lambda card: card.update(version="0" * 64), id="version"),
    ],
)
def test_refuses_a_changed_card(folder, change):
    edit(folder, change)
    with pytest.raises(ModelFileError, match="expected version"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda card: card.pop("network"), id="without network"),
        pytest.param(lambda card: card.update(network=None), id="network is null"),
        pytest.param(lambda card: card["network"].update(architecture="unet"), id="another architecture"),
        pytest.param(lambda card: card["decision"].update(thresholds=["0.5"]), id="one threshold"),
        pytest.param(lambda card: card["preprocessing"].update(spacing_mm="two"), id="spacing in words"),
    ],
)
def test_refuses_a_card_that_is_none(folder, change):
    edit(folder, change)
    with pytest.raises(ModelFileError, match="not a model"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"[]", b"[" * 100_000])
@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_refuses_garbage(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError):
        load_model(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_refuses_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_model(folder)
