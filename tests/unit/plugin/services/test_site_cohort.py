"""The cohort of a round: drawn anew each time, prepared once, and forgotten with the consent."""

from dataclasses import replace

import pytest

from federated.errors import TermsError
from federated.phantom_sites import SITES, phantom_cohort
from federated.rounds.terms import Learning
from plugin.services.research_cohort import Cohort
from plugin.services.site_cohort import CohortKeeper
from tests.fakes.round_terms import example_terms


class Counted:
    """A case that counts how often it is read."""

    def __init__(self, source):
        self.source, self.name, self.reads = source, source.name, 0

    def read(self):
        self.reads += 1
        return self.source.read()


@pytest.fixture
def cases():
    return [Counted(case) for case in phantom_cohort(2026, sites=SITES[-3:-2], spacing_mm=4.0)[:3]]


def test_each_case_is_prepared_once(cases):
    keeper = CohortKeeper(lambda _: Cohort(cases[:2], cases[2:], "digest", synthetic=True))
    first, second = keeper(example_terms()), keeper(example_terms(round=2))
    assert [example.name for example in first.split.synthetic] == [case.name for case in cases[:2]]
    assert [example.name for example in first.split.validation] == [cases[2].name]
    assert second.split.synthetic[0] is first.split.synthetic[0]
    assert [case.reads for case in cases] == [1, 1, 1]


def test_real_cases_are_no_synthetic_ones(cases):
    found = CohortKeeper(lambda _: Cohort(cases[:1], [], "digest"))(example_terms())
    assert (len(found.split.real), len(found.split.synthetic)) == (1, 0)


def test_a_case_whose_consent_is_gone_is_forgotten(cases):
    drawn = [Cohort(cases[:2], [], "a"), Cohort(cases[:1], [], "b"), Cohort(cases[:2], [], "a")]
    keeper = CohortKeeper(lambda _: drawn.pop(0))
    assert [len(keeper(example_terms()).split.real) for _ in range(3)] == [2, 1, 2]
    assert [case.reads for case in cases[:2]] == [1, 2], "what was prepared of it was not kept"


def test_another_grid_is_prepared_anew(cases):
    keeper = CohortKeeper(lambda _: Cohort(cases[:1], [], "digest"))
    keeper(example_terms())
    keeper(example_terms(learning=replace(Learning(), preset="phantom")))
    assert cases[0].reads == 2


def test_an_unknown_preset_is_refused(cases):
    keeper = CohortKeeper(lambda _: Cohort(cases, [], "digest"))
    with pytest.raises(TermsError, match="preset"):
        keeper(example_terms(learning=replace(Learning(), preset="huge")))
