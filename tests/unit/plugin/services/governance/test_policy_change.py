"""The policy in force: changed by as many officers as it asks for itself, and never for one that cannot be used."""

from datetime import timedelta

import pytest

from governance import sealed_keys
from governance.errors import NotPermittedError, OfficerKeyError, PolicyError
from governance.ledger.entries import parse_leaf
from plugin.services.governance import release
from plugin.services.governance.officers import Signer
from plugin.services.governance.policy_change import PolicyChange, change_policy, signed_by
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from tests.fakes.governed_hospital import ED, EVE, RON, GovernedHospital

STRICTER = default_policy_text().replace("bias_threshold: 0.1 ", "bias_threshold: 0.05 ")
OTHER = default_policy_text().replace("minimum_sites: 3", "minimum_sites: 4")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)


@pytest.fixture
def hospital() -> GovernedHospital:
    return GovernedHospital()


def sign(hospital: GovernedHospital, text: str, by: Signer) -> PolicyChange:
    hospital.clock.advance(timedelta(minutes=1))
    return change_policy(hospital.services, text=text, by=by)


def threshold(hospital: GovernedHospital) -> float:
    return hospital.desk.policy().fairness.bias_threshold


def test_two_officers_put_a_policy_in_force(hospital: GovernedHospital) -> None:
    assert not sign(hospital, STRICTER, EVE).is_done
    assert signed_by(hospital.desk, parse_policy_text(STRICTER)) == ["eve.ethics"]
    assert threshold(hospital) == 0.1
    # What the second one signs says the same in another layout.
    done = sign(hospital, "# read and signed\n" + STRICTER, ED)
    assert (done.is_done, threshold(hospital)) == (True, 0.05)
    (row,) = hospital.governance.ledger.rows_of_kind("policy-changed")
    facts = parse_leaf(row.leaf).facts
    assert facts["policy"] == parse_policy_text(STRICTER).digest
    assert len(facts["officers"]) == 2


def test_each_signs_one_policy_not_another(hospital: GovernedHospital) -> None:
    sign(hospital, STRICTER, EVE)
    assert not sign(hospital, OTHER, ED).is_done
    assert threshold(hospital) == 0.1


def test_nobody_counts_twice(hospital: GovernedHospital) -> None:
    sign(hospital, STRICTER, EVE)
    with pytest.raises(NotPermittedError, match="already"):
        sign(hospital, STRICTER, EVE)


def test_a_signature_is_bound_to_the_policy_that_it_replaces(hospital: GovernedHospital) -> None:
    sign(hospital, STRICTER, EVE)
    for signer in (EVE, ED):
        sign(hospital, OTHER, signer)
    assert not sign(hospital, STRICTER, ED).is_done


@pytest.mark.parametrize("text", ["", "version: 1\n", STRICTER.replace("override: 2", "override: 1"), "{"])
def test_a_broken_policy_is_refused_before_anybody_signs(hospital: GovernedHospital, text: str) -> None:
    acts = len(hospital.governance.acts())
    with pytest.raises(PolicyError):
        sign(hospital, text, EVE)
    assert (len(hospital.governance.acts()), hospital.governance.policy_text()) == (acts, None)


def test_the_policy_in_force_is_not_set_again(hospital: GovernedHospital) -> None:
    with pytest.raises(PolicyError, match="in force already"):
        sign(hospital, default_policy_text(), EVE)


def test_a_role_that_may_not_and_a_wrong_passphrase_change_nothing(hospital: GovernedHospital) -> None:
    with pytest.raises(NotPermittedError):
        sign(hospital, STRICTER, RON)
    with pytest.raises(OfficerKeyError):
        sign(hospital, STRICTER, Signer("eve.ethics", "wrong passphrase"))
    assert threshold(hospital) == 0.1


def test_officers_get_out_of_a_policy_that_cannot_be_read(hospital: GovernedHospital) -> None:
    """An upgrade may ask for a key that the stored policy does not have: the shipped one says who may replace it."""
    hospital.released()
    hospital.governance.put_policy("version: 0\n")
    with pytest.raises(PolicyError):
        release.halt(hospital.services, model_version=hospital.model, by=RON, reason="r")
    for signer in (EVE, ED):
        done = sign(hospital, STRICTER, signer)
    assert (done.is_done, threshold(hospital)) == (True, 0.05)
    release.check_in_use(hospital.desk, hospital.model)
