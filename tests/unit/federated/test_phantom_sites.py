from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from federated import phantom_sites
from federated.phantom_sites import SITES, Split, phantom_cohort

COARSE = {"spacing_mm": 4.0}


@pytest.fixture(scope="module")
def everyone():
    return {split: phantom_cohort(0, split=split, **COARSE) for split in Split}


def test_splits_have_the_sizes_that_are_told(everyone):
    assert {split.value: len(cases) for split, cases in everyone.items()} == {
        "training": 97,
        "validation": 20,
        "test": 40,
        "unseen": 20,
    }
    sizes = Counter(case.site.name for case in everyone[Split.TRAINING])
    assert list(sizes.values()) == [20, 14, 12, 10, 8, 8, 7, 6, 6, 6]


def test_no_two_cases_are_the_same_patient(everyone):
    cases = [case for split in everyone.values() for case in split]
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == len(cases)


def test_unseen_sites_never_train(everyone):
    seen = {case.site.name for split in Split for case in everyone[split] if split is not Split.UNSEEN}
    assert not seen & {case.site.name for case in everyone[Split.UNSEEN]}


def test_planning_builds_nothing(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("built a phantom")

    monkeypatch.setattr(phantom_sites, "build_phantom", refuse)
    assert phantom_cohort(1)


def test_a_case_is_the_same_each_time_and_another_with_another_seed():
    first, again, other = (phantom_cohort(seed, **COARSE)[30] for seed in (5, 5, 6))
    assert first == again
    one, same, different = (case.read() for case in (first, again, other))
    np.testing.assert_array_equal(one.images["T1ce"].voxels, same.images["T1ce"].voxels)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert not np.array_equal(one.labels, different.labels)


def test_a_case_does_not_depend_on_how_many_others_there_are():
    few = phantom_cohort(0, sites=[replace(SITES[3], cases=2)], **COARSE)
    many = [case for case in phantom_cohort(0, **COARSE) if case.site.name == SITES[3].name]
    assert [case.seed for case in few] == [case.seed for case in many[:2]]
    assert [case.demographics for case in few] == [case.demographics for case in many[:2]]


def test_a_case_lacks_the_contrasts_that_its_study_lacks(everyone):
    lacking = [case for case in everyone[Split.TRAINING] if case.missing]
    assert {contrast for case in lacking for contrast in case.missing} == {"T1", "T2", "FLAIR"}
    case = lacking[0]
    assert set(case.read().images) == {"T1", "T1ce", "T2", "FLAIR"} - set(case.missing)
    assert set(case.phantom().images) == {"T1", "T1ce", "T2", "FLAIR"}


def test_no_site_lacks_the_reference():
    assert all("T1ce" not in site.missing for site in SITES)


@pytest.mark.parametrize(("drawing_mm", "wider"), [(1.5, True), (-1.5, False)], ids=["too wide", "too narrow"])
def test_readers_draw_their_own_way_in_training_cases_only(drawing_mm, wider):
    site = replace(SITES[1], drawing_mm=drawing_mm)
    for split in (Split.TRAINING, Split.TEST):
        case = phantom_cohort(0, sites=[site], split=split, **COARSE)[0]
        truth, drawn = case.phantom().labels, case.read().labels
        if split is Split.TEST:
            np.testing.assert_array_equal(drawn, truth)
        else:
            np.testing.assert_array_equal(np.isin(drawn, (1, 3)), np.isin(truth, (1, 3)))
            assert bool((drawn > 0).sum() > (truth > 0).sum()) is wider
            overlap = 2 * ((drawn > 0) & (truth > 0)).sum() / ((drawn > 0).sum() + (truth > 0).sum())
            assert 0.7 < overlap < 0.99


def test_low_grade_gliomas_do_not_enhance_and_come_younger(everyone):
    cases = [case for split in everyone.values() for case in split]
    ages = {
        grade: [case.demographics.age_years for case in cases if case.low_grade is grade] for grade in (True, False)
    }
    assert np.mean(ages[True]) < np.mean(ages[False]) - 8
    low = next(case for case in everyone[Split.TRAINING] if case.low_grade)
    labels = low.phantom().labels
    assert (labels == 3).sum() < 0.15 * np.isin(labels, (1, 3)).sum()


def test_patients_differ_between_sites():
    crowd = [replace(site, cases=200) for site in SITES[:10]]
    cases = phantom_cohort(0, sites=crowd, **COARSE)
    ethnicity = {
        name: Counter(case.demographics.ethnicity for case in cases if case.site.name == name)
        for name in ("site-01", "site-03", "site-07")
    }
    assert ethnicity["site-03"]["black or african american"] > 2 * ethnicity["site-01"]["black or african american"]
    assert ethnicity["site-07"]["asian"] > 40
    women = Counter(case.site.name for case in cases if case.demographics.sex == "F")
    assert women["site-09"] > women["site-01"]


def test_sites_differ_in_what_their_scanners_give():
    site = [replace(each, cases=1) for each in SITES[:10]]
    bright = [
        np.median(case.phantom().images["T1"].voxels[case.phantom().brain])
        for case in phantom_cohort(0, sites=[site[1], site[7]], **COARSE)
    ]
    assert bright[1] > 3 * bright[0]
