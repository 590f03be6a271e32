import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key

from federated.errors import ProvisioningError, SenderError
from federated.rounds.provisioning import (
    MAX_REQUEST_BYTES,
    REQUEST_PURPOSE,
    Kit,
    build_kit,
    build_request,
    entry_of,
    make_node_key,
    parse_kit,
    parse_request,
)
from federated.rounds.roster import Roster
from federated.rounds.sealing import SealingKey
from federated.rounds.signed_document import encode, sign_document
from governance.canonical import canonical_bytes
from governance.signatures import SigningKey

COORDINATOR, IDENTITY, THIEF = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
NODE, THIEF_NODE = make_node_key(), make_node_key()
ENTRY = entry_of("north", IDENTITY, NODE)
ROSTER = Roster("brain-tumours", COORDINATOR.verifying_key, SealingKey.generate().public, {"north": ENTRY})
KIT = Kit("north", "coordinator.example:9443", b"-----BEGIN CERTIFICATE-----\n", ROSTER, policy="rounds: some\n")


def fields(**changes):
    return json.loads(build_request("north", IDENTITY, NODE))["document"] | changes


def proof(document, node=NODE):
    proven = {name: document[name] for name in ("site", "identity", "node_key")}
    message = REQUEST_PURPOSE.encode() + canonical_bytes(proven)
    return encode(load_ssh_private_key(node, None).sign(message, ec.ECDSA(hashes.SHA384())))


def signed(document, key=IDENTITY):
    return sign_document(document, key, purpose=REQUEST_PURPOSE)


def test_a_request_names_the_site_with_its_public_keys():
    found = parse_request(build_request("north", IDENTITY, NODE))
    assert found == ENTRY
    assert found.identity == IDENTITY.verifying_key


def test_the_node_key_is_what_the_engine_reads():
    """flower-supernode loads it by load_ssh_private_key, and asks for a NIST curve."""
    assert NODE.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert isinstance(load_ssh_private_key(NODE, None).curve, ec.SECP384R1)
    assert ENTRY.node_key_pem.startswith(b"-----BEGIN PUBLIC KEY-----")


def stolen_identity():
    """The thief names north's identity, and can prove its own node key only."""
    document = fields(node_key=entry_of("thief", THIEF, THIEF_NODE).node_key_pem.decode(), site="thief")
    return signed({**document, "node_proof": proof(document, THIEF_NODE)}, THIEF)


def stolen_node_key():
    """The thief names north's node key, and can prove its own identity only."""
    document = fields(identity=encode(THIEF.verifying_key.raw), site="thief")
    return signed({**document, "node_proof": proof(document, THIEF_NODE)}, THIEF)


def replayed_proof():
    """The thief takes north's proof of its node key over."""
    return signed(fields(identity=encode(THIEF.verifying_key.raw), site="thief"), THIEF)


def changed(**changes):
    found = json.loads(build_request("north", IDENTITY, NODE))
    found["document"] |= changes
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(stolen_identity(), id="another's identity"),
        pytest.param(stolen_node_key(), id="another's node key"),
        pytest.param(replayed_proof(), id="another's proof"),
        pytest.param(changed(site="south"), id="renamed on the way"),
        pytest.param(signed(fields(node_proof=encode(b"x" * 100))), id="no signature as proof"),
        pytest.param(sign_document(fields(), IDENTITY, purpose="qfl/roster"), id="signed as something else"),
    ],
)
def test_a_request_without_both_private_keys_is_refused(request_):
    with pytest.raises(ProvisioningError, match="signed with both private keys"):
        parse_request(request_)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(MAX_REQUEST_BYTES + 1), id="too long"),
        pytest.param(signed(fields(site=3)), id="name is a number"),
        pytest.param(signed(fields(site="../north")), id="name is a path"),
        pytest.param(signed(fields(identity="AAAA")), id="identity too short"),
        pytest.param(signed(fields(node_key="none")), id="no node key"),
        pytest.param(signed({name: fields()[name] for name in ("site", "identity", "node_key")}), id="no proof"),
    ],
)
def test_a_malformed_request_is_refused(request_):
    with pytest.raises(ProvisioningError):
        parse_request(request_)


def test_a_request_needs_a_usable_node_key():
    small = ec.generate_private_key(ec.SECP256R1())
    for bad in (b"none", small.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())):
        with pytest.raises(ProvisioningError, match="north"):
            build_request("north", IDENTITY, bad)


def test_a_kit_comes_back_as_it_was_signed():
    assert parse_kit(build_kit(KIT, COORDINATOR)) == KIT
    assert parse_kit(build_kit(KIT, COORDINATOR), coordinator=COORDINATOR.verifying_key) == KIT


def test_a_kit_of_another_coordinator_is_refused():
    with pytest.raises(ProvisioningError, match="another federation, or was swapped"):
        parse_kit(build_kit(KIT, COORDINATOR), coordinator=THIEF.verifying_key)


def kit_fields(**changes):
    return json.loads(build_kit(KIT, COORDINATOR))["document"] | changes


def test_a_roster_swapped_inside_a_kit_is_refused():
    """The kit's writer is another one than the roster's."""
    swapped = sign_document(kit_fields(coordinator=encode(THIEF.verifying_key.raw)), THIEF, purpose="qfl/site-kit")
    with pytest.raises(ProvisioningError, match="swapped"):
        parse_kit(swapped)
    with pytest.raises(ProvisioningError, match="its own coordinator's roster"):
        parse_kit(swapped, coordinator=COORDINATOR.verifying_key)


@pytest.mark.parametrize("name", ["address", "ca", "policy", "site"])
def test_a_kit_that_was_changed_is_refused(name):
    found = json.loads(build_kit(KIT, COORDINATOR))
    found["document"][name] += "x"
    with pytest.raises(SenderError):
        parse_kit(json.dumps(found).encode())


@pytest.mark.parametrize(
    "change",
    [pytest.param({"site": "south"}, id="site that the roster lacks"), pytest.param({"ca": None}, id="no authority")],
)
def test_a_malformed_kit_is_refused_even_where_it_is_signed(change):
    with pytest.raises(ProvisioningError):
        parse_kit(sign_document(kit_fields(**change), COORDINATOR, purpose="qfl/site-kit"))


def test_only_the_coordinator_writes_kits():
    with pytest.raises(ProvisioningError):
        build_kit(KIT, THIEF)


def test_a_kit_holds_nothing_of_other_sites_but_their_public_keys():
    other = entry_of("south", SigningKey.generate(), make_node_key())
    kit = replace(KIT, roster=replace(ROSTER, sites={"north": ENTRY, "south": other}))
    roster = json.loads(json.loads(build_kit(kit, COORDINATOR))["document"]["roster"])["document"]
    assert [set(site) for site in roster["sites"]] == [{"name", "identity", "node_key"}] * 2
