"""The audit that ships with the installed model is of that model, by the policy that ships, and says what it found."""

import json

from governance.audit import parse_audit
from plugin.services.governance.audit_report import build_audit_page
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from plugin.services.governance.shipped_audit import AUDIT_FILE
from plugin.settings import PACKAGED_MODEL


def test_the_shipped_audit_is_of_the_shipped_model_and_policy():
    report = parse_audit((PACKAGED_MODEL / AUDIT_FILE).read_bytes())
    card = json.loads((PACKAGED_MODEL / "segmenter.json").read_text())
    policy = parse_policy_text(default_policy_text())
    assert report.model_version == card["version"]
    assert report.policy_digest == policy.digest
    assert {each.name for each in report.controls if each.required} == set(policy.audit.required)
    assert report.cohort["cases"] >= 120
    assert report.trained_by


def test_its_page_can_be_drawn_again():
    report = parse_audit((PACKAGED_MODEL / AUDIT_FILE).read_bytes())
    page = build_audit_page(report)
    assert report.digest in page
    assert len(page) < 500_000
