"""Three hospitals train together on one machine, as a newcomer starts it."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.servers.federation import QFL, RunningFederation, clean_environment

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]
SITES = {"site-01", "site-02", "site-03"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "federation"


@pytest.fixture(scope="module")
def told(folder: Path) -> dict:
    command = [QFL, "federation", "up", "--sites", "3", "--rounds", "2", "--preset", "tiny", "--json"]
    done = subprocess.run(
        [*command, "--folder", folder],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, f"{done.stderr}\n{RunningFederation.logs(folder)}"
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_the_run_is_told_in_one_object(told):
    assert (told["rounds_finished"], told["sites"], told["reason"]) == (2, 3, "done")
    assert told["secure_aggregation"] is True
    assert 0 < told["epsilon"] <= 8
    assert set(told["dice"]) == SITES
    assert all(0 <= dice <= 1 for dice in told["dice"].values())
    assert told["worst_site"] == min(told["dice"], key=told["dice"].get)
    assert told["bytes_per_round"] > 100_000
    assert told["seconds_per_round"] > told["engine_overhead_s"] >= 0


def test_each_site_knows_what_left_it(told, folder):
    for site, left in told["left"].items():
        kinds = left["kinds"]
        assert kinds["masked update"]["times"] == 2, "one a round"
        assert set(kinds) == {
            "masked update",
            "public keys",
            "encrypted shares",
            "shares that open the sum",
            "figures of the new model",
        }
        assert left["bytes"] == sum(kind["bytes"] for kind in kinds.values())
        environment = clean_environment() | {
            "QFL_DATA_DIR": str(folder / "sites" / site / "data"),
            "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
            "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom-web",
            "QFL_FEDERATION_DIR": str(folder / "sites" / site),
        }
        command = [QFL, "federation", "departures", "--json"]
        shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
        sizes = [json.loads(line)["size"] for line in shown.stdout.splitlines()]
        assert sum(sizes) == left["bytes"], "the site's own list says the same"


def test_nothing_is_left_running(told, folder):
    assert RunningFederation.find(folder) == {}
