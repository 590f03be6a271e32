"""The coordinator's side of provisioning: its folder, the roster, and a kit for each site."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from federated.errors import ProvisioningError
from federated.rounds.provisioning import Kit, build_kit, parse_request
from federated.rounds.roster import Roster, SiteEntry, build_roster, check_federation_name
from federated.rounds.sealing import SealingKey
from governance.signatures import SigningKey
from plugin.services import federation_folders as folders
from plugin.services.federation_folders import Coordinator, load_coordinator
from plugin.services.federation_tls import (
    RENEW_DAYS,
    certificate_hosts,
    check_certificate,
    expires_at,
    is_certificate_of,
    make_authority,
    make_server_certificate,
    make_tls_key,
    normal_host,
)
from plugin.services.secret_files import (
    check_folder,
    held,
    private_folder,
    read_public,
    read_secret,
    write_public,
    write_secret_once,
)
from plugin.services.site_policy import default_policy_text

DEFAULT_HOSTS: Final = ("localhost", "127.0.0.1")
DEFAULT_PORT: Final = 9443


def init_federation(
    folder: Path, *, name: str, hosts: Sequence[str] = (), port: int | None = None, now: datetime | None = None
) -> Coordinator:
    """Make a coordinator's folder: identity, sealing key, TLS authority, server certificate, empty roster.

    Run again, it keeps every key, and renews the server certificate where that ends within RENEW_DAYS or the hosts are
    others. The kits are written anew; after a change of the address, the sites join with them again.

    Args:
        folder: Of the coordinator; it is made if it is not there.
        name: Of the federation.
        hosts: DNS names and IP addresses by which sites reach the coordinator, the best one first; none for those that
            it has, at first this machine only.
        port: Of its TLS gateway; None for the one that it has.
        now: The present unless given.

    Raises:
        ProvisioningError: The name or a host is none, the folder belongs to another federation or a site, or a file
            cannot be written.
    """
    check_federation_name(name)
    when = now or datetime.now(UTC)
    private_folder(folder)
    with held(folder):
        if (folder / folders.NODE_KEY).exists() or (folder / folders.REQUEST).exists():
            raise ProvisioningError(f"{folder}: is a site's folder; choose another one for the coordinator.")
        _check_same_federation(folder, name)
        _keep_address(folder, hosts, port)
        _keep_keys(folder)
        _keep_certificates(folder, name, when)
        if not (folder / folders.ROSTER).exists():
            _write_first_roster(folder, name)
        found = load_coordinator(folder, now=when)
        return _publish(folder, found, found.roster.sites)


def admit(folder: Path, requests: Iterable[bytes], *, now: datetime | None = None) -> dict[str, Path]:
    """Add sites to the roster and write every site's kit: those that are in it need the new roster too.

    Whether a request is of the hospital that it names is for people to check, by its fingerprint.

    Args:
        folder: Of the coordinator.
        requests: The sites' signing requests.
        now: The present unless given.

    Returns:
        The kits' files, by site, of the whole roster.

    Raises:
        ProvisioningError: A request's proof fails, its name is taken by other keys, or its keys by another name;
            nothing is changed then.
    """
    asked = [parse_request(data) for data in requests]
    check_folder(folder)
    with held(folder):
        found = load_coordinator(folder, now=now)
        sites = dict(found.roster.sites)
        for entry in asked:
            if sites.setdefault(entry.name, entry) != entry:
                raise ProvisioningError(
                    f"{entry.name}: is in the roster with other keys; if the hospital has made new ones, run "
                    f"`qfl federation remove {folder} {entry.name}` first."
                )
        _publish(folder, found, sites)
        return {name: _kit_file(folder, name) for name in sorted(sites)}


def remove(folder: Path, names: Iterable[str], *, now: datetime | None = None) -> Coordinator:
    """Take sites out of the roster, and write the kits of those that stay.

    Args:
        folder: Of the coordinator.
        names: Of the sites.
        now: The present unless given.

    Raises:
        ProvisioningError: A name is not in the roster; nothing is changed then.
    """
    gone = set(names)
    check_folder(folder)
    with held(folder):
        found = load_coordinator(folder, now=now)
        if unknown := gone - set(found.roster.sites):
            raise ProvisioningError(f"Expected names of the roster, got {', '.join(sorted(unknown))}.")
        stay = {name: entry for name, entry in found.roster.sites.items() if name not in gone}
        return _publish(folder, found, stay)


def _check_same_federation(folder: Path, name: str) -> None:
    if not (folder / folders.ROSTER).exists():
        return
    found = folders.read_coordinator(folder).federation
    if found != name:
        raise ProvisioningError(f"{folder}: is the folder of the federation {found!r}; choose another for {name!r}.")


def _keep_address(folder: Path, hosts: Sequence[str], port: int | None) -> None:
    path = folder / folders.ADDRESS
    known = folders.read_address(folder) if path.exists() else None
    had_hosts, had_port = known or (DEFAULT_HOSTS, DEFAULT_PORT)
    address = (tuple(dict.fromkeys(normal_host(host) for host in hosts)) or had_hosts, port or had_port)
    if not 0 < address[1] < 65536:
        raise ProvisioningError(f"Expected a port from 1 to 65535, got {address[1]}.")
    if address != known:
        write_public(path, (json.dumps({"hosts": list(address[0]), "port": address[1]}) + "\n").encode())


def _keep_keys(folder: Path) -> None:
    write_secret_once(folder / folders.IDENTITY_KEY, SigningKey.generate().to_pem())
    write_secret_once(folder / folders.SEALING_KEY, SealingKey.generate().raw)
    write_secret_once(folder / folders.SERVER_KEY, make_tls_key())


def _keep_certificates(folder: Path, name: str, now: datetime) -> None:
    ca_pem = read_public(folder / folders.CA, limit=folders.MAX_CERTIFICATE_BYTES)
    if ca_pem is None:
        write_secret_once(folder / folders.AUTHORITY_KEY, make_tls_key())
        ca_pem = make_authority(name, read_secret(folder / folders.AUTHORITY_KEY), now=now)
        write_public(folder / folders.CA, ca_pem)
    hosts, _ = folders.read_address(folder)
    path, key = folder / folders.SERVER_CERTIFICATE, read_secret(folder / folders.SERVER_KEY)
    pem = read_public(path, limit=folders.MAX_CERTIFICATE_BYTES)
    if pem and _may_stay(pem, hosts, key, now):
        return
    check_certificate(ca_pem, "federation's authority", "make a new federation.", now=now)
    # The authority's key may be kept elsewhere until it is needed: a new one here would be nobody's authority.
    authority_key = read_secret(folder / folders.AUTHORITY_KEY)
    if not is_certificate_of(ca_pem, authority_key):
        raise ProvisioningError(f"{folder / folders.AUTHORITY_KEY}: is not the key of {folders.CA}; put that back.")
    write_public(path, make_server_certificate(hosts, key, ca_pem=ca_pem, ca_key_pem=authority_key, now=now))


def _may_stay(pem: bytes, hosts: Sequence[str], key: bytes, now: datetime) -> bool:
    is_ending = expires_at(pem) - now <= timedelta(days=RENEW_DAYS)
    return certificate_hosts(pem) == list(hosts) and is_certificate_of(pem, key) and not is_ending


def _write_first_roster(folder: Path, name: str) -> None:
    signing, sealing = folders.read_signing_key(folder), SealingKey(read_secret(folder / folders.SEALING_KEY))
    roster = Roster(name, signing.verifying_key, sealing.public)
    write_public(folder / folders.ROSTER, build_roster(roster, signing))


def _publish(folder: Path, found: Coordinator, sites: Mapping[str, SiteEntry]) -> Coordinator:
    """Sign the roster of these sites, where they are others than before, and write a kit for each.

    The roster comes first, so that no kit brings a version that a later call would give to other sites.
    """
    roster = found.roster
    if dict(sites) != dict(roster.sites):
        roster = replace(roster, sites=dict(sorted(sites.items())), version=roster.version + 1)
        write_public(folder / folders.ROSTER, build_roster(roster, found.signing))
    kits = private_folder(folder / folders.KITS)
    ca_pem, policy = folders.read_file(found.ca_file), default_policy_text()
    for name in roster.sites:
        kit = Kit(name, found.address, ca_pem, roster, policy)
        write_public(_kit_file(folder, name), build_kit(kit, found.signing))
    for stale in set(kits.glob("*.kit.json")) - {_kit_file(folder, name) for name in roster.sites}:
        stale.unlink(missing_ok=True)
    return replace(found, roster=roster)


def _kit_file(folder: Path, site: str) -> Path:
    return folder / folders.KITS / f"{site}.kit.json"
