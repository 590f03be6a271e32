"""Accounts: passwords and tokens are never kept, only what proves them."""

import pytest

from plugin.errors import UserError
from plugin.services import accounts
from plugin.services.values import Role
from tests.fakes.whole_hospital import WholeHospital

PASSWORD = "correct horse battery"


@pytest.fixture
def hospital() -> WholeHospital:
    hospital = WholeHospital()
    accounts.add_user(
        hospital.services, username="dr.house", display_name="G. House", role=Role.RADIOLOGIST, password=PASSWORD
    )
    return hospital


def test_the_right_password_signs_in(hospital: WholeHospital) -> None:
    user = accounts.sign_in(hospital.services, username="dr.house", password=PASSWORD)
    assert user
    assert user.display_name == "G. House"
    assert PASSWORD not in repr(user)
    assert PASSWORD not in user.password_hash


@pytest.mark.parametrize(("username", "password"), [("dr.house", "wrong"), ("nobody", PASSWORD), ("dr.house", "")])
def test_anything_else_does_not(hospital: WholeHospital, username: str, password: str) -> None:
    assert accounts.sign_in(hospital.services, username=username, password=password) is None


def test_a_token_is_its_owners_and_only_its_digest_is_kept(hospital: WholeHospital) -> None:
    token = accounts.issue_token(hospital.services, username="dr.house")
    owner = accounts.user_for_token(hospital.services, token=token)
    assert owner
    assert owner.username == "dr.house"
    assert accounts.user_for_token(hospital.services, token=token + "x") is None
    assert token not in repr(vars(hospital.store))


@pytest.mark.parametrize(
    ("username", "password"),
    [
        pytest.param("dr.house", "short", id="short-password"),
        pytest.param("Dr House", PASSWORD, id="blank"),
        pytest.param("x", PASSWORD, id="short-name"),
        pytest.param("../etc", PASSWORD, id="path"),
    ],
)
def test_an_unusable_user_is_refused(hospital: WholeHospital, username: str, password: str) -> None:
    with pytest.raises(UserError):
        accounts.add_user(
            hospital.services, username=username, display_name="", role=Role.RADIOLOGIST, password=password
        )


def test_nobody_gets_no_token(hospital: WholeHospital) -> None:
    with pytest.raises(UserError):
        accounts.issue_token(hospital.services, username="nobody")
