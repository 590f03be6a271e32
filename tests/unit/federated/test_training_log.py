import json

from PIL import Image

from federated.training import Started, Stepped, Trained, Validated
from federated.training_log import TrainingLog, draw_curves
from federated.validation import Validation

VALIDATION = Validation({"whole-tumour": 0.8, "tumour-core": 0.5, "enhancing": 0.2}, (0.5, 0.4, 0.5))


def stepped(step):
    return Stepped(step, 4, 1.0 / step, 1e-3, 0.5 * step)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_steps_that_are_done_again_stand_there_once(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl")
    for event in (Started(0, 4, 10, "float32", 1), stepped(1), stepped(2), Validated(2, VALIDATION, True), stepped(3)):
        log.write(event)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # what a kill leaves
    for event in (Started(2, 4, 10, "float32", 1), stepped(3), stepped(4)):
        TrainingLog(tmp_path / "log.jsonl").write(event)
    found = lines(tmp_path / "log.jsonl")
    assert [(line["event"], line["step"]) for line in found] == [
        ("started", 0),
        ("step", 1),
        ("step", 2),
        ("validation", 2),
        ("started", 2),
        ("step", 3),
        ("step", 4),
    ]
    assert found[3]["dice"] == dict(VALIDATION.dice)
    assert found[-1] == {"event": "step", "step": 4, "steps": 4, "loss": 0.25, "learning_rate": 1e-3, "seconds": 2.0}


def test_the_curves_are_a_picture_with_and_without_validation(tmp_path):
    for name, validations in (("with.png", {2: VALIDATION, 4: VALIDATION}), ("without.png", {})):
        trained = Trained({}, 4, 4, (1.0, 0.5, 0.4, 0.3), validations, 2.0, "float32", 1)
        draw_curves(trained, tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, picture.width > 600) == ("PNG", True)
