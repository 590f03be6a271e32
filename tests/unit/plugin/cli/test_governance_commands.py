"""`qfl governance` over a real SQLite file: what an officer and an auditor type, and the exit codes that they get."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from governance.ledger.cosignature import CosignerKey
from governance.ledger.proof_file import parse_proof
from plugin.adapters import sql_engine
from plugin.cli import main

INTACT, WRONG = 0, 1


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_site(tmp_path / "a", "a.example", monkeypatch)


def make_site(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    engine = sql_engine.connect(f"sqlite:///{folder}/qfl.db")
    sql_engine.migrate(engine)
    engine.dispose()
    use(folder, name, monkeypatch)
    return folder


def use(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "QFL_DATA_DIR": str(folder),
        "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
        "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
        "QFL_PUBLIC_URL": f"https://{name}",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("QFL_DATABASE_URL", raising=False)


def qfl(*words: str) -> Result:
    return CliRunner().invoke(main, ["governance", *words], catch_exceptions=False)


def tamper(site: Path, statement: str) -> None:
    connection = sqlite3.connect(site / "qfl.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_ledger_is_opened_signed_verified_and_shown(site: Path) -> None:
    assert qfl("verify").exit_code == WRONG  # nothing is no ledger
    assert qfl("checkpoint").stdout.startswith("a.example/ledger\n1\n")
    assert qfl("checkpoint", "--rotate-key").stdout.startswith("a.example/ledger\n2\n")
    found = qfl("verify")
    assert found.exit_code == INTACT
    assert "2 entries, 2 of them signed" in found.stdout
    assert found.stdout.endswith("Intact.\n")
    assert "key-rotated" in qfl("log", "--last", "1").stdout
    lines = [json.loads(line) for line in qfl("log", "--json").stdout.splitlines()]
    assert [(line["index"], line["kind"]) for line in lines] == [(0, "log-opened"), (1, "key-rotated")]
    assert [json.loads(line)["index"] for line in qfl("log", "--json", "--kind", "log-opened").stdout.splitlines()] == [
        0
    ]


def test_a_row_that_was_tampered_with_is_named(site: Path) -> None:
    qfl("checkpoint")
    qfl("checkpoint", "--rotate-key")
    tamper(site, "UPDATE ledger_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), '2026', '2025') AS BLOB)")
    found = qfl("verify", "--json")
    report = json.loads(found.stdout)
    assert found.exit_code == WRONG
    assert report["intact"] is False
    assert {"fault": "entry-edited", "first": 0, "kind": "log-opened"}.items() <= report["findings"][0].items()


def test_a_database_that_was_put_back_is_found_by_the_file_beside_it(site: Path) -> None:
    qfl("checkpoint")
    connection = sqlite3.connect(site / "qfl.db")
    backup = sqlite3.connect(site / "backup.db")
    connection.backup(backup)
    qfl("checkpoint", "--rotate-key")
    backup.backup(connection)
    backup.close()
    connection.close()
    found = qfl("verify")
    assert found.exit_code == WRONG
    assert "WRONG" in found.stdout
    assert "log-rolled-back" in found.stdout
    refused = qfl("checkpoint")
    assert refused.exit_code not in {INTACT, WRONG}
    assert "qfl:" in refused.stderr


def test_a_bundle_is_verified_without_the_site(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qfl("checkpoint")
    qfl("checkpoint", "--rotate-key")
    bundle = tmp_path / "bundle.json"
    assert qfl("export", str(bundle)).exit_code == 0
    first_key = tmp_path / "first-key.vkey"
    first_key.write_bytes((site / "ledger" / "first-key.vkey").read_bytes())
    for variable in ("QFL_DATA_DIR", "QFL_FHIR_URL", "QFL_ARCHIVE_URL"):
        monkeypatch.delenv(variable)
    found = qfl("verify", "--bundle", str(bundle), "--first-key", str(first_key), "--json")
    assert found.exit_code == INTACT
    assert json.loads(found.stdout)["checked"] == 2
    bundle.write_text(bundle.read_text().replace("key-rotated", "log-opened"))
    assert qfl("verify", "--bundle", str(bundle)).exit_code == WRONG
    bundle.write_text("{}")
    broken = qfl("verify", "--bundle", str(bundle))
    assert broken.exit_code == 65
    assert broken.stderr.startswith("qfl: Expected a ledger bundle")
    assert qfl("verify", "--bundle", str(tmp_path / "none")).exit_code == 65


def test_one_entry_is_exported_as_c2sp_writes_it(site: Path, tmp_path: Path) -> None:
    qfl("checkpoint")
    assert qfl("export", "--entry", "0", str(tmp_path / "entry.tlog-proof")).exit_code == 0
    parse_proof((tmp_path / "entry.tlog-proof").read_text()).check()
    assert qfl("export", "--entry", "1", str(tmp_path / "entry.tlog-proof")).exit_code == 65


def test_another_site_witnesses_the_log(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qfl("checkpoint")
    request, answer = tmp_path / "request", tmp_path / "answer"
    assert qfl("ask-witness", str(request)).exit_code == 0
    other = make_site(tmp_path / "b", "b.example", monkeypatch)
    unknown = qfl("cosign", str(request))
    assert "does not know the log" in unknown.stderr
    vkey = qfl("cosign").stdout.strip()
    assert CosignerKey.parse(vkey).name == "b.example/ledger-witness"
    (other / "ledger" / "logs").write_bytes((site / "ledger" / "first-key.vkey").read_bytes())
    answer.write_text(qfl("cosign", str(request)).stdout)
    use(site, "a.example", monkeypatch)
    assert qfl("checkpoint", "--add", str(answer)).exit_code == 65  # whom it does not believe yet
    (site / "ledger" / "witnesses").write_text(f"{vkey}\n")
    assert qfl("checkpoint", "--add", str(answer)).exit_code == 0
    found = qfl("verify", "--quorum", "1")
    assert found.exit_code == INTACT
    assert "cosigned by b.example/ledger-witness" in found.stdout
    assert qfl("verify", "--quorum", "2").exit_code == WRONG


def test_a_checkpoint_that_somebody_else_kept_shows_a_fork(site: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(qfl("checkpoint").stdout)
    assert qfl("verify", "--checkpoint", str(kept)).exit_code == INTACT
    kept.write_text("nothing")
    assert qfl("verify", "--checkpoint", str(kept)).exit_code == 65


def test_it_needs_no_torch_and_no_flask() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from plugin.cli import main;"
        "CliRunner().invoke(main, ['governance', 'verify', '--bundle', '/nowhere']);"
        "print([name for name in ('torch', 'flask', 'sqlalchemy', 'flwr') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
