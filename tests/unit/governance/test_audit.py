import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest

from governance.audit import (
    AuditOutcome,
    AuditReport,
    Control,
    canonical_numbers,
    overall_outcome,
    parse_audit,
)
from governance.errors import AuditDataError, NotCanonicalError

PASSED, FAILED, OPEN = AuditOutcome.PASSED, AuditOutcome.FAILED, AuditOutcome.INSUFFICIENT_EVIDENCE


def control(name, outcome, required=True):
    return Control(name, name.title(), outcome, required, "0.05", "0.1", "Because.")


def report(**changes):
    return replace(
        AuditReport(
            model_version="a" * 64,
            policy_digest="b" * 64,
            at=datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
            controls=(control("bias", PASSED), control("lipschitz", FAILED, required=False)),
            cohort={"name": "made up", "digest": "c" * 64, "cases": 40},
            sections={"groups": [{"dice": "0.8"}]},
            provenance={"command": "qfl", "commit": "d", "seeds": [1], "machine": "one", "seconds": "12"},
            trained_by=("QFL project",),
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ([PASSED, PASSED], PASSED),
        ([PASSED, OPEN], OPEN),
        ([OPEN, FAILED], FAILED),
        ([], OPEN),
    ],
)
def test_the_worst_required_control_decides(outcomes, whole):
    controls = [control(str(n), each) for n, each in enumerate(outcomes)]
    assert overall_outcome([*controls, control("other", FAILED, required=False)]) is whole


def test_a_document_can_be_read_again():
    made = report()
    assert parse_audit(made.to_bytes()) == made
    assert made.digest == sha256(made.to_bytes()).hexdigest()
    assert json.loads(made.to_bytes())["outcome"] == "passed"
    assert made.control("bias").outcome is PASSED
    assert made.control("nothing") is None


def changed(**keys):
    document = json.loads(report().to_bytes())
    document.update(keys)
    return json.dumps(
        {k: v for k, v in document.items() if v is not ...}, sort_keys=True, separators=(",", ":")
    ).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"not json", "as JSON", id="no json"),
        pytest.param(b"[" * 100_000, "as JSON", id="nested too deep"),
        pytest.param(b"{}", "expected the keys", id="empty"),
        pytest.param(changed(v=2), "version", id="version"),
        pytest.param(changed(outcome="failed"), "was changed", id="outcome"),
        pytest.param(changed(policy="short"), "64 hexadecimal", id="policy"),
        pytest.param(changed(at="2026-11-30T12:00:00"), "no zone", id="time without zone"),
        pytest.param(changed(at="yesterday"), "not what it should be", id="time"),
        pytest.param(changed(sections=...), "expected the keys", id="key missing"),
        pytest.param(changed(extra=1), "expected the keys", id="key too many"),
        pytest.param(changed(controls=[{"name": "bias"}]), "not what it should be", id="control"),
        pytest.param(changed(sections={"x": 0.5}), "not what it should be", id="float"),
        pytest.param(json.dumps(json.loads(report().to_bytes())).encode(), "canonical form", id="blanks"),
        pytest.param(b" " * 4_000_001, "at most", id="too large"),
    ],
)
def test_refuses_what_is_no_audit(content, told):
    with pytest.raises(AuditDataError, match=told):
        parse_audit(content)


def test_refuses_a_control_that_comes_twice():
    twice = report(controls=(control("bias", PASSED), control("bias", PASSED)))
    with pytest.raises(AuditDataError, match="comes twice"):
        parse_audit(twice.to_bytes())


@dataclass(frozen=True)
class Result:
    rate: float
    counts: tuple[int, ...]
    outcome: AuditOutcome


def test_numbers_become_text():
    found = canonical_numbers(
        {"a": Result(0.1 + 0.2, (1, 2), FAILED), 3: [np.float64(1.5e-7), np.int64(4), None, True]}
    )
    assert found == {
        "a": {"rate": "0.3", "counts": [1, 2], "outcome": "failed"},
        "3": ["1.5e-07", 4, None, True],
    }


def test_what_is_not_finite_is_nothing():
    assert canonical_numbers([float("nan"), float("inf"), np.array([0.25, np.nan])]) == [None, None, ["0.25", None]]


def test_refuses_an_object_without_a_form():
    with pytest.raises(NotCanonicalError, match="set"):
        canonical_numbers({"a": {1, 2}})
