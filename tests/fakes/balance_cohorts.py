"""Cohorts as tables, for the tests of the bias corrector."""

from federated.balancing.cohort_table import LARGE, SMALL, CohortCase

PLANTED = {("F", SMALL): 14, ("F", LARGE): 4, ("M", SMALL): 16, ("M", LARGE): 30}
"""Women are few, and their tumours small."""


def cohort(cells=None, attribute="sex"):
    """One case for each count of a (group, outcome); a group of None is not known."""
    cells = PLANTED if cells is None else cells
    return [
        CohortCase(f"{group}-{outcome}-{number}", {} if group is None else {attribute: group}, outcome)
        for (group, outcome), count in cells.items()
        for number in range(count)
    ]


def crossed(cells):
    """One case for each count of ((sex, age), outcome)."""
    return [
        CohortCase(f"{sex}-{age}-{outcome}-{number}", {"sex": sex, "age": age}, outcome)
        for ((sex, age), outcome), count in cells.items()
        for number in range(count)
    ]
