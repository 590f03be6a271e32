import re

import pytest

from governance.fairness.groups import GroupedCase, members_of, missing_evidence


def case(number, **groups):
    return GroupedCase(f"case-{number}", groups)


def test_counts_the_groups_of_an_attribute():
    cases = [case(1, sex="F"), case(2, sex="F"), case(3, sex="M"), case(4)]
    found = members_of(cases, "sex", 2)
    assert found.judged == ("F",)
    assert found.small == {"M": 1}
    assert found.unknown == 1


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        pytest.param([case(1), case(2)], "of no case is it known", id="missing demographics"),
        pytest.param([case(n, sex="F") for n in range(5)], "all cases are of one group, F", id="one group only"),
        pytest.param(
            [*(case(n, sex="F") for n in range(5)), case(9, sex="M")],
            r"fewer than 2 cases of M \(1\)",
            id="small group",
        ),
        pytest.param(
            [*(case(n, sex="FM"[n % 2]) for n in range(6)), case(8), case(9)],
            "of 2 cases it is not known",
            id="unknown",
        ),
    ],
)
def test_says_what_evidence_is_missing(cases, told):
    assert re.search(told, missing_evidence(members_of(cases, "sex", 2), 2))


def test_nothing_is_missing_where_each_group_is_large_enough():
    cases = [case(n, sex="FM"[n % 2]) for n in range(8)]
    assert missing_evidence(members_of([*cases, case(9)], "sex", 2), 2) is None
