"""The walk: a site works, somebody changes one row of its database, and `qfl governance verify` names it."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from plugin.bootstrap.ledger import migrate_database
from plugin.bootstrap.processes import build_celery
from plugin.bootstrap.services import build_services
from plugin.cli import main
from plugin.services import accounts, intake
from plugin.services.ports import Services
from plugin.services.values import AnalysisState, Role
from plugin.settings import Settings, load_settings

INTACT, WRONG = 0, 1


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in {
        "QFL_DATA_DIR": str(tmp_path),
        "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
        "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
        "QFL_PUBLIC_URL": "https://a.example",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("QFL_DATABASE_URL", raising=False)
    return load_settings()


@pytest.fixture
def site(settings: Settings) -> Path:
    """A database after `qfl migrate` and some work."""
    migrate_database(settings)
    work(build_services(settings))
    return settings.data_dir


def work(services: Services) -> None:
    accounts.add_user(
        services, username="dr.house", display_name="Gregory House", role=Role.RADIOLOGIST, password="correct horse"
    )
    accounts.issue_token(services, username="dr.house")
    first = intake.request_analysis(services, study_instance_uid="1.2.3", requested_by="dr.house")
    services.store.finish(
        first, AnalysisState.NOT_ANALYSABLE, reason_code="NoSeries", reason="No T1.", now=services.clock()
    )
    intake.restart_analysis(services, analysis_id=first, requested_by="dr.house")


def qfl(*words: str) -> Result:
    return CliRunner().invoke(main, ["governance", *words], catch_exceptions=False)


def verified(expected: int) -> dict[str, Any]:
    found = qfl("verify", "--json")
    assert found.exit_code == expected
    report: dict[str, Any] = json.loads(found.stdout)
    return report


def change(site: Path, *statements: str) -> None:
    connection = sqlite3.connect(site / "qfl.db")
    for statement in statements:
        assert connection.execute(statement).rowcount
    connection.commit()
    connection.close()


def test_an_untouched_site_is_covered(site: Path) -> None:
    found = qfl("verify")
    assert found.exit_code == INTACT
    assert "coverage: 5 of 5 transactions are in the log (100 %)." in found.stdout
    assert found.stdout.endswith("Intact.\n")
    coverage = verified(INTACT)["coverage"]
    assert (coverage["complete"], coverage["gaps"], coverage["before_the_ledger_began"]) == (True, [], 0)
    assert coverage["tables"]["events"] == {"transactions": 2, "recorded": 2}
    assert "dr.house" not in found.stdout


def test_an_edited_row_of_an_operational_table_is_named(site: Path) -> None:
    change(site, "UPDATE analyses SET reason_code = 'Other' WHERE state = 'not-analysable'")
    found = qfl("verify")
    assert found.exit_code == WRONG
    assert "WRONG row-differs: analyses " in found.stdout
    assert "reason differs" in found.stdout
    assert "coverage: 4 of 5 transactions are in the log (80 %)." in found.stdout
    report = verified(WRONG)
    assert report["intact"] is True  # the log itself is as it was signed
    (gap,) = report["coverage"]["gaps"]
    assert (gap["table"], gap["kind"]) == ("analyses", "study-not-analysed")


def test_a_planted_administrator_is_named_without_the_name(site: Path) -> None:
    change(
        site,
        "INSERT INTO users (username, display_name, role, password_hash) VALUES ('mallory', 'M', 'administrator', 'x')",
    )
    found = qfl("verify")
    assert found.exit_code == WRONG
    assert "account-changed is not in the log" in found.stdout
    assert "mallory" not in found.stdout


def test_a_deleted_row_of_the_ledger_is_named_twice(site: Path) -> None:
    change(site, "DELETE FROM ledger_entries WHERE kind = 'token-issued'")
    report = verified(WRONG)
    assert [each["fault"] for each in report["findings"]] == ["entry-missing"]
    assert [each["table"] for each in report["coverage"]["gaps"]] == ["tokens"]


def test_an_edited_row_of_the_ledger_is_named(site: Path) -> None:
    change(
        site,
        "UPDATE ledger_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'radiologist', 'auditor') AS BLOB) "
        "WHERE kind = 'account-changed'",
        "UPDATE users SET role = 'auditor'",
    )
    report = verified(WRONG)
    assert report["findings"][0]["fault"] == "entry-edited"
    assert report["findings"][0]["kind"] == "account-changed"


def test_a_lost_digest_key_is_told_instead_of_a_hundred_findings(site: Path) -> None:
    (site / "governance" / "digest.key").unlink()
    found = qfl("verify")
    assert found.exit_code == WRONG
    assert found.stdout.count("WRONG") == 1
    assert "other-digest-key" in found.stdout


def test_what_was_there_before_the_ledger_is_counted_apart(settings: Settings) -> None:
    """An installation of an earlier version: rows without entries, then this version's `qfl migrate`."""
    migrate_database(settings)
    work(build_services(settings))
    folder = settings.data_dir
    for table in ("entries", "tiles", "checkpoints", "state"):
        change(folder, f"DELETE FROM ledger_{table}")
    for file in (folder / "ledger").iterdir():
        file.unlink()
    migrate_database(settings)
    migrate_database(settings)  # begins once
    found = qfl("verify")
    assert found.exit_code == INTACT, found.stdout
    assert "coverage: 1 of 1 transactions are in the log (100 %)." in found.stdout  # the account, as it was found
    assert "4 transactions are from before the ledger began" in found.stdout
    assert [json.loads(line)["kind"] for line in qfl("log", "--json").stdout.splitlines()] == [
        "log-opened",
        "recording-began",
        "account-changed",
    ]
    change(folder, "UPDATE users SET role = 'administrator'")
    assert "account-changed" in qfl("verify").stdout
    change(folder, "UPDATE users SET role = 'radiologist'")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None).isoformat(" ")
    change(
        folder,
        "INSERT INTO events (subscription, event_key, state, detail, received_at, count) "
        f"VALUES ('main', 'planted', 'control', 'x', '{long_ago}', 1)",
    )
    antedated = qfl("verify")
    assert antedated.exit_code == WRONG
    assert "row-antedated: events: 3 transactions" in antedated.stdout


def test_a_coordinator_and_a_bundle_have_no_tables(site: Path, tmp_path: Path) -> None:
    qfl("checkpoint")
    bundle = tmp_path / "bundle.json"
    qfl("export", str(bundle))
    found = qfl("verify", "--bundle", str(bundle), "--json")
    assert found.exit_code == INTACT
    assert "coverage" not in json.loads(found.stdout)


def test_the_timer_signs_what_is_new_and_nothing_else(site: Path, settings: Settings) -> None:
    from plugin.tasks import sign_ledger

    app = build_celery(settings)
    app.conf.task_always_eager = True
    assert app.conf.beat_schedule["sign the ledger"]["task"] == sign_ledger.name
    assert "not under a signed checkpoint" in qfl("verify").stdout
    sign_ledger.apply()
    assert "not under a signed checkpoint" not in qfl("verify").stdout
    signed = checkpoints(site)
    sign_ledger.apply()
    assert checkpoints(site) == signed


def test_the_timer_says_why_it_does_not_sign(site: Path, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    from plugin.tasks import sign_ledger

    build_celery(settings)
    change(site, "DELETE FROM ledger_entries WHERE kind = 'token-issued'")
    sign_ledger.apply()
    assert "the ledger was not signed" in caplog.text
    assert len(checkpoints(site)) == 1


def checkpoints(site: Path) -> list[int]:
    connection = sqlite3.connect(site / "qfl.db")
    found = [size for (size,) in connection.execute("SELECT size FROM ledger_checkpoints ORDER BY size")]
    connection.close()
    return found
