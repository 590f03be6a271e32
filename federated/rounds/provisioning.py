"""What a site and its coordinator hand each other before the first round: a signing request one way, a kit the other.

Both hold public halves only. A request proves that its writer has both private keys; a kit proves that the coordinator
wrote it, and whether that is the right coordinator is for people to compare, once, by its key's fingerprint.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
    load_ssh_private_key,
)

from federated.errors import ProvisioningError, SenderError
from federated.rounds.roster import MAX_ROSTER_BYTES, Roster, SiteEntry, build_roster, parse_roster
from federated.rounds.signed_document import decode, encode, read_document, sign_document
from governance.canonical import Canonical, canonical_bytes
from governance.signatures import SigningKey, VerifyingKey

REQUEST_PURPOSE: Final = "qfl/site-request"
KIT_PURPOSE: Final = "qfl/site-kit"
MAX_REQUEST_BYTES: Final = 1 << 15
MAX_KIT_BYTES: Final = MAX_ROSTER_BYTES * 2
_NODE_SIGNATURE: Final = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True)
class Kit:
    """What a site needs to reach its coordinator and to know everyone.

    Attributes:
        site: Whom it is for.
        address: host:port of the coordinator.
        ca_pem: The certificate of the only authority that the site believes.
        policy: A first policy file, or "" for none.
    """

    site: str
    address: str
    ca_pem: bytes
    roster: Roster
    policy: str = ""


def make_node_key() -> bytes:
    """A private key for the engine's door: EC P-384 in OpenSSH's format, not encrypted."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def build_request(site: str, identity: SigningKey, node_key: bytes) -> bytes:
    """A site's signing request: its name and public keys, signed by both private ones.

    Args:
        site: Its name.
        identity: Its identity.
        node_key: As make_node_key gives it.

    Raises:
        ProvisioningError: The name or the node key is none.
    """
    private = _node_key(node_key, site)
    entry = SiteEntry(site, identity.verifying_key, _public_pem(private))
    document = _describe(entry)
    proof = private.sign(_proven(document), _NODE_SIGNATURE)
    return sign_document({**document, "node_proof": encode(proof)}, identity, purpose=REQUEST_PURPOSE)


def parse_request(data: bytes) -> SiteEntry:
    """The site that wrote a request.

    Raises:
        ProvisioningError: It is too long or malformed, or its writer does not have the keys that it names.
    """
    signed = read_document(data, what="signing request", limit=MAX_REQUEST_BYTES)
    name = signed.text("site")
    entry = SiteEntry(name, signed.key_of("identity"), signed.text("node_key").encode())
    try:
        signed.verify(entry.identity, purpose=REQUEST_PURPOSE)
        _check_proof(entry, decode(signed.text("node_proof"), "node_proof"))
    except (SenderError, InvalidSignature) as fault:
        raise ProvisioningError(
            f"{name}: expected a request that is signed with both private keys that belong to it, got one that is not; "
            "it was changed on the way, or names somebody else's key."
        ) from fault
    return entry


def entry_of(site: str, identity: SigningKey, node_key: bytes) -> SiteEntry:
    """A site's public half, from its private keys."""
    return SiteEntry(site, identity.verifying_key, _public_pem(_node_key(node_key, site)))


def build_kit(kit: Kit, signing: SigningKey) -> bytes:
    """A kit as signed JSON.

    Args:
        kit: For one site.
        signing: The coordinator's.

    Raises:
        ProvisioningError: signing is not the key of the roster's coordinator, or the kit is too long.
    """
    data = sign_document(
        {
            "site": kit.site,
            "address": kit.address,
            "ca": kit.ca_pem.decode(),
            "coordinator": encode(kit.roster.coordinator.raw),
            "roster": build_roster(kit.roster, signing).decode(),
            "policy": kit.policy,
        },
        signing,
        purpose=KIT_PURPOSE,
    )
    if len(data) > MAX_KIT_BYTES:
        raise ProvisioningError(f"{kit.site}: expected a kit of at most {MAX_KIT_BYTES} bytes, got {len(data)}.")
    return data


def parse_kit(data: bytes, *, coordinator: VerifyingKey | None = None) -> Kit:
    """The kit that build_kit wrote.

    Args:
        data: Of whoever.
        coordinator: Whose kit it must be; None to believe the key that it names, until a person has compared it.

    Raises:
        ProvisioningError: It is too long or malformed, of another coordinator, or for a site that its roster lacks.
        SenderError: The coordinator did not sign it.
    """
    signed = read_document(data, what="kit", limit=MAX_KIT_BYTES)
    named = signed.key_of("coordinator")
    signed.verify(named, purpose=KIT_PURPOSE)
    roster = parse_roster(signed.text("roster").encode(), coordinator=coordinator or named)
    kit = Kit(
        site=signed.text("site"),
        address=signed.text("address"),
        ca_pem=signed.text("ca").encode(),
        roster=roster,
        policy=signed.text("policy"),
    )
    if kit.site not in roster.sites or named != roster.coordinator:
        raise ProvisioningError(
            "Expected a kit with its own coordinator's roster, in which its site is; got another; ask for a fresh kit."
        )
    return kit


def _describe(entry: SiteEntry) -> dict[str, Canonical]:
    return {"site": entry.name, "identity": encode(entry.identity.raw), "node_key": entry.node_key_pem.decode()}


def _proven(document: dict[str, Canonical]) -> bytes:
    return REQUEST_PURPOSE.encode() + canonical_bytes(document)


def _check_proof(entry: SiteEntry, proof: bytes) -> None:
    key = load_pem_public_key(entry.node_key_pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidSignature
    key.verify(proof, _proven(_describe(entry)), _NODE_SIGNATURE)


def _node_key(data: bytes, site: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ProvisioningError(f"{site}: expected its node key in OpenSSH's format, got something else.") from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ProvisioningError(f"{site}: expected an EC node key, got {type(key).__name__}.")
    return key


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
