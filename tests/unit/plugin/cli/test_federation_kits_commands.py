"""`qfl federation init, request, admit, join, remove, show` as a person sees them."""

import json

import pytest
from click.testing import CliRunner

from plugin.cli import main
from plugin.services.federation_kits import load_site


@pytest.fixture
def qfl(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, answer=""):
        return CliRunner().invoke(main, ["federation", *map(str, arguments)], input=answer)

    return run


def fingerprint(qfl, folder):
    found = json.loads(qfl("show", folder, "--json").stdout)
    return found["coordinator"] if found["role"] == "coordinator" else found["fingerprint"]


@pytest.fixture
def admitted(qfl):
    assert qfl("init", "hub", "--name", "brain-tumours", "--host", "127.0.0.1").exit_code == 0
    assert qfl("request", "north", "--site", "north").exit_code == 0
    assert qfl("admit", "hub", "north/request.json", "--yes").exit_code == 0
    return qfl


def test_a_federation_comes_together_by_comparing_two_fingerprints(qfl, tmp_path):
    made = qfl("init", "hub", "--name", "brain-tumours", "--host", "127.0.0.1", "--port", "9000")
    assert "brain-tumours at 127.0.0.1:9000, 0 sites" in made.stdout
    assert fingerprint(qfl, "hub") in made.stdout
    asked = qfl("request", "north", "--site", "north")
    assert fingerprint(qfl, "north") in asked.stdout
    admitted = qfl("admit", "hub", "north/request.json", answer="y\n")
    assert f"north: {fingerprint(qfl, 'north')}" in admitted.stdout
    assert "hub/kits/north.kit.json" in admitted.stdout
    joined = qfl("join", "north", "hub/kits/north.kit.json", answer="y\n")
    assert joined.exit_code == 0, joined.output
    assert fingerprint(qfl, "hub") in joined.stdout
    assert load_site(tmp_path / "north").address == "127.0.0.1:9000"


def test_nothing_happens_where_the_fingerprint_is_not_confirmed(qfl, tmp_path):
    qfl("init", "hub", "--name", "brain-tumours")
    qfl("request", "north", "--site", "north")
    assert qfl("admit", "hub", "north/request.json", answer="n\n").exit_code == 1
    assert json.loads(qfl("show", "hub", "--json").stdout)["sites"] == []
    qfl("admit", "hub", "north/request.json", "--yes")
    assert qfl("join", "north", "hub/kits/north.kit.json", answer="\n").exit_code == 1
    assert json.loads(qfl("show", "north", "--json").stdout)["joined"] is False


def test_a_program_gives_the_fingerprint(admitted):
    assert admitted("join", "north", "hub/kits/north.kit.json", "--fingerprint", "0" * 64).exit_code == 65
    digits = fingerprint(admitted, "hub")
    assert admitted("join", "north", "hub/kits/north.kit.json", "--fingerprint", digits).exit_code == 0
    assert admitted("join", "north", "hub/kits/north.kit.json").exit_code == 0


def test_people_read_who_belongs_to_the_federation(admitted):
    admitted("join", "north", "hub/kits/north.kit.json", answer="y\n")
    for folder, server in (("hub", True), ("north", False)):
        shown = admitted("show", folder).stdout
        assert "Federation   brain-tumours, roster version 2" in shown
        assert f"  north      {fingerprint(admitted, 'north')}" in shown
        assert ("server     until" in shown) is server
    assert admitted("remove", "hub", "north").stdout == "brain-tumours has 0 sites; send each its new kit.\n"


def test_a_site_that_has_not_joined_is_shown(qfl):
    qfl("request", "north", "--site", "north")
    assert "Has not joined a federation yet." in qfl("show", "north").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("init", "hub", "--name", "lungs"), id="another federation's folder"),
        pytest.param(("request", "north", "--site", "south"), id="another site's folder"),
        pytest.param(("request", "x", "--site", "North"), id="site's name"),
        pytest.param(("admit", "hub", "hub/ca.crt", "--yes"), id="no request"),
        pytest.param(("join", "north", "hub/roster.json"), id="no kit"),
        pytest.param(("remove", "hub", "south"), id="unknown site"),
        pytest.param(("show", "nowhere"), id="no folder"),
        pytest.param(("show", "."), id="neither coordinator nor site"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(admitted, arguments):
    result = admitted(*arguments)
    assert result.exit_code in {65, 77}
    assert result.stderr.startswith("qfl: ")
    assert result.stderr.count("\n") == 1
