"""Trainings as people start them: killed, stopped, gone on with, and done by a worker; each ends at the same bits."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from federated.cases import phantom_case, write_cohort
from federated.inference import load_segmenter
from federated.phantom import build_phantom
from tests.servers.processes import wait_until
from tests.servers.product import QFL, Product

STEPS = 8
WEIGHTS = "segmenter.safetensors"
PATIENCE_S = 600
"""On a machine that is busy with other things."""

pytestmark = pytest.mark.timeout(3 * PATIENCE_S)


@dataclass(frozen=True)
class Built:
    """A case that is there already."""

    name: str

    def read(self):
        seed = int(self.name[-1])
        return phantom_case(self.name, build_phantom(np.random.default_rng(seed), spacing_mm=8.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "cohort"
    write_cohort(folder, [Built(f"case-{number}") for number in range(3)])
    return folder


@pytest.fixture(scope="module")
def request_words(data):
    return ["--preset", "tiny", "--steps", str(STEPS), "--data", str(data), "--held-out", "case-2"]


def clean_environment():
    """Without any of the product's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QFL_")}


def start(folder, *words):
    command = [QFL, "train", "--output", folder, "--json", "--checkpoint-every", "0", *words]
    with (folder.parent / f"{folder.name}.out").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(), cwd=folder.parent)


def output(folder):
    return (folder.parent / f"{folder.name}.out").read_text()


def wait_for_step(folder, step, process):
    wait_until(
        lambda: f'"event": "step", "step": {step},' in output(folder), PATIENCE_S, lambda: output(folder), process
    )


def finish(folder, *words):
    process = start(folder, *words)
    assert process.wait(PATIENCE_S) == 0, output(folder)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, request_words):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(folder, *request_words)
    return folder


def test_the_model_is_usable(uninterrupted):
    identity = load_segmenter(uninterrupted).identity
    last = json.loads(output(uninterrupted).splitlines()[-1])
    assert last["event"] == "model"
    assert last["version"] == identity.version
    assert (uninterrupted / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((uninterrupted / "run.json").read_text())
    assert (record["state"], record["step"]) == ("done", STEPS)


def test_a_run_that_is_killed_and_stopped_ends_at_the_same_bits(tmp_path, request_words, uninterrupted):
    folder = tmp_path / "run"
    process = start(folder, *request_words)
    wait_for_step(folder, 2, process)
    process.kill()
    process.wait(20)

    process = start(folder, "--resume")
    wait_for_step(folder, 4, process)
    time.sleep(0.02)
    process.kill()
    process.wait(20)
    assert json.loads((folder / "run.json").read_text())["state"] == "running", "nobody could say goodbye"

    process = start(folder, "--resume")
    wait_for_step(folder, 6, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert "--resume" in output(folder)
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"

    finish(folder, "--resume")
    assert (folder / WEIGHTS).read_bytes() == (uninterrupted / WEIGHTS).read_bytes()
    lines = [json.loads(line) for line in (folder / "training-log.jsonl").read_text().splitlines()]
    steps = [(line["step"], line["loss"]) for line in lines if line["event"] == "step"]
    assert [step for step, _ in steps] == list(range(1, STEPS + 1)), "each step once"
    whole = [json.loads(line) for line in (uninterrupted / "training-log.jsonl").read_text().splitlines()]
    assert steps == [(line["step"], line["loss"]) for line in whole if line["event"] == "step"]


def test_two_processes_do_not_train_in_one_folder(tmp_path, request_words):
    folder = tmp_path / "run"
    process = start(folder, *request_words)
    try:
        wait_until((folder / "run.json").exists, PATIENCE_S, lambda: output(folder), process)
        command = [QFL, "train", "--output", folder, "--resume"]
        second = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        assert (second.returncode, "another process trains there" in second.stderr) == (75, True), second.stderr
    finally:
        process.kill()
        process.wait(20)


def test_a_worker_that_is_killed_is_followed_by_one_that_finishes(tmp_path, request_words, uninterrupted):
    nowhere = {"QFL_FHIR_URL": "http://127.0.0.1:9/fhir", "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom-web"}
    product = Product(tmp_path, {**nowhere, "QFL_LEASE": "2"})
    product.run("migrate")
    run_id = json.loads(product.run("train", *request_words, "--queue", "--json").stdout)["id"]
    assert product.run("train", "--status", run_id).stdout.startswith("queued")

    def status():
        return json.loads((tmp_path / "data" / "training" / run_id / "run.json").read_text())

    try:
        product.start("worker", "--queue", "training", "--concurrency", "1")
        wait_until(lambda: status()["step"] > 0, PATIENCE_S, lambda: product.log("worker"))
        product.kill("worker")
        assert status()["state"] == "running"
        product.start("timer")
        # What the timer wants done comes by the delivery queue.
        product.start("worker", "--queue", "training", "--queue", "delivery")
        wait_until(lambda: status()["state"] == "done", PATIENCE_S, lambda: f"{status()} {product.log('worker')}")
    finally:
        product.stop_all()
    told = json.loads(product.run("train", "--status", run_id, "--json").stdout)
    assert (told["state"], told["step"], told["model_version"]) == (
        "done",
        STEPS,
        load_segmenter(uninterrupted).identity.version,
    )
    assert Path(told["folder"], WEIGHTS).read_bytes() == (uninterrupted / WEIGHTS).read_bytes()
