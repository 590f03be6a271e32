"""The folders of a federation: the coordinator's, and each site's; what is in them, and how a process reads it.

A coordinator's folder holds identity.key, sealing.key, authority.key, server.key (each for its owner only), ca.crt,
server.crt, address.json, roster.json and kits/. A site's folder holds identity.key, node.key, request.json and, once it
has joined, coordinator.pin, kit.json, ca.crt and its policy file.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from federated.errors import ProvisioningError
from federated.rounds.provisioning import MAX_KIT_BYTES, MAX_REQUEST_BYTES, Kit, entry_of, parse_kit, parse_request
from federated.rounds.roster import MAX_ROSTER_BYTES, Roster, SiteEntry, parse_roster
from federated.rounds.sealing import SealingKey
from governance.errors import KeyFileError
from governance.signatures import SigningKey
from plugin.services.federation_tls import check_certificate, host_and_port
from plugin.services.secret_files import check_folder, read_public, read_secret

IDENTITY_KEY, SEALING_KEY, NODE_KEY = "identity.key", "sealing.key", "node.key"
AUTHORITY_KEY, SERVER_KEY = "authority.key", "server.key"
CA, SERVER_CERTIFICATE = "ca.crt", "server.crt"
ADDRESS, ROSTER, KITS = "address.json", "roster.json", "kits"
REQUEST, KIT, PIN, POLICY = "request.json", "kit.json", "coordinator.pin", "policy.yaml"
MAX_CERTIFICATE_BYTES: Final = 1 << 16
_MAX_ADDRESS_BYTES: Final = 1 << 16
_PIN: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Coordinator:
    """What the coordinator's processes need.

    Attributes:
        hosts: By which sites reach it; the first one is in their kits.
        ca_file: The certificate of the federation's authority.
        certificate_file: The TLS server's certificate.
        key_file: Its private key.
    """

    signing: SigningKey
    sealing: SealingKey
    roster: Roster
    hosts: tuple[str, ...]
    port: int
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @property
    def federation(self) -> str:
        """Its name."""
        return self.roster.federation

    @property
    def address(self) -> str:
        """host:port, as the sites' kits have it."""
        return host_and_port(self.hosts[0], self.port)


@dataclass(frozen=True, eq=False)
class Site:
    """What a site's processes need, once it has joined.

    Attributes:
        name: The site's.
        roster: Signed by the coordinator that the site pinned.
        node_key_file: EC P-384, OpenSSH's format: opens the engine's door.
        ca_file: The only authority that the site believes.
        address: host:port of the coordinator.
        policy_file: What the site allows; the kit brings a first one.
    """

    name: str
    signing: SigningKey
    roster: Roster
    node_key_file: Path
    ca_file: Path
    address: str
    policy_file: Path

    @property
    def federation(self) -> str:
        """Its name."""
        return self.roster.federation


def load_coordinator(folder: Path, *, now: datetime | None = None) -> Coordinator:
    """Read a coordinator's folder and check it.

    Args:
        folder: That `qfl federation init` made.
        now: The present unless given.

    Raises:
        ProvisioningError: Something is missing, damaged, open to others, of another federation, or expired.
        SenderError: The roster is not signed with the coordinator's key.
    """
    found = read_coordinator(folder)
    at = now or datetime.now(UTC)
    renew = f"run `qfl federation init {folder} --name ...` again, which renews it."
    check_certificate(read_file(found.ca_file), "federation's authority", "make a new federation.", now=at)
    check_certificate(read_file(found.certificate_file), "coordinator's TLS certificate", renew, now=at)
    read_secret(found.key_file)
    return found


def read_coordinator(folder: Path) -> Coordinator:
    """Read a coordinator's folder, expired or not; see load_coordinator."""
    check_folder(folder)
    signing, sealing = read_signing_key(folder), SealingKey(read_secret(folder / SEALING_KEY))
    hosts, port = read_address(folder)
    roster = parse_roster(read_file(folder / ROSTER, MAX_ROSTER_BYTES), coordinator=signing.verifying_key)
    if roster.sealing != sealing.public:
        raise ProvisioningError(f"{folder / SEALING_KEY}: is not the key of {ROSTER}; restore the folder.")
    return Coordinator(
        signing=signing,
        sealing=sealing,
        roster=roster,
        hosts=hosts,
        port=port,
        ca_file=folder / CA,
        certificate_file=folder / SERVER_CERTIFICATE,
        key_file=folder / SERVER_KEY,
    )


def load_site(folder: Path, *, now: datetime | None = None) -> Site:
    """Read a site's folder and check it.

    Args:
        folder: That `qfl federation request` made and `qfl federation join` completed.
        now: The present unless given.

    Raises:
        ProvisioningError: The site has not joined, or something is missing, damaged, open to others, of another
            federation, not this site's, or expired.
        SenderError: The pinned coordinator did not sign the kit.
    """
    own = own_entry(folder)
    kit = installed_kit(folder)
    if kit is None:
        raise ProvisioningError(
            f"{folder}: {own.name} has not joined a federation; send {REQUEST} to the coordinator and run "
            f"`qfl federation join {folder} KIT` with the kit that comes back."
        )
    check_own(kit, own)
    ca_pem = read_file(folder / CA)
    if ca_pem != kit.ca_pem:
        raise ProvisioningError(f"{folder / CA}: is not the kit's; run `qfl federation join` with the kit again.")
    check_certificate(
        ca_pem, "federation's authority", "ask the coordinator for a new kit.", now=now or datetime.now(UTC)
    )
    return Site(
        name=own.name,
        signing=read_signing_key(folder),
        roster=kit.roster,
        node_key_file=folder / NODE_KEY,
        ca_file=folder / CA,
        address=kit.address,
        policy_file=folder / POLICY,
    )


def own_entry(folder: Path) -> SiteEntry:
    """A site's own public half, from its private keys; the request says which name they have.

    Raises:
        ProvisioningError: A key is missing, damaged or open to others, or the request is of other keys.
    """
    check_folder(folder)
    asked = parse_request(read_file(folder / REQUEST, MAX_REQUEST_BYTES))
    own = entry_of(asked.name, read_signing_key(folder), read_secret(folder / NODE_KEY))
    if own != asked:
        raise ProvisioningError(f"{folder}: its private keys are not those of {REQUEST}; restore the folder.")
    return own


def installed_kit(folder: Path) -> Kit | None:
    """The kit that a site has installed, of the coordinator that it pinned; None before it has joined.

    Raises:
        ProvisioningError: It is damaged, or of another coordinator.
        SenderError: Its coordinator did not sign it.
    """
    data, pin = read_public(folder / KIT, limit=MAX_KIT_BYTES), read_pin(folder)
    if data is None or pin is None:
        return None
    kit = parse_kit(data)
    check_pin(kit, pin)
    return kit


def check_own(kit: Kit, own: SiteEntry) -> None:
    """Check that a kit is for this site, with this site's keys.

    Raises:
        ProvisioningError: It is not.
    """
    if kit.site != own.name:
        raise ProvisioningError(f"Expected the kit of {own.name}, got that of {kit.site}.")
    if kit.roster.sites[own.name] != own:
        raise ProvisioningError(
            f"{own.name}: expected a kit whose roster has this site's own keys, got other keys under its name; do not "
            "use it, and ask the coordinator who sent them."
        )


def check_pin(kit: Kit, pin: str) -> None:
    """Check that a kit is of the coordinator that the site pinned.

    Raises:
        ProvisioningError: It is of another one.
    """
    if pin_of(kit.roster) != pin:
        raise ProvisioningError(
            f"Expected a kit of the coordinator whose key's fingerprint begins with {pin[:16]}, got one of "
            f"{kit.roster.federation!r}, {pin_of(kit.roster)[:16]}: another federation, or a swapped roster."
        )


def pin_of(roster: Roster) -> str:
    """SHA-256 of the coordinator's key, 64 hexadecimal digits."""
    return hashlib.sha256(roster.coordinator.raw).hexdigest()


def parse_pin(fingerprint: str) -> str:
    """A fingerprint as people write it, with any of "-", ":" and blanks between its digits.

    Raises:
        ProvisioningError: It has not 64 hexadecimal digits.
    """
    pin = re.sub(r"[-:\s]", "", fingerprint).lower()
    if not _PIN.fullmatch(pin):
        raise ProvisioningError(
            f"Expected a fingerprint of 64 hexadecimal digits, got {len(pin)} characters; copy the coordinator's from "
            "`qfl federation show`."
        )
    return pin


def read_pin(folder: Path) -> str | None:
    """The fingerprint that a site has pinned; None before it has joined.

    Raises:
        ProvisioningError: The file holds none.
    """
    data = read_public(folder / PIN, limit=200)
    return None if data is None else parse_pin(data.decode("ascii", "replace"))


def read_signing_key(folder: Path) -> SigningKey:
    """The identity of whose folder it is.

    Raises:
        ProvisioningError: It is missing, damaged or open to others.
    """
    try:
        return SigningKey.from_pem(read_secret(folder / IDENTITY_KEY))
    except KeyFileError as fault:
        raise ProvisioningError(f"{folder / IDENTITY_KEY}: {fault} Restore the folder from its backup.") from fault


def read_address(folder: Path) -> tuple[tuple[str, ...], int]:
    """Hosts and port of a coordinator.

    Raises:
        ProvisioningError: The file is missing or damaged.
    """
    path = folder / ADDRESS
    try:
        found = json.loads(read_file(path, _MAX_ADDRESS_BYTES))
        hosts, port = tuple(str(host) for host in found["hosts"]), int(found["port"])
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise ProvisioningError(f"{path}: expected hosts and a port ({type(fault).__name__}).") from fault
    if not hosts or not 0 < port < 65536:
        raise ProvisioningError(f"{path}: expected at least one host and a port from 1 to 65535.")
    return hosts, port


def read_file(path: Path, limit: int = MAX_CERTIFICATE_BYTES) -> bytes:
    """A file that must be there and is no secret.

    Raises:
        ProvisioningError: It is missing, too long or cannot be read.
    """
    data = read_public(path, limit=limit)
    if data is None:
        raise ProvisioningError(f"{path}: is missing; was the folder made by `qfl federation`?")
    return data
