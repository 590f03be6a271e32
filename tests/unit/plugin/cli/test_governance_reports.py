"""`qfl governance report|reports|attest|bundle|subject` over a real SQLite file, and what the exit codes say."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from governance import sealed_keys
from plugin.cli import main
from plugin.tasks import issue_reports
from tests.fakes.reporting_site import ANNA, ENVIRONMENT, ReportingSite, full_site, make_template

PASSPHRASES = {name: f"the passphrase of {name}\n" for name in ("dan.data", "eve.ethics", "amy.auditor")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("site") / "template")


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportingSite:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)
    made = full_site(template, tmp_path / "site")
    # The commands go by the machine's clock.
    real = made.settings.data_dir
    for name, value in {**ENVIRONMENT, "QFL_DATA_DIR": str(real)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("plugin.bootstrap.clock.now", made.clock)
    made.wait(10)
    return made


def qfl(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["governance", *words], input=stdin, catch_exceptions=False)


def test_a_report_a_bundle_and_its_verification(site: ReportingSite, tmp_path: Path) -> None:
    assert "No report was issued" in qfl("reports").stdout
    found = qfl("report", "--out", str(tmp_path / "out"))
    assert found.exit_code == 0, found.stderr
    assert "26 of 39 controls that apply passed" in found.stdout
    assert "ORG-3" in found.stdout
    written = sorted(each.suffix for each in (tmp_path / "out").iterdir())
    assert written == [".html", ".pdf"]
    (listed,) = [json.loads(line) for line in qfl("reports", "--json").stdout.splitlines()]
    assert listed["kind"] == "on-request"
    bundle, verifier = tmp_path / "bundle.zip", tmp_path / "verify.pyz"
    assert qfl("bundle", str(bundle), "--report", listed["digest"][:12], "--verifier", str(verifier)).exit_code == 0
    assert verifier.read_bytes().startswith(b"#!")
    good = qfl("verify", "--bundle", str(bundle), "--first-key", str(site.first_key), "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["intact"] is True
    bundle.write_bytes(bundle.read_bytes().replace(b"Governance report", b"Government report", 1))
    bad = qfl("verify", "--bundle", str(bundle), "--first-key", str(site.first_key))
    assert bad.exit_code == 1
    assert "WRONG file-changed: report/report.html" in bad.stdout
    # The ledger's own export is still told apart from it.
    assert qfl("export", str(tmp_path / "ledger.json")).exit_code == 0
    assert qfl("verify", "--bundle", str(tmp_path / "ledger.json")).exit_code == 0


def test_an_attestation_is_signed(site: ReportingSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin.services.governance.report_plots.draw_plots", lambda _: {})
    document = tmp_path / "assessment.pdf"
    document.write_bytes(b"%PDF the assessment")
    words = ("attest", "ORG-3", "--file", str(document), "--passphrase-stdin", "--officer")
    assert qfl(*words, "dan.data", stdin=PASSPHRASES["dan.data"]).exit_code == 0
    assert qfl(*words, "amy.auditor", stdin=PASSPHRASES["amy.auditor"]).exit_code == 77
    assert qfl(*words, "eve.ethics", stdin="a wrong passphrase\n").exit_code == 77
    summary = json.loads(qfl("report", "--json").stdout)
    assert {row["id"]: row["status"] for row in summary["controls"]}["ORG-3"] == "passed"


def test_wrong_words_are_refused(site: ReportingSite, tmp_path: Path) -> None:
    assert qfl("report", "--period", "2026-13").exit_code == 65
    assert qfl("report", "--period", "2099-01").exit_code == 65
    assert qfl("bundle", str(tmp_path / "b.zip"), "--report", "f" * 64).exit_code == 65
    assert qfl("attest", "LOG-1", "--file", str(tmp_path / "none"), "--officer", "dan.data").exit_code == 65


def test_a_patient_is_told_and_erased(site: ReportingSite) -> None:
    shown = qfl("subject", "show", ANNA.patient_id)
    assert shown.exit_code == 0
    assert "2 analyses" in shown.stdout
    assert "Not ours, sent to:" in shown.stdout
    assert (
        json.loads(qfl("subject", "show", "-", "--json", stdin=f"{ANNA.patient_id}\n").stdout)["rows"]["analyses"] == 2
    )
    words = ("subject", "erase", ANNA.patient_id, "--officer", "dan.data", "--passphrase-stdin")
    refused = qfl(*words, stdin="n\n")
    assert refused.exit_code == 1
    done = qfl(*words, "--yes", stdin=PASSPHRASES["dan.data"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Erased: 2 analyses")
    assert ANNA.patient_id not in done.stdout
    assert qfl("subject", "show", ANNA.patient_id).stdout.strip() == "Nothing is held on this patient."
    assert qfl(*words, "--yes", stdin=PASSPHRASES["dan.data"]).exit_code == 66
    assert qfl("verify").exit_code == 0


def test_the_timers_task_is_scheduled_and_tells_what_went_wrong(
    site: ReportingSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from plugin.bootstrap.governance import build_reporting
    from plugin.bootstrap.processes import build_celery
    from plugin.services.governance import reports

    monkeypatch.setattr("plugin.services.governance.report_plots.draw_plots", lambda _: {})
    app = build_celery(site.settings)
    assert any(each["task"] == "qfl.issue_reports" for each in app.conf.beat_schedule.values())
    site.clock.now = site.clock.now.replace(year=site.clock.now.year + 1)
    app.qfl_reporting = lambda: build_reporting(site.settings, site.services)
    task = app.tasks.get("qfl.issue_reports") or issue_reports
    monkeypatch.setattr(type(task), "app", app, raising=False)
    task()
    assert [each.kind for each in site.services.governance.store.reports(limit=5)] == [reports.SCHEDULED]
    task()
    assert len(site.services.governance.store.reports(limit=5)) == 1
    site.clock.now = site.clock.now.replace(year=site.clock.now.year - 1)
    task()
    assert len(site.services.governance.store.reports(limit=5)) == 1
