"""The entries of the clinical loop: each is what its kind asks for, tells of nobody, and has a key of its own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.ledger.entries import Entry, keyed_digest, leaf_of, parse_leaf
from governance.policy import Act
from plugin.services.governance.journal import (
    Journal,
    act_key,
    audit_key,
    check_value,
    model_state_key,
    officer_key,
    policy_key,
    report_key,
)
from plugin.services.governance.round_journal import Place, RoundJournal
from plugin.services.governance.values import Officer, SignedAct
from plugin.services.values import ReviewRecord, Role, User

AT = datetime(2026, 11, 1, 12, 0, 0, 250, tzinfo=UTC)
SECRET = "Doe^Jane 1.2.840.1 P-4711"


def digest(what: str, name: str) -> str:
    return keyed_digest(b"k" * 32, f"{what}:{name}")


JOURNAL = Journal(digest)
ROUNDS = RoundJournal(digest, "north")
EVENT = {
    "subscription": "main",
    "event_key": SECRET,
    "state": "accepted",
    "detail": SECRET,
    "analysis_id": "a1",
    "received_at": AT,
}
RESULT = {
    "analysis_id": "a1",
    "study_instance_uid": "1.2.840.1",
    "model_version": "sha256:0",
    "about": [{"name": SECRET, "birth_date": "19700101"}, "A1", None, None],
    "result": {"tumour_found": True, "findings": SECRET, "volume": 0.1},
    "artefacts": [("seg.dcm", "application/dicom", "a" * 64), ("a.png", "image/png", "b" * 64)],
    "at": AT,
}
ENDED = {
    "analysis_id": "a1",
    "state": "failed",
    "reason_code": "StudyIncompleteError",
    "reason": SECRET,
    "duplicate_of": None,
    "model_version": None,
    "at": AT,
}
SENT = {"analysis_id": "a1", "what": "seg", "destination": "http://pacs", "receipt": {"uid": SECRET}, "at": AT}
REVIEW = ReviewRecord("entered-in-error", "dr.doe", SECRET, AT)
USER = User("dr.doe", SECRET, Role.RADIOLOGIST, "Practitioner/7", "$argon2id$x")
ACT = SignedAct(Act.HALT, "sha256:0", "dr.doe", "ethics-officer", b"document", b"signature", AT)
MECHANISM = {"epsilon": 0.5, "delta": 1e-5, "noise": 1.0, "sample_rate": 0.1, "steps": 10}
PLACE = Place("test", "r1", 1)

MADE: dict[str, Callable[[], Entry]] = {
    "event": lambda: JOURNAL.event(**EVENT),
    "analysed": lambda: JOURNAL.analysed(**RESULT),
    "ended": lambda: JOURNAL.not_analysed(**ENDED),
    "published": lambda: JOURNAL.published(**SENT),
    "decided": lambda: JOURNAL.reviewed("a1", REVIEW)[0],
    "overridden": lambda: JOURNAL.reviewed("a1", REVIEW)[1],
    "account": lambda: JOURNAL.account(USER, at=AT),
    "token": lambda: JOURNAL.token("dr.doe", "f" * 64, at=AT),
    "act": lambda: JOURNAL.officer_act(ACT),
    "departure": lambda: ROUNDS.left(PLACE, "c" * 64, stage="train", what="update", digest_="d" * 64, size=1, at=AT),
    "charge": lambda: ROUNDS.spent(PLACE, "c" * 64, what="training", mechanism=MECHANISM, at=AT),
    "refusal": lambda: ROUNDS.refused(PLACE, "c" * 64, rules=["model"], at=AT),
    "participation": lambda: ROUNDS.participation("test", state="paused", reason=SECRET, at=AT),
    **{
        f"check-{number}": lambda number=number: ROUNDS.checked(
            PLACE, policy="e" * 64, cohort="f" * 64, cases=3, left_out={"no consent": 1}, at=AT
        )[number]
        for number in range(2)
    },
}


@pytest.mark.parametrize("name", MADE)
def test_an_entry_is_taken_by_the_ledger_and_tells_of_nobody(name: str) -> None:
    entry = MADE[name]()
    leaf = leaf_of(entry)
    assert parse_leaf(leaf) == Entry(entry.kind, AT, parse_leaf(leaf).facts, entry.key)
    for part in (SECRET, "Doe", "dr.doe", "P-4711", "1.2.840", "Practitioner", "argon2", "19700101"):
        assert part.encode() not in leaf


def test_keys_are_unique_and_made_of_the_row_alone() -> None:
    keys = [make().key for make in MADE.values()]
    assert len(set(keys)) == len(keys)
    assert [make().key for make in MADE.values()] == keys
    assert keys.count("") == 1  # an account may be changed back


def _changes(values: dict[str, Any], **changed: Any) -> list[dict[str, Any]]:
    return [{**values, name: value} for name, value in changed.items()]


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        *(
            pytest.param(JOURNAL.event, EVENT, each, id=f"event-{number}")
            for number, each in enumerate(_changes(EVENT, state="refused", detail="x", analysis_id="a2"))
        ),
        *(
            pytest.param(JOURNAL.analysed, RESULT, each, id=f"result-{number}")
            for number, each in enumerate(
                _changes(
                    RESULT,
                    study_instance_uid="1.2.3",
                    model_version="sha256:1",
                    about=[None, "A1", None, None],
                    result={**RESULT["result"], "volume": 0.1 + 1e-12},
                    artefacts=[("seg.dcm", "application/dicom", "c" * 64)],
                )
            )
        ),
        *(
            pytest.param(JOURNAL.not_analysed, ENDED, each, id=f"ended-{number}")
            for number, each in enumerate(
                _changes(ENDED, state="halted", reason_code="Y", reason="z", duplicate_of="a2", model_version="m")
            )
        ),
        *(
            pytest.param(JOURNAL.published, SENT, each, id=f"sent-{number}")
            for number, each in enumerate(_changes(SENT, destination="http://other", receipt={}))
        ),
    ],
)
def test_whatever_changes_in_a_row_changes_its_entry(make: Callable[..., Entry], before: Any, after: Any) -> None:
    one, two = make(**before), make(**after)
    assert (one.kind, one.facts) != (two.kind, two.facts)


def test_a_list_and_a_tuple_are_the_same_as_the_database_says() -> None:
    stored = {
        **RESULT,
        "about": tuple(RESULT["about"]),
        "artefacts": [list(each) for each in RESULT["artefacts"]][::-1],
    }
    assert JOURNAL.analysed(**stored) == JOURNAL.analysed(**RESULT)


def test_an_accepted_result_is_one_entry() -> None:
    (entry,) = JOURNAL.reviewed("a1", replace(REVIEW, decision="final"))
    assert (entry.kind, entry.facts["decision"]) == ("review-decided", "final")


def test_the_same_instant_in_another_zone_has_the_same_key() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5)))
    assert model_state_key("m", there) == model_state_key("m", AT)
    assert policy_key("d" * 64, there) == policy_key("d" * 64, AT)
    assert JOURNAL.not_analysed(**{**ENDED, "at": there}).key == JOURNAL.not_analysed(**ENDED).key


def test_keys_of_governance_change_with_what_they_name() -> None:
    officer = Officer("dr.doe", b"p" * 32, b"e" * 32, AT)
    later = AT + timedelta(microseconds=1)
    keys = [
        officer_key(officer),
        officer_key(replace(officer, public_key=b"q" * 32)),
        officer_key(replace(officer, revoked_at=AT)),
        officer_key(replace(officer, enrolled_at=later)),
        act_key(ACT),
        act_key(replace(ACT, signature=b"other")),
        act_key(replace(ACT, document=b"other")),
        model_state_key("m", AT),
        model_state_key("m", later),
        model_state_key("n", AT),
        audit_key("a" * 64),
        report_key("a" * 64),
        policy_key("a" * 64, AT),
        policy_key("a" * 64, later),
    ]
    assert len(set(keys)) == len(keys)
    assert max(map(len, keys)) <= 100


@given(first=st.binary(max_size=4), second=st.binary(max_size=4), cut=st.integers(0, 8))
def test_document_and_signature_cannot_be_shifted_into_each_other(first: bytes, second: bytes, cut: int) -> None:
    joined = first + second
    shifted = replace(ACT, document=joined[:cut], signature=joined[cut:])
    original = replace(ACT, document=first, signature=second)
    assert (act_key(shifted) == act_key(original)) == (min(cut, len(joined)) == len(first))


def test_another_key_of_digests_shows() -> None:
    other = Journal(lambda what, name: keyed_digest(b"x" * 32, f"{what}:{name}"))
    assert check_value(other) != check_value(JOURNAL)
