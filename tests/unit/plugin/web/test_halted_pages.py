"""A study that waits for a model: shown with its reason where somebody looks for it, and nothing to press."""

from flask.testing import FlaskClient

from plugin.services.values import AnalysisState
from tests.fakes.hospital import Hospital

REASON = "The model has not been released for use here. The study waits."


def halted(hospital: Hospital) -> str:
    analysis_id = hospital.running()
    hospital.store.finish(
        analysis_id, AnalysisState.HALTED, reason_code="ModelNotInUseError", reason=REASON, now=hospital.clock()
    )
    return analysis_id


def test_it_stands_under_needs_attention(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = halted(hospital)
    page = radiologist.get("/?tab=attention").text
    assert f'data-row="{analysis_id}"' in page
    assert "Halted, not analysed" in page
    assert REASON in page
    assert f'data-row="{analysis_id}"' not in radiologist.get("/?tab=open").text


def test_nobody_runs_it_again_by_hand(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = halted(hospital)
    page = radiologist.get(f"/analyses/{analysis_id}").text
    assert REASON in page
    assert "ModelNotInUseError" in page
    assert "/restart" not in page


def test_it_is_counted(hospital: Hospital, administrator: FlaskClient) -> None:
    halted(hospital)
    assert 'qfl_analyses{state="halted"} 1.0' in administrator.get("/metrics").text
