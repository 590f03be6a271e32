"""The gate: no audit and no signature, no inference; and what was signed before does not get around it."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from governance import sealed_keys
from governance.audit import AuditOutcome
from governance.decisions import Decision, Outcome
from governance.errors import (
    AuditDataError,
    ModelNotInUseError,
    NotPermittedError,
    OfficerKeyError,
    ReleaseError,
)
from governance.ledger.entries import parse_leaf
from governance.policy import Act
from plugin.errors import NotRestartableError
from plugin.services.governance import officers, release
from plugin.services.governance.officers import Signer
from plugin.services.governance.values import ModelState
from plugin.services.intake import restart_analysis
from plugin.services.values import AnalysisState
from tests.fakes.governance_store import acts_of
from tests.fakes.governed_hospital import ADA, ED, EVE, RON, GovernedHospital

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)


@pytest.fixture
def hospital() -> GovernedHospital:
    return GovernedHospital()


def is_in_use(hospital: GovernedHospital) -> bool:
    try:
        release.check_in_use(hospital.desk, hospital.model)
    except ModelNotInUseError:
        return False
    return True


def override(hospital: GovernedHospital, by: Signer, audit: str | None = None) -> release.Signed:
    hospital.clock.advance(MINUTE)
    return release.override(
        hospital.services, model_version=hospital.model, by=by, reason="A pilot", audit_digest=audit
    )


def resume(hospital: GovernedHospital, by: Signer) -> release.Signed:
    hospital.clock.advance(MINUTE)
    return release.resume(hospital.services, model_version=hospital.model, by=by, reason="The scanner was mended.")


def halt(hospital: GovernedHospital, by: Signer = RON) -> release.Signed:
    hospital.clock.advance(MINUTE)
    return release.halt(hospital.services, model_version=hospital.model, by=by, reason="Wrong side twice.")


def last(hospital: GovernedHospital, kind: str) -> dict[str, object]:
    row = list(hospital.governance.ledger.rows_of_kind(kind))[-1]
    return dict(parse_leaf(row.leaf).facts)


class TestRelease:
    def test_a_passed_audit_and_an_officer_put_a_model_in_use(self, hospital: GovernedHospital) -> None:
        assert not is_in_use(hospital)
        audit = hospital.audited()
        done = release.release(hospital.services, model_version=hospital.model, by=EVE)
        assert (done.is_done, done.status.state, done.status.audit_digest) == (True, ModelState.RELEASED, audit.digest)
        assert is_in_use(hospital)
        assert last(hospital, "model-released") == {
            "model": hospital.model,
            "audit": audit.digest,
            "reason": "released",
            "officers": [hospital.desk.digest("user", "eve.ethics")],
        }
        rules = [parse_leaf(row.leaf).facts["rule"] for row in hospital.governance.ledger.rows_of_kind("decision-made")]
        assert rules == ["may-act", "audit-holds", "separation-of-duties", "enough-approvals"]

    def test_without_an_audit_nothing_is_released(self, hospital: GovernedHospital) -> None:
        with pytest.raises(ReleaseError, match="no such audit"):
            release.release(hospital.services, model_version=hospital.model, by=EVE)

    def test_an_audit_of_another_model_releases_nothing(self, hospital: GovernedHospital) -> None:
        audit = hospital.audited(model="b" * 64)
        with pytest.raises(ReleaseError, match="no such audit of this model"):
            release.release(hospital.services, model_version=hospital.model, by=EVE, audit_digest=audit.digest)

    @pytest.mark.parametrize(
        ("outcome", "said"),
        [(AuditOutcome.FAILED, "audit failed"), (AuditOutcome.INSUFFICIENT_EVIDENCE, "insufficient evidence")],
    )
    def test_an_audit_that_did_not_pass_releases_nothing(
        self, hospital: GovernedHospital, outcome: AuditOutcome, said: str
    ) -> None:
        hospital.audited(outcome)
        with pytest.raises(ReleaseError, match=said):
            release.release(hospital.services, model_version=hospital.model, by=EVE)
        assert not is_in_use(hospital)
        assert acts_of(hospital.governance, Act.RELEASE) == []
        rules = [parse_leaf(row.leaf).facts for row in hospital.governance.ledger.rows_of_kind("decision-made")]
        assert [each["outcome"] for each in rules if each["rule"] == "audit-holds"] == [
            "refuse" if outcome is AuditOutcome.FAILED else "insufficient-evidence"
        ]

    def test_an_audit_under_another_policy_releases_nothing(self, hospital: GovernedHospital) -> None:
        hospital.audited(policy="0" * 64)
        with pytest.raises(ReleaseError, match="another policy"):
            release.release(hospital.services, model_version=hospital.model, by=EVE)

    def test_an_audit_that_says_better_than_its_document_is_refused(self, hospital: GovernedHospital) -> None:
        audit = hospital.audited(AuditOutcome.FAILED)
        hospital.governance.put_audit(replace(audit, outcome="passed"))
        with pytest.raises(AuditDataError, match="was changed"):
            release.release(hospital.services, model_version=hospital.model, by=EVE)

    def test_who_trained_it_does_not_release_it(self, hospital: GovernedHospital) -> None:
        hospital.audited(trained_by=(hospital.desk.digest("user", "eve.ethics"), "a consortium"))
        with pytest.raises(NotPermittedError, match="trained"):
            release.release(hospital.services, model_version=hospital.model, by=EVE)
        assert release.release(hospital.services, model_version=hospital.model, by=ED).is_done

    def test_an_audit_runs_out_and_the_model_with_it(self, hospital: GovernedHospital) -> None:
        hospital.released()
        until = release.status(hospital.desk, hospital.model).until
        assert until is not None
        hospital.clock.now = until
        assert is_in_use(hospital)
        hospital.clock.now = until + timedelta(seconds=1)
        with pytest.raises(ModelNotInUseError, match="held until 2026-08-30"):
            release.check_in_use(hospital.desk, hospital.model)
        hospital.released()
        assert is_in_use(hospital)

    def test_it_is_not_released_twice_under_one_audit(self, hospital: GovernedHospital) -> None:
        hospital.released()
        with pytest.raises(ReleaseError, match="already"):
            release.release(hospital.services, model_version=hospital.model, by=ED)

    def test_a_broken_policy_lets_nothing_run(self, hospital: GovernedHospital) -> None:
        hospital.released()
        hospital.governance.put_policy("version: 1\n")
        with pytest.raises(ModelNotInUseError, match="policy cannot be used"):
            release.check_in_use(hospital.desk, hospital.model)


class TestOverride:
    def test_it_takes_two_officers_and_their_reasons(self, hospital: GovernedHospital) -> None:
        audit = hospital.audited(AuditOutcome.FAILED)
        first = override(hospital, EVE)
        assert (first.is_done, first.given, first.needed, is_in_use(hospital)) == (False, 1, 2, False)
        assert [
            (each.act, each.audit_digest, each.officers, each.needed)
            for each in release.status(hospital.desk, hospital.model).pending
        ] == [(Act.OVERRIDE, audit.digest, ["eve.ethics"], 2)]
        second = override(hospital, ED)
        assert (second.is_done, second.status.reason_code) == (True, "released-by-override")
        assert "A pilot." in second.status.reason
        assert "audit failed" in second.status.reason
        assert is_in_use(hospital)
        assert len(last(hospital, "model-released")["officers"]) == 2

    def test_one_officer_does_not_count_twice(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        with pytest.raises(NotPermittedError, match="counts twice"):
            override(hospital, EVE)
        assert len(acts_of(hospital.governance, Act.OVERRIDE)) == 1
        assert not is_in_use(hospital)

    def test_nothing_is_overridden_where_the_audit_holds(self, hospital: GovernedHospital) -> None:
        hospital.audited()
        with pytest.raises(ReleaseError, match="nothing to override"):
            override(hospital, EVE)

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
    def test_it_takes_a_reason(self, hospital: GovernedHospital, reason: str) -> None:
        hospital.audited(AuditOutcome.FAILED)
        with pytest.raises(ReleaseError, match="reason"):
            release.override(hospital.services, model_version=hospital.model, by=EVE, reason=reason)

    def test_an_approval_of_one_audit_counts_for_no_other(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        hospital.audited(AuditOutcome.FAILED, trained_by=("another",))
        assert not override(hospital, ED).is_done

    def test_a_stolen_approval_moved_to_another_model_counts_for_nothing(self, hospital: GovernedHospital) -> None:
        other = hospital.audited(AuditOutcome.FAILED, model="b" * 64)
        hospital.clock.advance(MINUTE)
        release.override(hospital.services, model_version="b" * 64, by=EVE, reason="Of the other one")
        (stolen,) = hospital.governance.acts("b" * 64)
        hospital.audited(AuditOutcome.FAILED)
        hospital.governance.put_act(replace(stolen, subject=hospital.model))
        done = override(hospital, ED)
        assert (done.is_done, done.given) == (False, 1)
        assert other.digest != release.status(hospital.desk, hospital.model).newest_audit.digest

    def test_an_approval_under_another_name_counts_for_nothing(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        (act,) = acts_of(hospital.governance, Act.OVERRIDE)
        hospital.governance.put_act(replace(act, username="ed.ethics"))
        assert len(release.status(hospital.desk, hospital.model).pending[0].officers) == 1

    def test_a_revoked_officers_approval_counts_no_more(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        officers.revoke(hospital.desk, hospital.store, username="eve.ethics", by=ADA, at=hospital.clock())
        assert not override(hospital, ED).is_done
        assert not is_in_use(hospital)

    def test_an_approval_from_before_a_halt_counts_no_more(self, hospital: GovernedHospital) -> None:
        audit = hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        override(hospital, ED)
        halt(hospital)
        done = override(hospital, EVE, audit.digest)
        assert (done.is_done, done.given) == (False, 1)
        assert not is_in_use(hospital)
        assert override(hospital, ED, audit.digest).is_done

    def test_an_approval_under_another_policy_counts_no_more(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        from plugin.services.governance.policy_text import default_policy_text

        hospital.governance.put_policy(default_policy_text().replace("window: 400", "window: 500"))
        assert not override(hospital, ED).is_done

    def test_two_officers_who_sign_at_once_are_not_stuck(self, hospital: GovernedHospital) -> None:
        """Neither saw the other's signature: whoever signs again completes it."""
        hospital.audited(AuditOutcome.FAILED)
        override(hospital, EVE)
        acts = hospital.governance.acts
        hospital.governance.acts = lambda subject=None: [] if subject == hospital.model else acts(subject)
        assert not override(hospital, ED).is_done
        hospital.governance.acts = acts
        assert override(hospital, EVE).is_done


class TestHaltAndResume:
    def test_a_radiologist_halts_it_at_once(self, hospital: GovernedHospital) -> None:
        hospital.released()
        assert halt(hospital).is_done
        with pytest.raises(ModelNotInUseError, match=r"Wrong side twice\."):
            release.check_in_use(hospital.desk, hospital.model)
        assert last(hospital, "model-halted")["reason"] == "halted-by-officer"

    def test_only_a_released_model_is_halted(self, hospital: GovernedHospital) -> None:
        with pytest.raises(ReleaseError, match="unreleased"):
            halt(hospital)

    def test_resuming_takes_two_officers(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        assert not resume(hospital, EVE).is_done
        assert not is_in_use(hospital)
        with pytest.raises(NotPermittedError, match="counts twice"):
            resume(hospital, EVE)
        done = resume(hospital, ED)
        assert (done.is_done, done.status.reason_code, is_in_use(hospital)) == (True, "resumed", True)
        assert len(last(hospital, "model-resumed")["officers"]) == 2

    def test_a_radiologist_does_not_resume_it(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        with pytest.raises(NotPermittedError, match="role radiologist"):
            resume(hospital, RON)

    def test_a_halted_model_is_not_released_instead(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        hospital.audited()
        with pytest.raises(ReleaseError, match="resume"):
            release.release(hospital.services, model_version=hospital.model, by=EVE)

    def test_a_resumption_from_an_earlier_halt_counts_no_more(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        resume(hospital, EVE)
        resume(hospital, ED)
        halt(hospital)
        assert not resume(hospital, EVE).is_done
        assert not is_in_use(hospital)

    def test_an_overridden_model_is_resumed_by_two(self, hospital: GovernedHospital) -> None:
        hospital.audited(AuditOutcome.INSUFFICIENT_EVIDENCE)
        override(hospital, EVE)
        override(hospital, ED)
        halt(hospital)
        resume(hospital, EVE)
        assert resume(hospital, ED).status.reason_code == "resumed-by-override"

    def test_a_model_whose_audit_ran_out_is_not_resumed(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        hospital.clock.advance(timedelta(days=200))
        with pytest.raises(ReleaseError, match="older than 182 days"):
            resume(hospital, EVE)

    def test_a_clock_set_back_does_not_undo_a_halt(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halted = halt(hospital).status
        hospital.clock.advance(-timedelta(minutes=2))
        release.resume(hospital.services, model_version=hospital.model, by=EVE, reason="r")
        done = release.resume(hospital.services, model_version=hospital.model, by=ED, reason="r")
        assert done.status.since > halted.since


class TestAutomaticHalt:
    DECISION = Decision("bias-within-threshold", Outcome.HALT, {"score": "0.2"}, "The bias score is above 0.1.")

    def halt(self, hospital: GovernedHospital) -> bool:
        return release.halt_model(
            hospital.desk,
            model_version=hospital.model,
            reason_code="bias",
            reason="It serves one sex worse.",
            decisions=[self.DECISION],
            at=hospital.clock(),
        )

    def test_it_halts_and_says_why_in_one_go(self, hospital: GovernedHospital) -> None:
        hospital.released()
        assert self.halt(hospital)
        assert not is_in_use(hospital)
        assert hospital.governance.kinds()[-2:] == ["decision-made", "model-halted"]
        assert last(hospital, "decision-made") == {**self.DECISION.facts}
        assert last(hospital, "model-halted")["reason"] == "bias"

    def test_only_once(self, hospital: GovernedHospital) -> None:
        hospital.released()
        assert self.halt(hospital)
        size = hospital.governance.ledger.size
        assert not self.halt(hospital)
        assert hospital.governance.ledger.size == size

    def test_nothing_is_changed_where_the_entry_is_refused(self, hospital: GovernedHospital) -> None:
        hospital.released()
        personal = Decision("rule", Outcome.HALT, {"birth_date": "19620304"}, "Names a person.")
        with pytest.raises(Exception, match="tells of a person"):
            release.halt_model(
                hospital.desk,
                model_version=hospital.model,
                reason_code="bias",
                reason="r",
                decisions=[personal],
                at=hospital.clock(),
            )
        assert is_in_use(hospital)

    def test_of_many_that_see_it_at_once_one_halts(self, hospital: GovernedHospital) -> None:
        hospital.released()
        done: list[bool] = []
        threads = [threading.Thread(target=lambda: done.append(self.halt(hospital))) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sorted(done) == [False, False, False, True]


class TestClinicalLoop:
    def test_a_study_waits_for_the_release_and_is_analysed_then(self, hospital: GovernedHospital) -> None:
        hospital.scan()
        analysis_id = hospital.ask()
        hospital.work()
        waiting = hospital.get(analysis_id)
        assert (waiting.state, waiting.reason_code) == (AnalysisState.HALTED, "ModelNotInUseError")
        assert "released" in waiting.reason
        assert hospital.segmenter.segmented == []
        with pytest.raises(NotRestartableError):
            restart_analysis(hospital.services, analysis_id=analysis_id, requested_by="dr.house")
        hospital.audited()
        assert release.release(hospital.services, model_version=hospital.model, by=EVE).queued == [analysis_id]
        hospital.work()
        assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
        assert hospital.get(analysis_id).reason is None

    def test_no_image_is_asked_for_in_vain(self, hospital: GovernedHospital) -> None:
        hospital.scan()
        analysis_id = hospital.ask()
        hospital.work()
        assert [record.step.value for record in hospital.store.steps(analysis_id)] == ["resolve", "select"]

    def test_a_halt_while_it_segments_leaves_no_result(self, hospital: GovernedHospital) -> None:
        hospital.released()
        hospital.scan()
        segment = hospital.segmenter.segment

        def halting(*arguments: object) -> object:
            found = segment(*arguments)
            halt(hospital)
            return found

        hospital.segmenter.segment = halting
        analysis_id = hospital.ask()
        hospital.work()
        stopped = hospital.get(analysis_id)
        assert (stopped.state, stopped.result) == (AnalysisState.HALTED, None)
        assert hospital.store.deliveries(analysis_id) == []
        hospital.segmenter.segment = segment
        resume(hospital, EVE)
        assert resume(hospital, ED).queued == [analysis_id]
        hospital.work()
        assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW

    def test_a_study_halted_just_when_the_model_was_released_is_found(self, hospital: GovernedHospital) -> None:
        hospital.scan()
        analysis_id = hospital.ask()
        hospital.audited()
        finish = hospital.store.finish

        def slow(*arguments: object, **options: object) -> None:
            release.release(hospital.services, model_version=hospital.model, by=EVE)
            finish(*arguments, **options)

        hospital.store.finish = slow
        hospital.work()
        assert hospital.get(analysis_id).state is AnalysisState.HALTED
        hospital.tick(MINUTE)
        assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW

    def test_a_halted_study_announced_again_is_not_lost(self, hospital: GovernedHospital) -> None:
        hospital.scan()
        first, second = hospital.ask(), ""
        hospital.work()
        hospital.clock.advance(MINUTE)
        second = hospital.ask()
        hospital.work()
        hospital.audited()
        release.release(hospital.services, model_version=hospital.model, by=EVE)
        hospital.work()
        states = {hospital.get(each).state for each in (first, second)}
        assert states == {AnalysisState.AWAITING_REVIEW, AnalysisState.DUPLICATE}

    def test_a_timer_does_not_run_in_circles_while_it_is_halted(self, hospital: GovernedHospital) -> None:
        hospital.released()
        halt(hospital)
        hospital.scan()
        analysis_id = hospital.ask()
        hospital.work()
        ended = hospital.get(analysis_id)
        hospital.tick(timedelta(hours=1))
        assert hospital.get(analysis_id) == ended


def test_a_wrong_passphrase_changes_nothing(hospital: GovernedHospital) -> None:
    hospital.audited()
    size = hospital.governance.ledger.size
    with pytest.raises(OfficerKeyError):
        release.release(hospital.services, model_version=hospital.model, by=Signer("eve.ethics", "not the passphrase"))
    assert (is_in_use(hospital), hospital.governance.ledger.size) == (False, size)
