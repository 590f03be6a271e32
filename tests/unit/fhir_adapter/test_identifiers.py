import uuid

import pytest

from fhir_adapter import identifiers
from fhir_adapter.errors import MalformedResourceError


@pytest.mark.parametrize("value", ["1.2.840.99", "urn:oid:1.2.840.99", " urn:oid:1.2.840.99 "])
def test_reads_a_uid_with_and_without_its_scheme(value: str):
    assert identifiers.study_uid_from_identifier(value) == "1.2.840.99"


@pytest.mark.parametrize("value", ["", "urn:oid:", "1", "1..2", "1.2.", "urn:uuid:1.2", "1.2/../3", "1." + "2" * 63])
def test_refuses_what_is_no_uid(value: str):
    with pytest.raises(MalformedResourceError):
        identifiers.study_uid_from_identifier(value)


def test_writes_a_uid_as_uri():
    assert identifiers.urn_oid("1.2.3") == "urn:oid:1.2.3"


def test_systems_are_distinct_uuid_derived_oids():
    systems = [
        identifiers.RESULT,
        identifiers.OBSERVATION,
        identifiers.DEVICE,
        identifiers.MODEL,
        identifiers.USERNAME,
        identifiers.PROVENANCE_TAG,
        identifiers.AUDIT_TAG,
    ]

    assert len(set(systems)) == len(systems)
    for system in systems:
        assert uuid.UUID(int=int(system.removeprefix("urn:oid:2.25."))).version == 4


def test_derived_uuid_depends_on_every_part_and_nothing_else():
    made = [identifiers.derived_uuid(*parts) for parts in [("k", "a", "b"), ("k", "ab"), ("k", "a"), ("ka", "b")]]

    assert len(set(made)) == 4
    assert identifiers.derived_uuid("k", "a", "b") == made[0]
