"""`qfl governance officer|release|override|halt|resume|status|policy` over a real SQLite file, as officers type it."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from governance import sealed_keys
from governance.audit import AuditOutcome
from plugin.bootstrap.ledger import migrate_database
from plugin.bootstrap.services import build_services
from plugin.cli import main
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.policy_text import default_policy_text
from plugin.services.governance.shipped_audit import AUDIT_FILE, audit_entry
from plugin.settings import load_settings
from tests.fakes.audits import audit_document

MODEL = "ab" * 32
PEOPLE = {"ada": "administrator", "eve": "ethics-officer", "ed": "ethics-officer", "ron": "radiologist"}
REFUSED, CONFLICT, BROKEN_POLICY, USAGE = 77, 65, 78, 2


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose officers are enrolled, made once: the tests work on copies."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "model").mkdir()
    (folder / "model" / "segmenter.json").write_text(json.dumps({"version": MODEL}))
    with pytest.MonkeyPatch.context() as patch:
        use(folder, patch)
        migrate_database(load_settings())
        for name, role in PEOPLE.items():
            words = ["users", "add", name, "--role", role, "--password-stdin"]
            assert CliRunner().invoke(main, words, input="a long password\n").exit_code == 0
            by = [] if name == "ada" else ["--by", "ada"]
            done = qfl("officer", "enrol", name, *by, "--passphrase-stdin", text=phrases(name, "ada"))
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def staffed(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    shutil.copytree(template, folder)
    use(folder, monkeypatch)
    return folder


def use(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sealed_keys, "WORK_FACTOR", 2)
    patch.delenv("QFL_DATABASE_URL", raising=False)
    for variable, value in {
        "QFL_DATA_DIR": str(folder),
        "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
        "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
        "QFL_MODEL_DIR": str(folder / "model"),
    }.items():
        patch.setenv(variable, value)


def qfl(*words: str, text: str = "") -> Result:
    return CliRunner().invoke(main, ["governance", *words], input=text, catch_exceptions=False)


def phrases(*names: str) -> str:
    return "".join(f"passphrase of {name}\n" for name in names)


def act(command: str, by: str, *options: str) -> Result:
    return qfl(command, "--current", "--by", by, "--passphrase-stdin", *options, text=phrases(by))


def ship(site: Path, outcome: AuditOutcome = AuditOutcome.PASSED, model: str = MODEL) -> None:
    services = build_services(load_settings())
    document = audit_document(
        model, services.governance.policy().digest, at=services.clock(), outcome=outcome, trained_by=("a consortium",)
    )
    (site / "model" / AUDIT_FILE).write_bytes(document)


def status() -> dict[str, object]:
    found: dict[str, object] = json.loads(qfl("status", "--json").stdout)
    return found


def test_from_the_first_officer_to_a_model_in_use(staffed: Path) -> None:
    assert (status()["state"], status()["in_use"]) == ("unreleased", False)
    assert act("release", "eve").exit_code == CONFLICT  # no audit yet
    ship(staffed)
    done = act("release", "eve", "--shipped")
    assert done.exit_code == 0, done.output
    assert "released, signed by 1 of 1 officers" in done.stdout
    assert (status()["state"], status()["in_use"], status()["outcome"]) == ("released", True, "passed")
    assert "holds until" in qfl("status").stdout
    assert qfl("verify").exit_code == 0


def test_an_override_takes_two_and_a_halt_one(staffed: Path) -> None:
    ship(staffed, AuditOutcome.FAILED)
    refused = act("release", "eve", "--shipped")
    assert (refused.exit_code, "qfl governance override" in refused.stderr) == (CONFLICT, True)
    assert "1 more must sign" in act("override", "eve", "--reason", "A pilot").stdout
    assert "override under audit" in qfl("status").stdout
    assert "released by override" in act("override", "ed", "--reason", "A pilot").stdout
    assert "halted" in act("halt", "ron", "--reason", "Looks wrong").stdout
    assert "not in use: The model was halted" in qfl("status").stdout
    assert act("resume", "ron", "--reason", "Fine again").exit_code == REFUSED
    assert act("resume", "eve", "--reason", "Fine again").exit_code == 0
    assert act("resume", "eve", "--reason", "Fine again").exit_code == REFUSED
    assert "resumed" in act("resume", "ed", "--reason", "Fine again").stdout


def test_faults_are_one_line_and_an_exit_code(staffed: Path) -> None:
    ship(staffed)
    wrong = qfl("release", "--current", "--by", "eve", "--passphrase-stdin", "--shipped", text="not the passphrase\n")
    assert (wrong.exit_code, wrong.stderr) == (REFUSED, "qfl: The passphrase does not open the officer's key.\n")
    assert act("release", "ron").exit_code == REFUSED
    assert qfl("release", "--by", "eve", "--passphrase-stdin", text=phrases("eve")).exit_code == USAGE
    assert qfl("release", MODEL, "--current", "--by", "eve").exit_code == USAGE
    assert qfl("officer", "enrol", "ron", "--by", "ada", "--passphrase-stdin", text="only one line\n").exit_code == 77
    assert qfl("officer", "enrol", "ada", "--passphrase-stdin", text=phrases("ada")).exit_code == REFUSED


def test_a_passphrase_file_must_be_closed_to_others(staffed: Path) -> None:
    ship(staffed)
    file = staffed / "passphrase"
    file.write_text(phrases("eve"))
    file.chmod(0o644)
    words = ("release", MODEL, "--shipped", "--by", "eve", "--passphrase-file", str(file))
    assert "chmod 600" in qfl(*words).stderr
    file.chmod(0o600)
    assert qfl(*words).exit_code == 0


def test_passphrases_are_asked_for(staffed: Path) -> None:
    ship(staffed)
    done = qfl("release", "--current", "--shipped", "--by", "eve", text=phrases("eve"))
    assert done.exit_code == 0
    assert "passphrase of eve" not in done.output


@pytest.mark.parametrize("content", [None, b"{}", b"not json"])
def test_a_shipped_audit_that_is_none_is_refused(staffed: Path, content: bytes | None) -> None:
    if content is not None:
        (staffed / "model" / AUDIT_FILE).write_bytes(content)
    assert act("release", "eve", "--shipped").exit_code == CONFLICT
    assert status()["newest_audit"] is None


def test_a_shipped_audit_of_another_model_is_refused(staffed: Path) -> None:
    ship(staffed, model="cd" * 32)
    refused = act("release", "eve", "--shipped")
    assert (refused.exit_code, "is an audit of the model" in refused.stderr) == (CONFLICT, True)


def test_officers_are_listed_and_revoked(staffed: Path) -> None:
    assert qfl("officer", "revoke", "eve", "--by", "ada", "--passphrase-stdin", text=phrases("ada")).exit_code == 0
    rows = [json.loads(line) for line in qfl("officer", "list", "--json").stdout.splitlines()]
    assert {row["username"]: row["role"] for row in rows} == PEOPLE
    assert [row["username"] for row in rows if row["revoked_at"]] == ["eve"]
    assert "ethics-officer" in qfl("officer", "list").stdout
    ship(staffed)
    assert act("release", "eve", "--shipped").exit_code == REFUSED
    last = qfl("officer", "revoke", "ada", "--by", "ada", "--passphrase-stdin", text=phrases("ada"))
    assert (last.exit_code, "last officer" in last.stderr) == (REFUSED, True)


def test_a_policy_is_checked_shown_and_put_in_force_by_two(staffed: Path) -> None:
    shown = qfl("policy", "--show").stdout
    assert shown == default_policy_text()
    file = staffed / "policy.yaml"
    file.write_text(shown.replace("epsilon_limit: 1.0", "epsilon_limit: 0.5"))
    digest = json.loads(qfl("policy", "--check", str(file), "--json").stdout)["digest"]
    words = ("policy", "--set", str(file), "--passphrase-stdin", "--by")
    assert "1 more must sign" in qfl(*words, "eve", text=phrases("eve")).stdout
    assert qfl(*words, "eve", text=phrases("eve")).exit_code == REFUSED
    assert "in force now" in qfl(*words, "ed", text=phrases("ed")).stdout
    found = json.loads(qfl("policy", "--json").stdout)
    assert (found["digest"], found["policy"]["privacy"]["epsilon_limit"]) == (digest, "0.5")
    assert "set by officers" in qfl("policy").stdout
    file.write_text("version: 1\n")
    assert qfl("policy", "--check", str(file)).exit_code == BROKEN_POLICY
    assert qfl(*words, "eve", text=phrases("eve")).exit_code == BROKEN_POLICY
    assert qfl("policy", "--check", str(staffed / "nowhere")).exit_code == BROKEN_POLICY
    assert qfl("policy", "--set", str(file)).exit_code == USAGE


def test_an_audit_is_taken_once(staffed: Path) -> None:
    ship(staffed)
    act("release", "eve", "--shipped")
    services = build_services(load_settings())
    record = record_of((staffed / "model" / AUDIT_FILE).read_bytes())
    services.governance.store.save_audit(record, entries=[audit_entry(record, services.governance)])
    assert len(services.governance.store.audits()) == 1
    assert len(qfl("log", "--json", "--kind", "audit-run").stdout.splitlines()) == 1
