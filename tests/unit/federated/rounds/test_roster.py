import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federated.errors import ProvisioningError, SenderError
from federated.rounds.roster import MAX_ROSTER_BYTES, Roster, SiteEntry, build_roster, fingerprint, parse_roster
from federated.rounds.sealing import SealingKey
from federated.rounds.signed_document import sign_document
from governance.signatures import SigningKey, VerifyingKey

COORDINATOR = SigningKey.generate()
SEALING = SealingKey.generate().public


def node_pem(curve=None):
    key = ec.generate_private_key(curve or ec.SECP384R1())
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def entry(name):
    return SiteEntry(name, SigningKey.generate().verifying_key, node_pem())


ENTRIES = {name: entry(name) for name in ("north", "south")}
ROSTER = Roster("brain-tumours", COORDINATOR.verifying_key, SEALING, ENTRIES, version=4)


def parsed(data, key=COORDINATOR):
    return parse_roster(data, coordinator=key.verifying_key)


def document(**changes):
    return json.loads(build_roster(ROSTER, COORDINATOR))["document"] | changes


def signed(fields, purpose="qfl/roster"):
    return sign_document(fields, COORDINATOR, purpose=purpose)


def test_a_roster_comes_back_as_it_was_signed():
    found = parsed(build_roster(ROSTER, COORDINATOR))
    assert found == ROSTER
    assert found.identity("north") == ENTRIES["north"].identity
    assert found.identities == {name: each.identity for name, each in ENTRIES.items()}


def test_a_site_that_nobody_knows_has_no_identity():
    with pytest.raises(SenderError, match="east"):
        ROSTER.identity("east")


def test_only_the_coordinator_signs_its_roster():
    with pytest.raises(ProvisioningError, match="key of the coordinator"):
        build_roster(ROSTER, SigningKey.generate())


def test_a_swapped_roster_is_refused():
    other = SigningKey.generate()
    swapped = build_roster(replace(ROSTER, coordinator=other.verifying_key), other)
    with pytest.raises(ProvisioningError, match="swapped"):
        parsed(swapped)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"version": 5}, id="version"),
        pytest.param({"federation": "lungs"}, id="name"),
        pytest.param({"sites": []}, id="sites"),
    ],
)
def test_a_roster_that_was_changed_is_refused(fields):
    found = json.loads(build_roster(ROSTER, COORDINATOR))
    found["document"] |= fields
    with pytest.raises(SenderError):
        parsed(json.dumps(found).encode())


def test_a_signature_as_something_else_is_refused():
    with pytest.raises(SenderError):
        parsed(signed(document(), purpose="qfl/site-kit"))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(document(version=0), id="version 0"),
        pytest.param(document(version=True), id="version is a truth value"),
        pytest.param(document(sites="all"), id="sites are text"),
        pytest.param(document(sites=["north"]), id="site is text"),
        pytest.param(document(sites=document()["sites"][:1] * 2), id="site twice"),
        pytest.param(document(sites=[{}] * 1001), id="too many sites"),
        pytest.param(document(federation="../lungs"), id="federation's name is a path"),
        pytest.param(document(sealing="AAAA"), id="sealing key too short"),
        pytest.param(document(coordinator="%"), id="coordinator's key not in base64"),
        pytest.param(document(sites=[document()["sites"][0] | {"identity": "AAAA"}]), id="identity too short"),
        pytest.param(document(sites=[document()["sites"][0] | {"node_key": "-----BEGIN"}]), id="no node key"),
        pytest.param(
            document(sites=[document()["sites"][0] | {"node_key": node_pem(ec.SECP256R1()).decode()}]), id="P-256"
        ),
        pytest.param(document(sites=[document()["sites"][0] | {"name": "North"}]), id="site's name"),
    ],
)
def test_a_malformed_roster_is_refused_even_where_it_is_signed(fields):
    with pytest.raises(ProvisioningError):
        parsed(signed(fields))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"document": {}}', id="no signature"),
        pytest.param(b'{"document": [], "signature": "AAAA"}', id="a list"),
        pytest.param(b'{"document": {"a": 1.5}, "signature": "AAAA"}', id="a fraction"),
        pytest.param(b'{"document": {"a": "\\ud800"}, "signature": "AAAA"}', id="half a character"),
        pytest.param(bytes(MAX_ROSTER_BYTES + 1), id="too long"),
    ],
)
def test_what_is_no_roster_is_refused(data):
    with pytest.raises(ProvisioningError, match="roster"):
        parsed(data)


@pytest.mark.parametrize("name", ["", "North", "a" * 41, "a/b", "..", "a b", "nörd", "a\n"], ids=repr)
def test_a_site_has_a_plain_name(name):
    with pytest.raises(ProvisioningError, match="a-z, 0-9"):
        SiteEntry(name, ENTRIES["north"].identity, ENTRIES["north"].node_key_pem)


def test_a_site_may_have_the_longest_name():
    assert SiteEntry("a" * 38 + "-1", ENTRIES["north"].identity, ENTRIES["north"].node_key_pem)


@pytest.mark.parametrize("shared", ["identity", "node_key_pem"])
def test_two_sites_never_share_a_key(shared):
    thief = replace(entry("thief"), **{shared: getattr(ENTRIES["north"], shared)})
    with pytest.raises(ProvisioningError, match=r"thief.*north"):
        replace(ROSTER, sites={**ENTRIES, "thief": thief})


def test_a_fingerprint_is_the_hash_of_the_key_in_groups():
    # head -c 1952 /dev/zero | sha256sum
    expected = "77917b9816677102d29f8d1da6bf584cfaea16ff2df7b1645bd7c8a9ff1202b0"
    found = fingerprint(VerifyingKey(bytes(1952)))
    assert found.startswith("7791-7b98-1667-")
    assert found.replace("-", "") == expected
