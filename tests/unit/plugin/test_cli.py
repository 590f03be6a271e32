"""The command line: help is quick and complete, and faults are one line with an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugin.cli import main


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("QFL_FHIR_URL", "http://127.0.0.1:9/fhir")
    monkeypatch.setenv("QFL_ARCHIVE_URL", "http://127.0.0.1:9/dicom-web")


def run(*arguments: str, text: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, input=text)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "arguments",
    [(), ("analyse",), ("worker",), ("web",), ("subscriptions", "register"), ("users", "add"), ("users", "token")],
)
def test_every_command_explains_itself(arguments: tuple[str, ...]) -> None:
    code, output = run(*arguments, "--help")
    assert code == 0
    assert "Usage:" in output


def test_help_loads_neither_model_nor_database() -> None:
    script = "import sys, plugin.cli; print([m for m in ('torch', 'monai', 'sqlalchemy', 'flask') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("environ")
def test_a_user_is_added_and_gets_a_token() -> None:
    assert run("migrate")[0] == 0
    assert run("users", "add", "dr.house", "--password-stdin", text="correct horse battery\n")[0] == 0
    code, token = run("users", "token", "dr.house")
    assert code == 0
    assert len(token.strip()) >= 40
    assert run("subscriptions", "list") == (
        0,
        "No subscription is registered. Register one with: qfl subscriptions register\n",
    )


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("analyse", "not-a-uid"), 65, "Expected a StudyInstanceUID", id="uid"),
        pytest.param(("users", "token", "nobody"), 64, "There is no user", id="user"),
        pytest.param(("subscriptions", "remove", "x"), 64, "There is no subscription", id="subscription"),
        pytest.param(("subscriptions", "register"), 75, "no answer from the FHIR server", id="ehr-away"),
        pytest.param(("subscriptions", "register", "--payload", "id-only"), 64, "payload", id="payload"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(arguments: tuple[str, ...], code: int, message: str) -> None:
    run("migrate")
    got, output = run(*arguments)
    assert (got, output.startswith("qfl: "), len(output.splitlines())) == (code, True, 1), output
    assert message in output


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QFL_FHIR_URL", raising=False)
    code, output = run("migrate")
    assert (code, "QFL_FHIR_URL" in output) == (78, True)
