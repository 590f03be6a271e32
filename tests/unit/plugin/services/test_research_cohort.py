"""Cohorts that need no hospital: phantoms and folders; and what their digests and names tell."""

import logging
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from federated.cases import Case, write_cohort
from federated.errors import ProvisioningError, TrainingDataError
from federated.phantom_sites import SITES, Split, phantom_cohort
from plugin.errors import SettingsError
from plugin.services.research_cohort import (
    CohortSetting,
    FolderCohort,
    PhantomCohort,
    cohort_key,
    is_held_out,
    keyed_digest,
    parse_cohort_setting,
    pseudonym,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = bytes(32)


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        pytest.param("reviewed", CohortSetting(), id="reviewed"),
        pytest.param("phantom:site-03", CohortSetting("site-03"), id="phantom"),
        pytest.param("phantom:site-03:6", CohortSetting("site-03", 6), id="some-phantoms"),
        pytest.param("folder:/data/a b", CohortSetting(folder=Path("/data/a b")), id="folder"),
    ],
)
def test_reads_the_setting(value, setting):
    assert parse_cohort_setting(value) == setting


@pytest.mark.parametrize("value", ["", "phantom:", "phantom:a:0", "phantom:A", "folder:", "reviewed:1", "dicom:/x"])
def test_refuses_another_setting(value):
    with pytest.raises(SettingsError, match="QFL_FEDERATION_COHORT"):
        parse_cohort_setting(value)


def test_a_phantom_site_has_its_own_patients_in_every_round():
    source = PhantomCohort(KEY, "site-08", limit=4)
    first, second = (source.draw(now=NOW, spacing_mm=4.0) for _ in range(2))
    expected = phantom_cohort(
        2026, sites=[site for site in SITES if site.name == "site-08"], spacing_mm=4.0, split=Split.TRAINING
    )
    assert [case.name for case in first.training] == [case.name for case in expected[:4]]
    assert (first.digest, first.count.cases, first.synthetic) == (second.digest, 4, True)
    assert set(first.people) == {case.name for case in first.held_out}
    assert not set(first.people) & {case.name for case in first.training}
    assert first.training[0].spacing_mm == 4.0


@pytest.mark.parametrize("name", ["nowhere", "unseen-01"])
def test_a_phantom_site_that_does_not_train_is_refused(name):
    with pytest.raises(SettingsError, match="site-01"):
        PhantomCohort(KEY, name).draw(now=NOW)


class SmallCase:
    """A case that takes no time to build."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> Case:
        case = small_case()
        return Case(self.name, case.images, case.labels, case.demographics)


@cache
def small_case() -> Case:
    return phantom_cohort(1, sites=SITES[:1], spacing_mm=8.0)[0].read()


def test_a_folder_holds_the_same_patients_out_whatever_else_is_in_it(tmp_path):
    names = [f"patient-{number}" for number in range(4)]
    write_cohort(tmp_path / "a", [SmallCase(name) for name in names])
    cohort = FolderCohort(KEY, tmp_path / "a").draw(now=NOW)
    assert {case.source.name for case in cohort.held_out} == {name for name in names if is_held_out(KEY, name)}
    assert len(cohort.training) + len(cohort.held_out) == 4
    assert not any(name in case.name for case in (*cohort.training, *cohort.held_out) for name in names)
    assert set(cohort.people) == {case.name for case in cohort.held_out}
    read = cohort.training[0].read()
    assert read.name == cohort.training[0].name
    assert np.any(read.labels)


def test_a_broken_case_of_a_folder_is_told_under_its_pseudonym(tmp_path, caplog):
    write_cohort(tmp_path / "a", [SmallCase("Mustermann_Erika")])
    (next((tmp_path / "a").rglob("*seg*"))).write_bytes(b"broken")
    cohort = FolderCohort(KEY, tmp_path / "a").draw(now=NOW)
    (case,) = (*cohort.training, *cohort.held_out)
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingDataError) as caught:
        case.read()
    assert "Mustermann" not in str(caught.value)
    assert case.name in str(caught.value)
    assert case.name in caplog.text


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(TrainingDataError):
        FolderCohort(KEY, tmp_path).draw(now=NOW)


def test_digests_are_of_a_set_and_need_the_key():
    assert keyed_digest(KEY, ["a", "b"]) == keyed_digest(KEY, ["b", "a"])
    assert keyed_digest(KEY, ["a", "b"]) != keyed_digest(KEY, ["ab"])
    assert keyed_digest(KEY, ["a"]) != keyed_digest(bytes(31) + b"\1", ["a"])
    assert len(keyed_digest(KEY, [])) == 64
    assert pseudonym(KEY, "a") != pseudonym(KEY, "b")


def test_about_a_fifth_is_held_out():
    held_out = sum(is_held_out(KEY, f"Patient/{number}") for number in range(2000))
    assert 330 < held_out < 470  # four standard deviations of a binomial with p = 0.2


def test_the_key_is_made_once_and_for_its_owner(tmp_path):
    key = cohort_key(tmp_path / "cohort")
    assert len(key) == 32
    assert cohort_key(tmp_path / "cohort") == key
    (path,) = (tmp_path / "cohort").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    with pytest.raises(ProvisioningError):
        cohort_key(tmp_path / "cohort")
