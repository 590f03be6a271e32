"""The demo of a scanner that goes bad: its studies, and the radiologist who reviews them."""

import io
from collections import Counter
from datetime import date
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread

from sandbox.demo import bias_watch
from sandbox.demo.errors import LoopNotClosedError
from sandbox.demo.phantom_studies import BAD, GOOD, phantom_studies
from sandbox.demo.values import Plan
from sandbox.patients import build_mr_instances

DAY = date(2026, 3, 3)


@pytest.fixture(scope="module")
def studies():
    return list(islice(phantom_studies("run", DAY), 4))


def test_scanners_take_turns_and_patients_differ(studies):
    assert [each.visit.station for each in studies] == [GOOD, BAD, GOOD, BAD]
    assert len({each.visit.study_instance_uid for each in studies}) == 4
    assert len({each.visit.patient.patient_id for each in studies}) == 4
    assert {each.visit.patient.sex for each in studies} <= {"F", "M"}


def test_a_run_is_the_same_again_and_another_one_is_not(studies):
    again = next(phantom_studies("run", DAY))
    other = next(phantom_studies("another", DAY))
    np.testing.assert_array_equal(again.subject.sequences["T1ce"], studies[0].subject.sequences["T1ce"])
    assert again.visit == studies[0].visit
    assert other.visit.study_instance_uid != again.visit.study_instance_uid


def test_the_bad_scanner_is_noisy(studies):
    def noise(study):
        # Of the image where the head is.
        voxels = study.subject.sequences["T1ce"].astype(float)
        return np.abs(np.diff(voxels, axis=0))[voxels[1:] > 0].mean() / voxels[voxels > 0].mean()

    assert noise(studies[1]) > 2 * noise(studies[0])


def test_labels_are_those_of_subjects(studies):
    label = studies[0].subject.label
    assert set(np.unique(label)) <= {0, 1, 2, 4}
    assert (label > 0).any()
    assert label.shape == studies[0].subject.sequences["FLAIR"].shape


def test_images_name_their_scanner_and_say_that_nobody_is_in_them(studies):
    for study in studies[:2]:
        ds = dcmread(io.BytesIO(next(build_mr_instances(study.subject, study.visit))))
        assert ds.StationName == study.visit.station
        assert ds.ImageComments == "Synthetic head, no patient"


class PretendReader:
    """The product as the radiologist sees it: it halts after some reviews."""

    def __init__(self, halts_after):
        self.halts_after, self.decided = halts_after, []

    def analysis(self, study_instance_uid):
        is_halted = len(self.decided) >= self.halts_after
        return {"id": study_instance_uid, "state": "halted" if is_halted else "awaiting-review", "reason": None}

    def segmentation(self, analysis_id):
        return b"SEG"

    def decide(self, analysis_id, *, accept, score):
        self.decided.append(accept)

    def governance(self):
        state = "halted" if len(self.decided) >= self.halts_after else "released"
        site = {"attribute": "site", "outcome": "acceptance", "score": 0.9, "low": 0.5}
        return {"state": state, "reason": "By site.", "bias_scores": [site]}


def run(monkeypatch, reader, *, most=20):
    sent = []
    monkeypatch.setattr(bias_watch, "Reader", lambda _url, _password: reader)
    monkeypatch.setattr(bias_watch, "MOST_STUDIES", most)
    names = (
        SimpleNamespace(visit=SimpleNamespace(station=(GOOD, BAD)[n % 2], study_instance_uid=f"s{n}"), subject=n % 2)
        for n in range(99)
    )
    monkeypatch.setattr(bias_watch, "phantom_studies", lambda _run, _day: names)
    score = lambda _seg, is_bad: {"whole_tumour": 0.4 if is_bad else 0.9}  # noqa: E731
    monkeypatch.setattr(bias_watch, "dice_against_label", score)
    hospital = SimpleNamespace(store_images=lambda *_: None, register=lambda _, visit: sent.append(visit.station))
    running = SimpleNamespace(hospital=hospital, product=SimpleNamespace(url="http://x"), password="p")
    display = SimpleNamespace(say=lambda _text: None)
    processes = SimpleNamespace(check=lambda: None)
    return bias_watch.watch_halt(Plan(None, "", 0, 5.0), running, processes, display), Counter(sent)


def test_results_that_are_wrong_are_rejected_until_the_model_halts(monkeypatch):
    reader = PretendReader(halts_after=11)
    halted, sent = run(monkeypatch, reader)
    assert reader.decided == [True, False] * 5 + [True]
    assert halted.reviewed == 11
    assert halted.rejected == {GOOD: (0, 6), BAD: (5, 5)}
    assert (halted.reason, halted.waiting) == ("By site.", "halted")
    assert sent.total() == 14, "three are on their way at once, and one comes after the halt"
    assert bias_watch.describe_halt(halted)["reviewed"] == 11


def test_a_model_that_does_not_halt_is_told(monkeypatch):
    with pytest.raises(LoopNotClosedError, match="did not halt within 6"):
        run(monkeypatch, PretendReader(halts_after=99), most=6)
