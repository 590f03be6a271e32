"""Officers: who gets a key, what a signature is of, and whose counts no more."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

from governance import sealed_keys
from governance.errors import NotPermittedError, OfficerKeyError, SignatureError
from governance.ledger.entries import keyed_digest, parse_leaf
from governance.policy import Act
from plugin.errors import UserError
from plugin.services.governance import officers
from plugin.services.governance.officers import Signer, verify_act
from plugin.services.values import Role, User
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.governance_store import DIGEST_KEY, InMemoryGovernance, a_desk, acts_of
from tests.fakes.governed_hospital import ADA, ED, EVE, PEOPLE, RON, GovernedHospital
from tests.fakes.hospital import Clock


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)


@pytest.fixture
def hospital() -> GovernedHospital:
    return GovernedHospital()


def test_an_act_is_verified_by_cryptography_alone(hospital: GovernedHospital) -> None:
    act = hospital.sign(EVE, Act.ISSUE_REPORT, "a-report", period="2026-1")
    public = MLDSA65PublicKey.from_public_bytes(hospital.governance.officer("eve.ethics").public_key)
    public.verify(act.signature, act.document, b"qfl/officer-act")
    with pytest.raises(InvalidSignature):
        public.verify(act.signature, act.document + b" ", b"qfl/officer-act")
    with pytest.raises(InvalidSignature):
        public.verify(act.signature, act.document, b"qfl/round-terms")
    document = json.loads(act.document)
    assert document == {
        "v": 1,
        "act": "issue-report",
        "subject": "a-report",
        "officer": keyed_digest(DIGEST_KEY, "user:eve.ethics"),
        "role": "ethics-officer",
        "at": "2026-03-01T12:00:00.000000+00:00",
        "facts": {"period": "2026-1"},
    }
    assert b"eve" not in act.document
    assert verify_act(hospital.desk, act) == {"period": "2026-1"}


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "another"},
        {"act": Act.RELEASE},
        {"username": "ed.ethics"},
        {"role": "administrator"},
        {"at": GovernedHospital.__dataclass_fields__["clock"].default_factory()() + timedelta(seconds=1)},
        {"document": b"{}"},
        {"signature": b"0" * 3309},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_act_whose_record_was_changed_is_none(hospital: GovernedHospital, change: dict[str, object]) -> None:
    act = hospital.sign(EVE, Act.ISSUE_REPORT, "a-report")
    with pytest.raises(SignatureError):
        verify_act(hospital.desk, replace(act, **change))


@pytest.mark.parametrize("passphrase", ["", "the passphrase of ed.ethics", "the passphrase of eve.ethics "])
def test_a_wrong_passphrase_signs_nothing(hospital: GovernedHospital, passphrase: str) -> None:
    with pytest.raises(OfficerKeyError, match="does not open"):
        hospital.sign(Signer("eve.ethics", passphrase), Act.RELEASE, "model")


def test_a_user_without_a_key_signs_nothing(hospital: GovernedHospital) -> None:
    hospital.store.save_user(User("new", "New", Role.ETHICS_OFFICER), now=hospital.clock())
    for name in ("new", "nobody"):
        with pytest.raises(OfficerKeyError, match="no officer's key"):
            hospital.sign(Signer(name, "the passphrase of new"), Act.RELEASE, "model")


@pytest.mark.parametrize("signer", [RON, ADA, Signer("amy.auditor", "the passphrase of amy.auditor")])
def test_a_role_that_may_not_signs_nothing(hospital: GovernedHospital, signer: Signer) -> None:
    with pytest.raises(NotPermittedError, match="does not let the role"):
        hospital.sign(signer, Act.RELEASE, "model")


def test_whoever_got_another_role_is_enrolled_again(hospital: GovernedHospital) -> None:
    hospital.store.save_user(User("ron.reader", "Ron", Role.ETHICS_OFFICER), now=hospital.clock())
    with pytest.raises(OfficerKeyError, match="enrolled as radiologist"):
        hospital.sign(RON, Act.RELEASE, "model")
    hospital.enrol("ron.reader")
    assert hospital.sign(RON, Act.RELEASE, "model").role == "ethics-officer"


def test_a_key_that_was_put_into_the_database_signs_nothing(hospital: GovernedHospital) -> None:
    eve, ed = (hospital.governance.officer(name) for name in ("eve.ethics", "ed.ethics"))
    hospital.governance.put_officer(replace(eve, public_key=ed.public_key, encrypted_key=ed.encrypted_key))
    with pytest.raises(OfficerKeyError, match="not the one that was enrolled"):
        hospital.sign(Signer("eve.ethics", ED.passphrase), Act.RELEASE, "model")


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"facts":1}', b'{"facts":{}}'])
def test_an_enrolment_that_was_tampered_with_enrols_nobody(hospital: GovernedHospital, document: bytes) -> None:
    act = acts_of(hospital.governance, Act.ENROL)[1]
    assert act.subject == hospital.desk.digest("user", "eve.ethics")
    hospital.governance.put_act(replace(act, document=document))
    with pytest.raises(OfficerKeyError, match="not the one that was enrolled"):
        hospital.sign(EVE, Act.RELEASE, "model")


class TestEnrolment:
    def test_the_first_administrator_enrols_itself_and_the_ledger_says_so(self) -> None:
        clock, store, people = Clock(), InMemoryGovernance(), InMemoryStore()
        desk = a_desk(store, clock)
        people.save_user(User("ada", "Ada", Role.ADMINISTRATOR), now=clock())
        officers.enrol(desk, people, username="ada", passphrase="x" * 12, by=None, at=clock())
        (act,) = store.acts()
        assert verify_act(desk, act)["first"] is True
        entries = [parse_leaf(row.leaf) for row in store.ledger.rows_of_kind("officer-action")]
        assert [entry.facts["action"] for entry in entries] == ["enrol", "enrolled"]
        assert entries[0].facts["document"] == hashlib.sha256(act.document).hexdigest()
        assert {entry.facts["officer"] for entry in entries} == {desk.digest("user", "ada")}

    def test_the_first_one_must_be_one_who_may(self) -> None:
        clock, store, people = Clock(), InMemoryGovernance(), InMemoryStore()
        people.save_user(User("eve", "Eve", Role.ETHICS_OFFICER), now=clock())
        with pytest.raises(NotPermittedError, match="administrator"):
            officers.enrol(a_desk(store, clock), people, username="eve", passphrase="x" * 12, by=None, at=clock())
        assert (store.officers(), store.acts(), store.kinds()) == ([], [], [])

    def test_nobody_else_enrols_himself(self, hospital: GovernedHospital) -> None:
        hospital.store.save_user(User("ann", "Ann", Role.ADMINISTRATOR), now=hospital.clock())
        with pytest.raises(NotPermittedError, match="officers already"):
            officers.enrol(
                hospital.desk, hospital.store, username="ann", passphrase="x" * 12, by=None, at=hospital.clock()
            )

    @pytest.mark.parametrize("by", [EVE, RON])
    def test_only_administrators_enrol(self, hospital: GovernedHospital, by: Signer) -> None:
        with pytest.raises(NotPermittedError):
            hospital.enrol("ed.ethics", by)

    def test_a_stranger_is_not_enrolled(self, hospital: GovernedHospital) -> None:
        with pytest.raises(UserError, match="qfl users add"):
            hospital.enrol("stranger")

    def test_a_short_passphrase_is_refused(self, hospital: GovernedHospital) -> None:
        before = hospital.governance.officer("eve.ethics")
        with pytest.raises(OfficerKeyError, match="12 characters"):
            officers.enrol(
                hospital.desk, hospital.store, username="eve.ethics", passphrase="short", by=ADA, at=hospital.clock()
            )
        assert hospital.governance.officer("eve.ethics") == before

    def test_what_an_old_key_signed_is_not_of_the_new_one(self, hospital: GovernedHospital) -> None:
        act = hospital.sign(EVE, Act.RELEASE, "model")
        hospital.clock.advance(timedelta(minutes=1))
        hospital.enrol("eve.ethics")
        with pytest.raises(SignatureError):
            verify_act(hospital.desk, act)


class TestRevocation:
    def test_a_revoked_officer_signs_nothing_and_is_believed_nothing(self, hospital: GovernedHospital) -> None:
        act = hospital.sign(EVE, Act.RELEASE, "model")
        officers.revoke(hospital.desk, hospital.store, username="eve.ethics", by=ADA, at=hospital.clock())
        with pytest.raises(OfficerKeyError, match="revoked"):
            hospital.sign(EVE, Act.RELEASE, "model")
        with pytest.raises(OfficerKeyError, match="revoked"):
            verify_act(hospital.desk, act)

    def test_the_last_administrator_stays(self, hospital: GovernedHospital) -> None:
        with pytest.raises(NotPermittedError, match="last officer who may enrol"):
            officers.revoke(hospital.desk, hospital.store, username="ada.admin", by=ADA, at=hospital.clock())

    def test_lists_tell_who_is_what(self, hospital: GovernedHospital) -> None:
        officers.revoke(hospital.desk, hospital.store, username="eve.ethics", by=ADA, at=hospital.clock())
        found = {each.username: each for each in officers.list_officers(hospital.desk)}
        assert {name: each.role for name, each in found.items()} == {name: str(role) for name, role in PEOPLE.items()}
        assert [name for name, each in found.items() if each.revoked_at] == ["eve.ethics"]

    def test_each_enrolment_and_revocation_is_an_act(self, hospital: GovernedHospital) -> None:
        officers.revoke(hospital.desk, hospital.store, username="eve.ethics", by=ADA, at=hospital.clock())
        acts = acts_of(hospital.governance, Act.ENROL)
        assert len(acts) == len(PEOPLE) + 1
        assert {each.username for each in acts} == {"ada.admin"}
        for act in acts:
            verify_act(hospital.desk, act)
