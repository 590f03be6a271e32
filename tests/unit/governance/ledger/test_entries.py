"""What an entry must say, what it must not, and the bytes that are hashed."""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import federated.rounds
from governance.errors import EntryError, NotCanonicalError
from governance.ledger.entries import Entry, keyed_digest, leaf_of, parse_leaf
from governance.ledger.kinds import KINDS

AT = datetime(2026, 11, 1, 13, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))
FACTS = {"analysis": "a" * 64, "decision": "accepted", "reviewer": "b" * 64}


def test_a_leaf_is_canonical_and_reads_as_its_entry() -> None:
    leaf = leaf_of(Entry("review-decided", AT, FACTS, key="review-1"))
    assert leaf == (
        b'{"at":"2026-11-01T12:00:00.000250Z","facts":{"analysis":"' + b"a" * 64 + b'","decision":"accepted",'
        b'"reviewer":"' + b"b" * 64 + b'"},"key":"review-1","kind":"review-decided","v":1}'
    )
    assert parse_leaf(leaf) == Entry("review-decided", AT.astimezone(UTC), FACTS, "review-1")


def test_a_keyed_digest_is_hmac_sha256() -> None:
    assert keyed_digest(b"k" * 32, "1.2.3") == hmac.digest(b"k" * 32, b"1.2.3", hashlib.sha256).hex()
    with pytest.raises(EntryError, match="16 bytes"):
        keyed_digest(b"short", "1.2.3")


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        pytest.param("review", FACTS, id="unknown-kind"),
        pytest.param("review-decided", {"analysis": "a" * 64, "decision": "accepted"}, id="missing-fact"),
        pytest.param("review-decided", {**FACTS, "reviewer": "Dr. House"}, id="a-name-where-a-digest-belongs"),
        pytest.param("review-decided", {**FACTS, "decision": ""}, id="empty-text"),
        pytest.param("round-failed", {"run": "r", "round": True}, id="a-truth-where-a-number-belongs"),
        pytest.param("round-failed", {"run": "r", "round": -1}, id="negative-count"),
        pytest.param("review-decided", {**FACTS, "study": "1.2.840.113619.2.5.1"}, id="a-dicom-uid"),
        pytest.param("review-decided", {**FACTS, "who": ["Doe^Jane"]}, id="a-dicom-name"),
        pytest.param("review-decided", {**FACTS, "who": {"is": "Patient/17"}}, id="a-fhir-patient"),
        pytest.param("review-decided", {**FACTS, "birth_date": "19700101"}, id="a-birth-date"),
        pytest.param("review-decided", {**FACTS, "comment": "x" * 20_001}, id="too-long-a-text"),
        pytest.param("review-decided", {**FACTS, "more": ["x" * 19_000] * 4}, id="too-many-bytes"),
    ],
)
def test_refuses_what_its_kind_does_not_ask_for_and_what_tells_of_a_person(kind: str, facts: dict) -> None:
    with pytest.raises(EntryError) as raised:
        leaf_of(Entry(kind, AT, facts))
    assert not re.search("House|Doe|840|19700101|Patient/17", str(raised.value))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(Entry("review-decided", AT.replace(tzinfo=None), FACTS), id="no-zone"),
        pytest.param(Entry("review-decided", AT, FACTS, key="k" * 101), id="long-key"),
        pytest.param(Entry("review-decided", AT, FACTS, key="1.2.840.10008.1.2"), id="a-uid-as-key"),
    ],
)
def test_refuses_times_and_keys_that_are_none(entry: Entry) -> None:
    with pytest.raises(EntryError):
        leaf_of(entry)


def test_refuses_floats() -> None:
    with pytest.raises(NotCanonicalError):
        leaf_of(Entry("review-decided", AT, {**FACTS, "dice": 0.5}))


LEAF = leaf_of(Entry("review-decided", AT, FACTS))


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="not-text"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"[" * 100_000, id="too-deep"),
        pytest.param(LEAF.replace(b",", b", "), id="blanks"),
        pytest.param(LEAF.replace(b'"v":1', b'"v":2'), id="another-version"),
        pytest.param(LEAF.replace(b'"v":1', b'"v":1,"x":1'), id="more"),
        pytest.param(LEAF.replace(b"000250Z", b"25Z"), id="another-time-format"),
        pytest.param(LEAF.replace(b"2026-11-01", b"2026-13-01"), id="no-such-day"),
    ],
)
def test_refuses_bytes_that_are_no_entry(leaf: bytes) -> None:
    with pytest.raises(EntryError):
        parse_leaf(leaf)


def test_every_event_that_the_rounds_record_is_a_kind() -> None:
    folder = Path(federated.rounds.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    recorded = set(re.findall(r'\.record\(\s*"([a-z-]+)"', source))
    assert {"round-terms", "aggregate", "departure", "epsilon-spent"} <= recorded
    assert recorded <= KINDS.keys()
