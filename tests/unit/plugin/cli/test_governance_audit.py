"""`qfl governance audit|audits`: what is printed, written, stored, and the exit codes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from federated.model_file import save_model
from governance.audit import parse_audit
from plugin.adapters import sql_engine
from plugin.cli import main
from plugin.cli.common import INTERRUPTED
from tests.fakes.audits import audit_document
from tests.fakes.mimic_tables import write_mimic
from tests.fakes.tiny_model import build_tiny_model

PASSED, FAILED, INSUFFICIENT, NOT_CONFIGURED, BAD_DATA = 0, 1, 2, 78, 65
MODEL = "a model of chest films 1.0"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "mimic"
    folder.mkdir()
    write_mimic(folder, 300, miss=lambda n: n % 6 == 0)  # no woman's finding is recognised
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    sql_engine.migrate(engine)
    engine.dispose()
    for variable, value in {
        "QFL_DATA_DIR": str(tmp_path),
        "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
        "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
        "QFL_PUBLIC_URL": "https://a.example",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("QFL_DATABASE_URL", raising=False)
    assert qfl("checkpoint").exit_code == 0  # opens the ledger


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("QFL_DATABASE_URL", "QFL_FHIR_URL", "QFL_ARCHIVE_URL", "QFL_PUBLIC_URL"):
        monkeypatch.delenv(variable, raising=False)


def qfl(*words: object) -> Result:
    return CliRunner().invoke(main, ["governance", *map(str, words)], catch_exceptions=False)


def audit(cohort: Path, out: Path, *words: object) -> Result:
    return qfl("audit", "--cohort", f"mimic:{cohort}", "--predicted-by", MODEL, "--out", out, *words)


@pytest.mark.usefixtures("nowhere")
def test_an_audit_needs_no_site(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = audit(cohort, out)
    assert found.exit_code == FAILED
    assert "Bias between groups" in found.stdout
    assert "M over F" in found.stdout
    assert "Not stored" in found.stderr
    assert sorted(each.name for each in out.iterdir()) == ["audit.html", "audit.json"]
    report = parse_audit((out / "audit.json").read_bytes())
    assert report.model_version == MODEL
    assert "MARTIAN" not in (out / "audit.html").read_text()


@pytest.mark.usefixtures("nowhere")
def test_a_fair_but_small_cohort_is_insufficient_evidence(tmp_path: Path) -> None:
    write_mimic(tmp_path, 40)
    found = audit(tmp_path, tmp_path / "out", "--json")
    assert found.exit_code == INSUFFICIENT
    assert json.loads(found.stdout)["outcome"] == "insufficient-evidence"


@pytest.mark.usefixtures("site")
def test_a_sites_audit_is_stored_recorded_and_listed(cohort: Path, tmp_path: Path) -> None:
    assert "There is no audit yet" in qfl("audits").stdout
    assert audit(cohort, tmp_path / "out").exit_code == FAILED
    report = parse_audit((tmp_path / "out" / "audit.json").read_bytes())
    listed = [json.loads(line) for line in qfl("audits", "--json").stdout.splitlines()]
    assert [(each["digest"], each["outcome"]) for each in listed] == [(report.digest, "failed")]
    assert qfl("audits", "--model", "another", "--json").stdout == ""
    entries = qfl("log", "--kind", "audit-run", "--json").stdout.splitlines()
    assert [json.loads(each)["facts"]["report"] for each in entries] == [report.digest]


@pytest.mark.usefixtures("nowhere")
def test_bad_input_is_explained(cohort: Path, tmp_path: Path) -> None:
    (cohort / "predictions.csv").write_text("study_id,Edema\n")
    found = audit(cohort, tmp_path / "out")
    assert found.exit_code == BAD_DATA
    assert "study-000001: has findings and no prediction" in found.stderr


@pytest.mark.usefixtures("nowhere")
def test_predictions_need_a_model(cohort: Path) -> None:
    found = qfl("audit", "--cohort", f"mimic:{cohort}")
    assert "--predicted-by" in found.stderr


@pytest.mark.usefixtures("nowhere")
def test_a_shipped_audit_is_taken_into_a_sites_records() -> None:
    assert qfl("audit", "--shipped").exit_code == NOT_CONFIGURED


@pytest.mark.usefixtures("nowhere")
def test_what_is_typed_reaches_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugin.services.governance import audit as auditing

    asked = {}

    def run(segmenter: Any, model_dir: Path, cohort: Any, **wanted: Any) -> Any:
        asked.update(wanted, cohort=cohort, model=segmenter.identity.version)
        wanted["view"].say("cases", 0.5)
        document = audit_document("b" * 64, "c" * 64, at=datetime(2026, 11, 30, tzinfo=UTC))
        return auditing.Audited(parse_audit(document))

    monkeypatch.setattr(auditing, "run_audit", run)
    save_model(tmp_path / "model", build_tiny_model())
    words = (
        "--model",
        tmp_path / "model",
        "--cases",
        3,
        "--spacing",
        6,
        "--explained",
        0,
        "--trained-by",
        "Consortium",
    )
    found = qfl("audit", "--quick", *words, "--out", tmp_path / "out")
    assert found.exit_code == PASSED
    assert len(asked["cohort"].sources) == 3
    assert asked["cohort"].sources[0].spacing_mm == 6
    assert asked["effort"].explained_cases == 0
    assert asked["effort"].permutations < 999
    assert asked["trained_on"] is None  # not known of a model that is not the installed one
    assert asked["origin"].trained_by == ("Consortium",)
    assert asked["work"] == tmp_path / "out" / "work"


@pytest.mark.usefixtures("nowhere")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugin.services.governance import audit as auditing

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(auditing, "run_audit", stop)
    save_model(tmp_path / "model", build_tiny_model())
    found = qfl("audit", "--model", tmp_path / "model", "--cases", 1, "--spacing", 6, "--out", tmp_path / "out")
    assert found.exit_code == INTERRUPTED
    assert "The same command goes on" in found.stderr
