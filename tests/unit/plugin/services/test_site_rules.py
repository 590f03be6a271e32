"""The hospital's rules at one moment: policy file, participation, begun rounds, budget and cohort together."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from federated.errors import TrainingDataError
from federated.rounds.terms import Learning, Privacy
from fhir_adapter.errors import FhirUnavailableError
from plugin.errors import SitePolicyError
from plugin.services.policy_model import CohortCount, ParticipationState
from plugin.services.research_cohort import Cohort
from plugin.services.round_records import Outcome
from plugin.services.site_policy import default_policy_text, parse_policy, read_policy
from plugin.services.site_rules import HospitalRules, allowed_device
from tests.fakes.round_records import InMemoryRounds
from tests.fakes.round_terms import example_terms

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SMALL = {"record_noise": 4.0, "record_epsilon": 1.0, "delta": 1e-5}


@dataclass
class Drawn:
    """A cohort source that gives so many cases, or fails."""

    cases: int = 20
    fault: Exception | None = None
    asked_at: datetime | None = None

    def draw(self, *, now, spacing_mm=2.0):
        self.asked_at = now
        if self.fault:
            raise self.fault
        return Cohort([None] * self.cases, [], "d" * 64, left_out={"no consent": 3})


@dataclass
class Site:
    """Rules over fakes, and what they look at."""

    rules: HospitalRules
    records: InMemoryRounds
    cohort: Drawn
    policy_file: object

    def write(self, *changes):
        text = default_policy_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        self.policy_file.write_text(text)

    def refused(self, terms=None, now=NOW):
        return {finding.rule for finding in self.rules.check(terms or round_terms(), now=now) if not finding.allowed}


@pytest.fixture
def site(tmp_path):
    path, cohort = tmp_path / "policy.yaml", Drawn()
    path.write_text(default_policy_text())
    records = InMemoryRounds(lambda: read_policy(path).privacy)
    return Site(HospitalRules(path, records, cohort), records, cohort, path)


def round_terms(number=1, **changes):
    given = {
        "round": number,
        "rounds": 1000,
        "network": {"architecture": "unet"},
        "learning": Learning(steps=5, batch=2),
        "privacy": Privacy(**SMALL),
        **changes,
    }
    return example_terms(**given)


def test_an_allowed_round_is_recorded_with_what_it_was_held_against(site):
    assert site.refused() == set()
    (row,) = site.records.rounds(limit=9)
    assert (row.outcome, row.cases, row.left_out) == (Outcome.CHECKED, 20, {"no consent": 3})
    assert row.policy_digest == read_policy(site.policy_file).digest
    assert row.cohort_digest == "d" * 64
    assert site.records.has_begun(round_terms())


def test_the_cohort_is_drawn_in_the_hospitals_zone_and_anew_each_time(site):
    site.refused()
    assert site.cohort.asked_at.isoformat() == "2026-11-01T13:00:00+01:00"
    site.cohort.cases = 4
    assert "cohort" in site.refused()


def test_a_preview_leaves_no_record(site):
    findings = site.rules.preview(round_terms(), now=NOW)
    assert all(finding.allowed for finding in findings)
    assert not site.records.rounds(limit=9)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("version: 1", id="nearly-empty"),
        pytest.param(None, id="missing"),
        pytest.param(default_policy_text().replace("epsilon_per_run: 8.0", "epsilon_per_run: 1.0"), id="contradiction"),
    ],
)
def test_without_a_usable_policy_every_round_is_refused(site, text):
    if text is None:
        site.policy_file.unlink()
    else:
        site.policy_file.write_text(text)
    findings = site.rules.check(round_terms(), now=NOW)
    assert [finding.rule for finding in findings if not finding.allowed] == ["policy"]
    assert str(site.policy_file) not in findings[0].reason
    assert str(site.policy_file) in findings[0].inputs
    with pytest.raises(SitePolicyError):
        site.rules.preview(round_terms(), now=NOW)


def test_an_edited_policy_counts_at_once_and_shows(site):
    assert site.refused() == set()
    site.write(("epsilon_per_year: 10.0", "epsilon_per_year: 500.0"))
    (which,) = [each for each in site.rules.check(round_terms(2), now=NOW) if each.rule == "policy"]
    assert "at the round before it was" in which.inputs
    digests = {row.policy_digest for row in site.records.rounds(limit=9)}
    assert len(digests) == 2
    site.write(("aggregation: [masked, grouped-masked]", "aggregation: [median]"))
    assert site.refused(round_terms(3)) == {"aggregation"}


def test_pausing_and_leaving_count_at_once(site):
    site.records.set_participation("test", ParticipationState.PAUSED, reason="", now=NOW)
    assert site.refused() == {"participation"}
    site.records.set_participation("test", ParticipationState.ACTIVE, reason="", now=NOW)
    assert site.refused() == set()
    site.records.set_participation("test", ParticipationState.LEFT, reason="", now=NOW)
    assert site.refused() == {"participation"}


def test_a_round_that_began_may_end_after_the_hours(site):
    site.write(("windows: always", 'windows: [{days: [sun], from: "12:00", to: "14:00"}]'))
    later = NOW + timedelta(hours=2)
    terms = round_terms(deadline=NOW + timedelta(hours=4))
    assert site.refused(terms) == set()
    assert site.refused(terms, later) == set()
    assert site.refused(round_terms(2, deadline=NOW + timedelta(hours=4)), later) == {"working-hours"}
    assert site.refused(replace(terms, minimum_cases=2), later) == {"working-hours"}


def test_the_budget_is_looked_at_before_anything_is_trained(site):
    site.write(
        ("epsilon_per_round: 2.0", "epsilon_per_round: 0.5"),
        ("epsilon_per_run: 8.0", "epsilon_per_run: 0.5"),
        ("epsilon_per_year: 10.0", "epsilon_per_year: 0.5"),
    )
    privacy = Privacy(record_noise=4.0, record_epsilon=0.4, delta=1e-5)
    first, second = round_terms(1, privacy=privacy), round_terms(2, privacy=privacy)
    assert site.refused(first) == set()
    site.records.charge(first, 0.4, now=NOW)
    assert site.refused(first) == set(), "a round that was charged is not counted twice"
    assert site.refused(second) == {"epsilon-per-run", "epsilon-per-year"}
    assert site.refused(round_terms(1, run="run-2", privacy=privacy)) == {"epsilon-per-year"}


def test_a_promise_that_this_site_cannot_keep_is_refused_before_training_and_without_its_numbers(site):
    privacy = Privacy(record_noise=0.5, record_epsilon=0.1, delta=1e-5)
    findings = [each for each in site.rules.check(round_terms(privacy=privacy), now=NOW) if not each.allowed]
    assert [each.rule for each in findings] == ["record-level-privacy"]
    assert "at this site it costs" in findings[0].inputs
    assert not any(sign.isdigit() for sign in findings[0].reason)


def test_noise_that_no_accountant_takes_is_refused(site):
    privacy = Privacy(record_noise=1e-3, record_epsilon=1.0, delta=1e-5)
    assert "record-level-privacy" in site.refused(round_terms(privacy=privacy))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(FhirUnavailableError("GET /Consent/...: no answer"), id="ehr-away"),
        pytest.param(TrainingDataError("no cases"), id="no-folder"),
        pytest.param(SitePolicyError("policy.yaml: edited meanwhile"), id="policy-edited-meanwhile"),
    ],
)
def test_a_cohort_that_cannot_be_drawn_refuses_the_round_and_keeps_the_reason_here(site, fault):
    site.cohort.fault = fault
    (cohort,) = [each for each in site.rules.check(round_terms(), now=NOW) if each.rule == "cohort"]
    assert not cohort.allowed
    assert str(fault) in cohort.inputs
    assert str(fault) not in cohort.reason


def test_a_gpu_is_used_only_where_the_policy_says_so(site, tmp_path):
    policy = parse_policy(default_policy_text().encode())
    assert allowed_device(policy, "auto") == "cpu"
    wide = replace(policy, machine=replace(policy.machine, gpu=True))
    assert allowed_device(wide, "auto") == "auto"
    forced = HospitalRules(site.policy_file, site.records, site.cohort, device="cuda")
    assert [each.rule for each in forced.check(round_terms(), now=NOW) if not each.allowed] == ["machine"]


def test_a_cohort_counts_what_is_trained_on():
    assert Cohort([None] * 3, [None], "d").count == CohortCount(3)
