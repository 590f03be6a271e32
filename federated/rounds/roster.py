"""Who belongs to a federation: every site's public keys, signed by the coordinator."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from federated.errors import ProvisioningError, SenderError
from federated.rounds.signed_document import decode, encode, read_document, sign_document, verifying_key
from governance.signatures import SigningKey, VerifyingKey

ROSTER_PURPOSE: Final = "qfl/roster"
MAX_SITES: Final = 1000
MAX_ROSTER_BYTES: Final = 8 << 20
_SEALING_BYTES: Final = 1216
_SITE_NAME: Final = re.compile(r"[a-z0-9-]{1,40}")
_FEDERATION_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")


@dataclass(frozen=True)
class SiteEntry:
    """One site's public half.

    Attributes:
        name: 1 to 40 of a-z, 0-9 and "-".
        identity: Signs what the site says.
        node_key_pem: Opens the engine's door: EC P-384, SubjectPublicKeyInfo in PEM as OpenSSL writes it.

    Raises:
        ProvisioningError: The name or the node key is none.
    """

    name: str
    identity: VerifyingKey
    node_key_pem: bytes

    def __post_init__(self) -> None:
        """Check the name, and that the node key is a public one in the one form that is compared."""
        check_site_name(self.name)
        if node_key_pem(self.node_key_pem, self.name) != self.node_key_pem:
            raise ProvisioningError(f"{self.name}: expected its node key as OpenSSL writes it, got another form.")


@dataclass(frozen=True)
class Roster:
    """A federation.

    Attributes:
        federation: Its name.
        coordinator: Signs questions, rosters and kits.
        sealing: The public half of the coordinator's sealing key.
        sites: By name.
        version: Counts up with every change, from 1; an older roster never replaces a newer one.

    Raises:
        ProvisioningError: A name or key is none, or two sites share a key.
    """

    federation: str
    coordinator: VerifyingKey
    sealing: bytes
    sites: Mapping[str, SiteEntry] = field(default_factory=dict)
    version: int = 1

    def __post_init__(self) -> None:
        """Check what can be checked without the sites."""
        check_federation_name(self.federation)
        if len(self.sealing) != _SEALING_BYTES or self.version < 1 or len(self.sites) > MAX_SITES:
            raise ProvisioningError(
                f"Expected a roster from version 1 with a sealing key of {_SEALING_BYTES} bytes and at most "
                f"{MAX_SITES} sites, got version {self.version}, {len(self.sealing)} bytes, {len(self.sites)} sites."
            )
        _check_sites(self.sites)

    def identity(self, site: str) -> VerifyingKey:
        """Whose signature a site's messages carry.

        Raises:
            SenderError: No such site belongs to the federation.
        """
        if site not in self.sites:
            raise SenderError(f"Expected a site of the federation {self.federation}, got {site!r}, which is none.")
        return self.sites[site].identity

    @property
    def identities(self) -> dict[str, VerifyingKey]:
        """Of all sites, by name."""
        return {name: entry.identity for name, entry in self.sites.items()}


def build_roster(roster: Roster, signing: SigningKey) -> bytes:
    """A roster as signed JSON.

    Raises:
        ProvisioningError: signing is not the coordinator's key.
    """
    if signing.verifying_key != roster.coordinator:
        raise ProvisioningError(f"Expected the key of the coordinator of {roster.federation}, got another one.")
    return sign_document(
        {
            "federation": roster.federation,
            "version": roster.version,
            "coordinator": encode(roster.coordinator.raw),
            "sealing": encode(roster.sealing),
            "sites": [
                {"name": name, "identity": encode(entry.identity.raw), "node_key": entry.node_key_pem.decode()}
                for name, entry in sorted(roster.sites.items())
            ],
        },
        signing,
        purpose=ROSTER_PURPOSE,
    )


def parse_roster(data: bytes, *, coordinator: VerifyingKey) -> Roster:
    """The roster that build_roster wrote.

    Args:
        data: Of whoever.
        coordinator: The key that is trusted: pinned when the site joined, or the coordinator's own.

    Raises:
        ProvisioningError: It is too long or malformed, or of another coordinator.
        SenderError: The coordinator did not sign it.
    """
    signed = read_document(data, what="roster", limit=MAX_ROSTER_BYTES)
    if signed.key_of("coordinator") != coordinator:
        raise ProvisioningError(
            f"Expected a roster of the coordinator {fingerprint(coordinator)}, got one of "
            f"{fingerprint(signed.key_of('coordinator'))}: it belongs to another federation, or was swapped."
        )
    signed.verify(coordinator, purpose=ROSTER_PURPOSE)
    version, sites = signed.fields.get("version"), signed.fields.get("sites")
    if type(version) is not int or not isinstance(sites, list) or len(sites) > MAX_SITES:
        raise ProvisioningError(f"Expected a roster with its version and at most {MAX_SITES} sites, got another.")
    entries = [_entry(site) for site in sites]
    roster = Roster(
        federation=signed.text("federation"),
        coordinator=coordinator,
        sealing=signed.bytes_of("sealing"),
        sites={entry.name: entry for entry in entries},
        version=version,
    )
    if len(roster.sites) != len(entries):
        raise ProvisioningError("Expected a roster that names each site once, got one that names a site twice.")
    return roster


def check_site_name(name: str) -> None:
    """Check a site's name.

    Raises:
        ProvisioningError: It is not 1 to 40 of a-z, 0-9 and "-".
    """
    if not _SITE_NAME.fullmatch(name):
        raise ProvisioningError(f"Expected a site's name of 1 to 40 of a-z, 0-9 and '-', got {name[:60]!r}.")


def check_federation_name(name: str) -> None:
    """Check a federation's name.

    Raises:
        ProvisioningError: It is not 1 to 60 letters, digits, blanks and ._- that begin with a letter or digit.
    """
    if not _FEDERATION_NAME.fullmatch(name):
        raise ProvisioningError(
            f"Expected a federation's name of 1 to 60 letters, digits, blanks and ._-, got {name[:100]!r}."
        )


def fingerprint(key: VerifyingKey) -> str:
    """What people compare: SHA-256 of the key, in groups of four hexadecimal digits."""
    digits = hashlib.sha256(key.raw).hexdigest()
    return "-".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def node_key_pem(pem: bytes, site: str) -> bytes:
    """A public node key in the one form that is compared.

    Raises:
        ProvisioningError: It is no public key on P-384.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ProvisioningError(f"{site}: expected its public node key in PEM, got something else.") from fault
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ProvisioningError(f"{site}: expected a public node key on P-384, got another kind.")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _entry(site: Any) -> SiteEntry:
    if not isinstance(site, dict) or not isinstance(site.get("name"), str) or not isinstance(site.get("node_key"), str):
        raise ProvisioningError("Expected a roster's sites with their names and keys, got something else.")
    name = site["name"]
    check_site_name(name)
    identity = verifying_key(decode(site.get("identity"), f"identity of {name}"), f"identity of {name}")
    return SiteEntry(name, identity, site["node_key"].encode())


def _check_sites(sites: Mapping[str, SiteEntry]) -> None:
    owners: dict[bytes, str] = {}
    for name, entry in sites.items():
        if name != entry.name:
            raise ProvisioningError(f"Expected the entry of {name} under its own name, got that of {entry.name}.")
        for key in (entry.identity.raw, entry.node_key_pem):
            if key in owners:
                raise ProvisioningError(
                    f"{name}: expected keys of its own, got a key of {owners[key]}; make new ones with "
                    "`qfl federation request`."
                )
            owners[key] = name
