import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_ingest.uids import derive_uid, is_uid


@given(st.lists(st.text(), min_size=1))
def test_derived_uids_are_valid_and_repeat(parts: list[str]) -> None:
    uid = derive_uid(*parts)
    assert uid == derive_uid(*parts)
    assert UID(uid).is_valid
    assert is_uid(uid)


def test_parts_do_not_run_together() -> None:
    assert derive_uid("ab", "c") != derive_uid("a", "bc") != derive_uid("abc")


def test_derived_uids_stay_the_same_over_releases() -> None:
    assert derive_uid("key", "SEG") == "2.25.223174500290337668779168633556727911675"


@pytest.mark.parametrize("value", ["1.2.840.10008.5.1.4.1.1.4", "2.25.0", "1." + "2" * 62])
def test_accepts_uids(value: str) -> None:
    assert is_uid(value)


@pytest.mark.parametrize(
    "value",
    ["", "1", "1.", ".1", "1..2", "1.02", "1.a", "1.2/../3", "1.2\n", " 1.2", "1.٣", "1." + "2" * 63],
)
def test_refuses_what_is_no_uid(value: str) -> None:
    assert not is_uid(value)
