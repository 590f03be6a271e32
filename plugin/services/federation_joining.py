"""A site's side of provisioning: its keys, its signing request, and the kit that comes back."""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from federated.errors import ProvisioningError
from federated.rounds.provisioning import Kit, build_request, make_node_key, parse_kit
from federated.rounds.roster import Roster, check_site_name
from federated.rounds.roster import fingerprint as key_fingerprint
from governance.signatures import SigningKey
from plugin.services import federation_folders as folders
from plugin.services.federation_folders import Site, load_site
from plugin.services.federation_tls import check_certificate
from plugin.services.secret_files import (
    check_folder,
    held,
    private_folder,
    read_secret,
    write_public,
    write_secret_once,
)


def make_request(folder: Path, *, site: str) -> Path:
    """Make a site's keys, where they are missing, and its signing request.

    Args:
        folder: Of the site; it is made if it is not there.
        site: Its name.

    Returns:
        The request's file, for the coordinator.

    Raises:
        ProvisioningError: The name is none, or the folder belongs to another site or a coordinator.
    """
    check_site_name(site)
    private_folder(folder)
    with held(folder):
        if (folder / folders.SEALING_KEY).exists():
            raise ProvisioningError(f"{folder}: is a coordinator's folder; choose another one for the site.")
        request = folder / folders.REQUEST
        if request.exists():
            own = folders.own_entry(folder)
            if own.name != site:
                raise ProvisioningError(f"{folder}: belongs to {own.name}; choose another folder for {site}.")
            return request
        write_secret_once(folder / folders.IDENTITY_KEY, SigningKey.generate().to_pem())
        write_secret_once(folder / folders.NODE_KEY, make_node_key())
        write_public(
            request, build_request(site, folders.read_signing_key(folder), read_secret(folder / folders.NODE_KEY))
        )
        return request


def join(
    folder: Path,
    kit_bytes: bytes,
    *,
    fingerprint: str | None = None,
    renewed: Collection[str] = (),
    now: datetime | None = None,
) -> Site:
    """Check a kit and install it at its site.

    Args:
        folder: Of the site.
        kit_bytes: That the coordinator sent.
        fingerprint: Of the coordinator's key, as the site's people have compared it; needed the first time, when it is
            pinned.
        renewed: Other sites whose keys are known to have changed.
        now: The present unless given.

    Raises:
        ProvisioningError: The kit is malformed, of another federation or coordinator, for another site, with other keys
            for this site or for one that it knew, older than the installed one, or its authority has expired; or no
            fingerprint was given the first time.
        SenderError: The coordinator did not sign it.
    """
    kit = parse_kit(kit_bytes)
    check_folder(folder)
    with held(folder):
        own = folders.own_entry(folder)
        pin = folders.read_pin(folder) or (folders.parse_pin(fingerprint) if fingerprint else None)
        if pin is None:
            raise ProvisioningError(
                f"{folder}: expected the fingerprint of the coordinator's key with the first kit; ask the coordinator "
                "for it on another way than the kit came, and give it with --fingerprint."
            )
        folders.check_pin(kit, folders.parse_pin(fingerprint) if fingerprint else pin)
        folders.check_pin(kit, pin)
        folders.check_own(kit, own)
        check_certificate(kit.ca_pem, "kit's authority", "ask for a new kit.", now=now or datetime.now(UTC))
        installed = folders.installed_kit(folder)
        if installed:
            _check_successor(installed.roster, kit.roster, renewed)
        _install(folder, kit, kit_bytes, pin)
        return load_site(folder, now=now)


def _check_successor(old: Roster, new: Roster, renewed: Collection[str]) -> None:
    if new.federation != old.federation:
        raise ProvisioningError(f"Expected a kit of the federation {old.federation!r}, got one of {new.federation!r}.")
    if new.version < old.version:
        raise ProvisioningError(
            f"Expected a roster of version {old.version} or later, got version {new.version}: an older kit."
        )
    for name, entry in old.sites.items():
        if name not in renewed and new.sites.get(name, entry) != entry:
            raise ProvisioningError(
                f"{name}: expected the keys that this site knows, got others. If {name} says that it made new ones "
                f"(fingerprint {key_fingerprint(new.sites[name].identity)}), join with --renewed {name}."
            )


def _install(folder: Path, kit: Kit, kit_bytes: bytes, pin: str) -> None:
    """The kit comes last: with it, the site has joined."""
    write_public(folder / folders.PIN, f"{pin}\n".encode())
    if kit.policy and not (folder / folders.POLICY).exists():
        write_public(folder / folders.POLICY, kit.policy.encode())
    write_public(folder / folders.CA, kit.ca_pem)
    write_public(folder / folders.KIT, kit_bytes)
