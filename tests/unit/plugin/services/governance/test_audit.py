"""A whole audit of a tiny model, small enough for a unit test."""

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from federated.inference import load_segmenter
from federated.model_file import save_model
from federated.phantom_sites import phantom_cohort
from governance.audit import AuditOutcome, parse_audit
from governance.audit_controls import TITLES
from governance.errors import AuditDataError
from plugin.services.governance.audit import CASES, DOCUMENT, PAGE, Origin, run_audit, write_audit
from plugin.services.governance.audit_cohorts import AuditCohort, phantom_audit_cohort
from plugin.services.governance.audit_report import build_audit_page
from plugin.services.governance.audit_subject import TrainedOn, quick_effort
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from tests.fakes.tiny_model import build_tiny_model

POLICY = parse_policy_text(default_policy_text())
LOOSE = replace(POLICY, fairness=replace(POLICY.fairness, minimum_group=2))
ORIGIN = Origin(
    "qfl governance audit", "abc", "a machine", ("QFL project",), lambda: datetime(2026, 11, 30, tzinfo=UTC)
)


class Watcher:
    """Stops after so many looks."""

    def __init__(self, stops_after=None):
        self.said = []
        self._left = stops_after

    def say(self, what, fraction):
        self.said.append((what, fraction))

    def is_stopped(self):
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0


def audit(folder, work, view=None, policy=LOOSE, cases=4):
    training = phantom_cohort(2026, spacing_mm=6.0, split="training")
    effort = replace(quick_effort(4), explained_cases=0)
    return run_audit(
        load_segmenter(folder),
        folder,
        phantom_audit_cohort(cases, spacing_mm=6.0, minimum_group=2),
        trained_on=TrainedOn(training[:2], training[2:4], "Made for a test."),
        policy=policy,
        effort=replace(effort, budget=replace(effort.budget, membership_cases=2, boundary_cases=1)),
        work=work,
        origin=ORIGIN,
        view=view or Watcher(),
    )


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build_tiny_model())
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def audited(model_dir, work):
    with pytest.raises(KeyboardInterrupt):
        audit(model_dir, work, Watcher(stops_after=2))
    assert len(list((work / "cases").iterdir())) == 2
    return audit(model_dir, work)


def test_an_interrupted_audit_goes_on(audited, model_dir, work):
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    again = audit(model_dir, work)
    assert again.report.to_bytes() == audited.report.to_bytes()
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.json")} == kept


def test_every_control_is_told(audited):
    report = audited.report
    assert [each.name for each in report.controls] == list(TITLES)
    assert {each.name for each in report.controls if each.required} == set(POLICY.audit.required)
    assert report.control("performance").outcome is AuditOutcome.FAILED  # its weights are random
    assert report.outcome is AuditOutcome.FAILED
    assert report.control("privacy-membership").outcome is AuditOutcome.INSUFFICIENT_EVIDENCE
    assert report.control("lipschitz").outcome is AuditOutcome.PASSED


def test_the_document_can_be_read_again_and_names_nobody(audited):
    content = audited.report.to_bytes()
    assert parse_audit(content) == audited.report
    assert b"site-01-test" not in content
    assert audited.report.cohort["cases"] == 4
    assert len(content) < 500_000


def test_what_was_measured_is_what_was_measured(audited):
    row = next(each for each in audited.report.sections["groups"] if each["attribute"] == "sex")
    inside = [each.dice["whole-tumour"] for each in audited.cases if each.groups["sex"] == row["group"]]
    assert float(row["dice"]) == pytest.approx(sum(inside) / len(inside), rel=1e-4)
    assert row["cases"] == len(inside)


def test_the_page_stands_alone(audited):
    page = build_audit_page(parse_audit(audited.report.to_bytes()))
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert audited.report.digest in page
    for each in audited.report.controls:
        assert each.title in page
    assert page.count("data:image/png;base64,") >= 4


def test_files_are_written(audited, tmp_path):
    assert list(write_audit(tmp_path, audited, with_groups=True)) == [DOCUMENT, PAGE, CASES]
    rows = list(csv.DictReader((tmp_path / CASES).read_text().splitlines()))
    assert [each["case"] for each in rows] == [f"case-{n:04d}" for n in range(1, 5)]
    assert rows[0]["sex"] in "FM"
    write_audit(tmp_path, audited, with_groups=False)
    assert not {"sex", "age", "ethnicity", "site"} & set(next(csv.reader((tmp_path / CASES).read_text().splitlines())))


def test_of_few_cases_nothing_is_concluded(model_dir, work, audited):
    cases = audit(model_dir, work, policy=POLICY).report
    for name in ("bias", "performance", "worst-group", "robustness", "boundaries", "quantum-kernel"):
        assert cases.control(name).outcome is AuditOutcome.INSUFFICIENT_EVIDENCE, name
    assert cases.outcome is AuditOutcome.INSUFFICIENT_EVIDENCE


def test_a_folder_of_another_audit_is_refused(model_dir, work, audited):
    other = AuditCohort("x", "another", ())
    with pytest.raises(AuditDataError, match="another model or cohort"):
        run_audit(
            load_segmenter(model_dir),
            model_dir,
            other,
            trained_on=None,
            policy=LOOSE,
            effort=quick_effort(4),
            work=work,
            origin=ORIGIN,
            view=Watcher(),
        )


def test_a_damaged_file_is_named(model_dir, work, audited):
    path = work / "cases" / "case-0001.json"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:100])
        with pytest.raises(AuditDataError, match=r"case-0001\.json: is damaged"):
            audit(model_dir, work)
        path.write_bytes(json.dumps({"name": "x"}).encode())
        with pytest.raises(AuditDataError, match=r"case-0001\.json: is damaged"):
            audit(model_dir, work)
    finally:
        path.write_bytes(content)
