"""The policy: what is shipped is usable, each fault is named, and what contradicts itself is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.errors import PolicyError
from governance.policy import Act, OfficerRole, parse_policy
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text

Change = Callable[[dict[str, Any]], object]


def shipped() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(default_policy_text())
    return found


def test_the_shipped_policy_says_what_the_paper_asks_for() -> None:
    policy = parse_policy(shipped())
    assert (policy.fairness.bias_threshold, policy.privacy.epsilon_limit, policy.minimum_sites) == (0.1, 1.0, 3)
    assert policy.may(OfficerRole.ETHICS_OFFICER, Act.RELEASE)
    assert not policy.may(OfficerRole.RADIOLOGIST, Act.RELEASE)
    assert policy.approvals[Act.OVERRIDE] == 2


def test_an_unknown_role_may_do_nothing() -> None:
    policy = parse_policy(shipped())
    assert not any(policy.may("director", act) for act in Act)


@pytest.mark.parametrize("empty", [{}, {"version": 1}])
def test_an_empty_policy_is_refused(empty: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_policy(empty)


FAULTS = [
    pytest.param(lambda p: p.update(version=2), "version: expected 1", id="version"),
    pytest.param(lambda p: p.pop("privacy"), "privacy missing", id="section-missing"),
    pytest.param(lambda p: p.update(extra=1), "extra unknown", id="key-too-many"),
    pytest.param(lambda p: p.update(name="  "), "name: expected a text", id="name"),
    pytest.param(lambda p: p.update(privacy=3), "privacy: expected keys", id="no-section"),
    pytest.param(lambda p: p["fairness"].pop("minimum_group"), "fairness: minimum_group missing", id="key-missing"),
    pytest.param(lambda p: p["fairness"].update(bias_threshold=1.5), "bias_threshold: expected 0 to 1", id="range"),
    pytest.param(lambda p: p["fairness"].update(bias_threshold=True), "bias_threshold: expected a number", id="bool"),
    pytest.param(lambda p: p["fairness"].update(bias_threshold=float("nan")), "expected 0 to 1", id="nan"),
    pytest.param(lambda p: p["fairness"].update(confidence=0.2), "confidence: expected 0.5", id="confidence"),
    pytest.param(lambda p: p["fairness"].update(attributes=["sex", "income"]), "income", id="attribute"),
    pytest.param(lambda p: p["fairness"].update(attributes=[]), "at least one", id="no-attribute"),
    pytest.param(lambda p: p["fairness"].update(attributes=["sex", "sex"]), "twice", id="attribute-twice"),
    pytest.param(lambda p: p["privacy"].update(epsilon_limit=0), "epsilon_limit: expected a number above 0", id="eps"),
    pytest.param(lambda p: p["privacy"].update(epsilon_limit=float("inf")), "epsilon_limit", id="eps-infinite"),
    pytest.param(lambda p: p["audit"].update(interval_days=0.5), "whole number", id="count"),
    pytest.param(lambda p: p["monitoring"].update(false_halt_rate=0), "false_halt_rate", id="rate"),
    pytest.param(lambda p: p["roles"].pop("halt"), "roles: halt missing", id="act-without-role"),
    pytest.param(lambda p: p["roles"].update(halt=[]), "roles.halt", id="act-for-nobody"),
    pytest.param(lambda p: p["roles"].update(halt=["director"]), "director", id="unknown-role"),
    pytest.param(lambda p: p["approvals"].update(halt=0), "approvals.halt", id="no-approval"),
    pytest.param(lambda p: p.update(roles=["halt"]), "roles: expected an entry for each act", id="roles-list"),
]
CONTRADICTIONS = [
    pytest.param(lambda p: p["roles"].update(halt=["auditor"]), "an auditor reads only", id="auditor"),
    pytest.param(lambda p: p["approvals"].update(override=1), "two officers at least", id="override-alone"),
    pytest.param(lambda p: p["approvals"].update(release=3), "not be easier than a release", id="override-easier"),
    pytest.param(lambda p: p["monitoring"].update(window=29), "smaller than minimum_cases", id="window"),
    pytest.param(
        lambda p: p["fairness"].update(minimum_group=300), "no bias could ever be found", id="groups-beyond-window"
    ),
    pytest.param(lambda p: p["performance"].update(worst_group_dice=0.9), "worst group", id="worst-group"),
]


@pytest.mark.parametrize(("change", "fault"), [*FAULTS, *CONTRADICTIONS])
def test_each_fault_is_named(change: Change, fault: str) -> None:
    document = shipped()
    change(document)
    with pytest.raises(PolicyError, match=fault.replace(".", r"\.").replace("(", r"\(")):
        parse_policy(document)


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "version: 1\nversion: 1\n", "a: &x 1\nb: *x\n"])
def test_a_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy_text(text)


def test_the_digest_is_of_what_a_policy_says() -> None:
    same = shipped()
    reordered = dict(reversed(same.items()))
    other = shipped()
    other["privacy"]["epsilon_limit"] = 0.5
    assert parse_policy(same).digest == parse_policy(reordered).digest != parse_policy(other).digest


WRONG = st.sampled_from([None, -1, 0, 1, 3, 0.5, "", "a", [], ["a"], {}, {"a": 1}, True])


@given(st.dictionaries(st.sampled_from(sorted(shipped())), WRONG, max_size=3))
@settings(max_examples=60, deadline=None)
def test_nothing_but_a_policy_error_comes_out(changes: dict[str, Any]) -> None:
    try:
        parse_policy({**shipped(), **changes})
    except PolicyError:
        return
    assert set(changes) <= {"version", "name", "minimum_sites"}
