from collections import Counter
from dataclasses import dataclass

import pytest

from federated.demographics import Demographics, Person, write_people
from federated.errors import TrainingDataError
from governance.errors import AuditDataError
from plugin.services.governance.audit_cohorts import case_groups, folder_audit_cohort, phantom_audit_cohort
from plugin.services.governance.audit_training_cases import find_training_cases


def groups_of(cohort):
    return Counter(group for each in cohort.sources for group in case_groups(each.demographics, each.site.name).items())


def test_every_group_of_the_phantom_has_enough_cases():
    counts = groups_of(phantom_audit_cohort(120, spacing_mm=2.0, minimum_group=10))
    assert min(counts.values()) >= 10
    assert {attribute for attribute, _ in counts} == {"sex", "age", "ethnicity", "site"}


def test_no_case_was_for_training_and_none_comes_twice():
    cohort = phantom_audit_cohort(150, spacing_mm=2.0, minimum_group=10)
    assert {str(each.split) for each in cohort.sources} == {"test", "unseen"}
    assert len({each.seed for each in cohort.sources}) == 150
    assert cohort.seeds == tuple(sorted({each.seed[0] for each in cohort.sources}))


def test_more_cases_go_on_from_fewer():
    fewer, more = (phantom_audit_cohort(count, spacing_mm=2.0, minimum_group=10) for count in (70, 90))
    assert more.key == fewer.key
    assert [each.seed for each in more.sources[:70]] == [each.seed for each in fewer.sources]


def test_a_few_cases_are_of_as_many_sites():
    cohort = phantom_audit_cohort(8, spacing_mm=4.0, minimum_group=10)
    assert len({each.site.name for each in cohort.sources}) == 8


def test_what_is_unknown_is_no_group():
    assert case_groups(None, None) == {}
    assert case_groups(None, "s") == {"site": "s"}
    assert case_groups(Demographics("F", 80, "asian"), None) == {
        "sex": "F",
        "age": "80 and older",
        "ethnicity": "asian",
    }


def write_cases(folder, people):
    for name in ("one", "two"):
        for role in ("t1ce", "seg"):
            (folder / f"{name}_{role}.nii.gz").write_bytes(b"")
    if people is not None:
        write_people(folder / "demographics.csv", people)


def test_a_folder_gives_its_cases(tmp_path):
    write_cases(tmp_path, {"one": Person(Demographics("F", 50, "white"), "s"), "two": Person(None, "s")})
    cohort = folder_audit_cohort(tmp_path)
    assert [each.name for each in cohort.sources] == ["one", "two"]
    assert "one" not in cohort.name + cohort.key
    assert len(folder_audit_cohort(tmp_path, 1).sources) == 1


@pytest.mark.parametrize(
    ("people", "told"),
    [
        pytest.param(None, "demographics.csv is missing", id="no table"),
        pytest.param({"other": Person(None, "s")}, "tells nothing of any of the 2 cases", id="other cases"),
    ],
)
def test_a_folder_without_demographics_is_refused(tmp_path, people, told):
    write_cases(tmp_path, people)
    with pytest.raises(AuditDataError, match=told):
        folder_audit_cohort(tmp_path)


def test_an_unknown_attribute_value_is_refused_with_its_line(tmp_path):
    write_cases(tmp_path, None)
    (tmp_path / "demographics.csv").write_text("case,site,sex,age_years,ethnicity\none,s,X,50,white\n")
    with pytest.raises(TrainingDataError, match="line 2: expected a sex"):
        folder_audit_cohort(tmp_path)


def test_members_are_the_training_cases_and_others_come_the_same_way():
    cohort = phantom_audit_cohort(8, spacing_mm=4.0, minimum_group=10)
    found = find_training_cases("phantom:2026", cohort, 4.0)
    assert {str(each.split) for each in (*found.members, *found.others)} == {"training"}
    assert {each.seed[0] for each in found.members} == {2026}
    assert not {each.seed[0] for each in found.others} & {2026, *cohort.seeds}
    assert len(found.others) >= 100
    assert "2026" in found.note


@dataclass(frozen=True)
class Named:
    name: str


def test_an_audit_on_training_cases_is_refused(tmp_path):
    write_cases(tmp_path, None)
    cohort = phantom_audit_cohort(1, spacing_mm=4.0, minimum_group=10)
    found = find_training_cases(str(tmp_path), cohort, 4.0)
    assert [each.name for each in found.members] == ["one", "two"]
    same = type(cohort)("x", "x", (Named("one"),))
    with pytest.raises(AuditDataError, match="audit on others"):
        find_training_cases(str(tmp_path), same, 4.0)
