"""How a federation comes together: init, request, admit, join, remove. Each may run again without harm.

Private keys are made where they stay: a site's in the site's folder, the coordinator's in the coordinator's. Requests
and kits carry public halves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federated.rounds.provisioning import MAX_KIT_BYTES, parse_kit, parse_request
from federated.rounds.roster import Roster, fingerprint
from plugin.services import federation_folders as folders
from plugin.services.federation_admission import DEFAULT_HOSTS, DEFAULT_PORT, admit, init_federation, remove
from plugin.services.federation_folders import Coordinator, Site, load_coordinator, load_site
from plugin.services.federation_joining import join, make_request
from plugin.services.federation_tls import expires_at
from plugin.services.secret_files import check_folder, private_folder

__all__ = [
    "DEFAULT_HOSTS",
    "DEFAULT_PORT",
    "Coordinator",
    "Site",
    "admit",
    "describe_folder",
    "fingerprint_of_kit",
    "fingerprint_of_request",
    "init_federation",
    "is_pinned",
    "join",
    "key_fingerprint",
    "load_coordinator",
    "load_site",
    "make_all",
    "make_request",
    "read_bytes",
    "remove",
]


@dataclass(frozen=True)
class Provisioned:
    """The folders that make_all made.

    Attributes:
        sites: A folder each, by name.
    """

    coordinator: Path
    sites: Mapping[str, Path]


def describe_folder(folder: Path, *, now: datetime | None = None) -> dict[str, Any]:
    """What people ask about a coordinator's or a site's folder, as JSON takes it; expired or not.

    Raises:
        ProvisioningError: It is neither, or something in it is damaged or open to others.
        SenderError: Roster or kit are not signed as they should be.
    """
    when = now or datetime.now(UTC)
    check_folder(folder)
    if (folder / folders.SEALING_KEY).exists():
        found = folders.read_coordinator(folder)
        certificates = {
            "authority": folders.read_file(found.ca_file),
            "server": folders.read_file(found.certificate_file),
        }
        return {
            "role": "coordinator",
            "address": found.address,
            "hosts": list(found.hosts),
            "certificates": {name: _expiry(pem, when) for name, pem in certificates.items()},
            **_describe_roster(found.roster),
        }
    own, kit = folders.own_entry(folder), folders.installed_kit(folder)
    document = {"role": "site", "site": own.name, "fingerprint": fingerprint(own.identity), "joined": kit is not None}
    if kit is None:
        return document
    certificates = {"authority": kit.ca_pem}
    return {
        **document,
        "address": kit.address,
        "certificates": {name: _expiry(pem, when) for name, pem in certificates.items()},
        **_describe_roster(kit.roster),
    }


def key_fingerprint(roster: Roster) -> str:
    """Of the coordinator's key, as people compare it."""
    return fingerprint(roster.coordinator)


def fingerprint_of_request(data: bytes) -> tuple[str, str]:
    """Name and key fingerprint of the site that wrote a request.

    Raises:
        ProvisioningError: It is none, or its proof fails.
    """
    entry = parse_request(data)
    return entry.name, fingerprint(entry.identity)


def fingerprint_of_kit(data: bytes) -> tuple[str, str]:
    """Name of a kit's federation and its coordinator's fingerprint, for a person to compare.

    Raises:
        ProvisioningError: It is no kit.
        SenderError: Its coordinator did not sign it.
    """
    roster = parse_kit(data).roster
    return roster.federation, fingerprint(roster.coordinator)


def is_pinned(folder: Path) -> bool:
    """Whether a site has pinned its coordinator.

    Raises:
        ProvisioningError: What it has pinned is damaged.
    """
    return folders.read_pin(folder) is not None


def read_bytes(path: Path) -> bytes:
    """A request or kit that somebody sent.

    Raises:
        ProvisioningError: It cannot be read, or is longer than any kit.
    """
    return folders.read_file(path, MAX_KIT_BYTES)


def make_all(
    folder: Path,
    sites: Sequence[str],
    *,
    name: str = "local",
    hosts: Sequence[str] = DEFAULT_HOSTS,
    port: int = DEFAULT_PORT,
    now: datetime | None = None,
) -> Provisioned:
    """Do all of it on one machine, for a trial: FOLDER/coordinator and FOLDER/sites/NAME, each with its own keys.

    Sites that an earlier call made and this one does not name stay in the roster.

    Args:
        folder: It is made if it is not there.
        sites: Their names.
        name: Of the federation.
        hosts: Of the coordinator.
        port: Of its TLS gateway.
        now: The present unless given.

    Raises:
        ProvisioningError: As init_federation, make_request, admit and join.
    """
    coordinator = private_folder(folder) / "coordinator"
    found = init_federation(coordinator, name=name, hosts=hosts, port=port, now=now)
    homes = {site: folder / "sites" / site for site in sites}
    requests = [make_request(home, site=site).read_bytes() for site, home in homes.items()]
    kits = admit(coordinator, requests, now=now)
    for site, home in homes.items():
        join(home, kits[site].read_bytes(), fingerprint=folders.pin_of(found.roster), now=now)
    return Provisioned(coordinator, homes)


def _describe_roster(roster: Roster) -> dict[str, Any]:
    return {
        "federation": roster.federation,
        "version": roster.version,
        "coordinator": fingerprint(roster.coordinator),
        "sites": [{"name": name, "fingerprint": fingerprint(entry.identity)} for name, entry in roster.sites.items()],
    }


def _expiry(pem: bytes, now: datetime) -> dict[str, Any]:
    end = expires_at(pem)
    return {"expires": end.isoformat(), "days_left": (end - now).days}
