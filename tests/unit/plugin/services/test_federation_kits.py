import base64
import json
import re
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from federated.errors import ProvisioningError, SenderError
from federated.rounds.envelope import open_reply, open_request, seal_reply, sign_request
from federated.rounds.messages import Reply, Request, Stage, State
from federated.rounds.provisioning import build_kit, parse_kit
from federated.rounds.roster import build_roster, fingerprint
from plugin.services.federation_folders import pin_of
from plugin.services.federation_kits import (
    admit,
    describe_folder,
    init_federation,
    join,
    load_coordinator,
    load_site,
    make_all,
    make_request,
    remove,
)
from plugin.services.federation_tls import certificate_hosts, expires_at
from plugin.services.site_policy import default_policy_text

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECRETS = {"identity.key", "sealing.key", "authority.key", "server.key", "node.key"}


class Federation:
    """A coordinator's folder and its sites', each on its own machine."""

    def __init__(self, root, *sites, name="brain-tumours"):
        self.folder, self.root = root / name, root
        self.keys = init_federation(self.folder, name=name, now=NOW)
        self.kits = {}
        self.add(*sites)

    def home(self, site):
        return self.root / site

    def add(self, *sites):
        requests = [make_request(self.home(site), site=site).read_bytes() for site in sites]
        self.kits = admit(self.folder, requests, now=NOW)

    @property
    def pin(self):
        return fingerprint(self.keys.roster.coordinator)

    def join(self, site, **options):
        given = {"fingerprint": self.pin, "now": NOW} | options
        return join(self.home(site), self.kits[site].read_bytes(), **given)


@pytest.fixture
def federation(tmp_path):
    return Federation(tmp_path, "north", "south")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_site_that_joined_has_all_that_a_round_needs(federation):
    site, coordinator = federation.join("north"), load_coordinator(federation.folder, now=NOW)
    question = Request(site="north", run="run-1", round=1, stage=Stage.JOIN, terms="t")
    asked = open_request(sign_request(question, coordinator.signing), site.roster.coordinator, site.name)
    answer = Reply(site="north", run="run-1", round=1, stage=Stage.JOIN, terms="t", state=State.DONE)
    message = seal_reply(answer, asked, site.signing, site.roster.sealing, federation=site.federation)
    identity = coordinator.roster.identity("north")
    found = open_reply(message, question, identity, coordinator.sealing, federation=coordinator.federation)
    assert found.state is State.DONE
    assert site.address == coordinator.address == "localhost:9443"
    assert site.ca_file.read_bytes() == coordinator.ca_file.read_bytes()
    assert set(site.roster.sites) == {"north", "south"}


def test_the_node_key_that_the_site_shows_is_the_one_in_the_roster(federation):
    site = federation.join("north")
    private = load_ssh_private_key(site.node_key_file.read_bytes(), None)
    listed = site.roster.sites["north"].node_key_pem
    assert private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) == listed


def private_bytes(path):
    """Every form in which a private key could be carried off."""
    data = path.read_bytes()
    if path.name == "sealing.key":
        seeds = [data[:64], data[:32], data[32:64], data[64:]]
    elif path.name == "node.key":
        key = load_ssh_private_key(data, None)
        seeds = [key.private_numbers().private_value.to_bytes(48, "big")]
    elif path.name == "identity.key":
        seeds = [load_pem_private_key(data, None).private_bytes_raw()]
    else:
        key = load_pem_private_key(data, None)
        seeds = [key.private_numbers().private_value.to_bytes(32, "big")]
    return [form for seed in seeds for form in (seed, seed.hex().encode(), *in_base64(seed))]


def in_base64(seed):
    """As base64 shows it after 0, 1 or 2 other bytes, without the characters that its neighbours share."""
    return [base64.b64encode(bytes(before) + seed)[(0, 2, 3)[before] : -4] for before in range(3)]


def test_no_private_byte_leaves_the_folder_of_who_made_it(federation):
    for site in ("north", "south"):
        federation.join(site)
    homes = {"coordinator": federation.folder, "north": federation.home("north"), "south": federation.home("south")}
    secret = {owner: [p for p in folder.rglob("*.key") if p.name in SECRETS] for owner, folder in homes.items()}
    assert {path.name for paths in secret.values() for path in paths} == SECRETS
    for owner, paths in secret.items():
        needles = [form for path in paths for form in private_bytes(path)]
        own_public = [p for p in homes[owner].rglob("*") if p.is_file() and p not in paths]
        others = [p for other, folder in homes.items() if other != owner for p in folder.rglob("*") if p.is_file()]
        assert any(path.name == "request.json" for path in own_public + others)
        assert any(path.name.endswith(".kit.json") for path in own_public + others)
        for path in own_public + others:
            data = path.read_bytes()
            # PEM breaks lines, and a kit holds its roster as text within text.
            plain = re.sub(rb"\\+n|\n", b"", data)
            assert not [form for form in needles if form in data or form in plain], path
    for path in [path for paths in secret.values() for path in paths]:  # The needles do find a key where there is one.
        plain = path.read_bytes().replace(b"\n", b"")
        assert [form for form in private_bytes(path) if form in plain], path


def test_private_keys_are_for_their_owner_only(federation):
    found = list(federation.root.rglob("*.key"))
    assert {path.name for path in found} == SECRETS
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert federation.folder.stat().st_mode & 0o777 == 0o700


def test_running_everything_again_changes_no_key_and_no_version(federation):
    federation.join("north")
    before = {path: path.read_bytes() for path in federation.root.rglob("*.key")}
    version = federation.join("north").roster.version
    init_federation(federation.folder, name="brain-tumours", now=NOW)
    federation.add("north", "south")
    assert federation.join("north").roster.version == version
    assert {path: path.read_bytes() for path in federation.root.rglob("*.key")} == before


def test_an_interrupted_init_goes_on(federation, tmp_path):
    (federation.folder / "roster.json").unlink()
    (federation.folder / "ca.crt").unlink()
    (federation.folder / "server.crt").unlink()
    again = init_federation(federation.folder, name="brain-tumours", now=NOW)
    assert again.roster.coordinator == federation.keys.roster.coordinator
    assert load_coordinator(federation.folder, now=NOW).roster.sites == {}


def test_an_interrupted_request_keeps_the_keys(tmp_path):
    request = make_request(tmp_path / "north", site="north")
    keys = {name: (tmp_path / "north" / name).read_bytes() for name in ("identity.key", "node.key")}
    request.unlink()
    make_request(tmp_path / "north", site="north")
    assert {name: (tmp_path / "north" / name).read_bytes() for name in keys} == keys


def test_everyone_gets_a_new_kit_when_a_site_comes_or_goes(federation):
    assert set(federation.join("north").roster.sites) == {"north", "south"}
    federation.add("west")
    assert set(federation.join("north").roster.sites) == {"north", "south", "west"}
    remove(federation.folder, ["south"], now=NOW)
    assert set(federation.join("north").roster.sites) == {"north", "west"}
    assert not federation.kits["south"].exists()


def test_removing_an_unknown_site_changes_nothing(federation):
    before = contents(federation.folder)
    with pytest.raises(ProvisioningError, match="east"):
        remove(federation.folder, ["north", "east"], now=NOW)
    assert contents(federation.folder) == before


def test_a_removed_site_may_come_back_with_new_keys(federation, tmp_path):
    anew = make_request(tmp_path / "anew", site="north").read_bytes()
    with pytest.raises(ProvisioningError, match=r"other keys.*qfl federation remove"):
        admit(federation.folder, [anew], now=NOW)
    remove(federation.folder, ["north"], now=NOW)
    assert "north" in admit(federation.folder, [anew], now=NOW)


def test_one_bad_request_admits_nobody(federation, tmp_path):
    good = make_request(tmp_path / "west", site="west").read_bytes()
    bad = json.loads(make_request(tmp_path / "east", site="east").read_bytes())
    bad["document"]["site"] = "east-2"
    before = contents(federation.folder)
    with pytest.raises(ProvisioningError, match="east-2"):
        admit(federation.folder, [good, json.dumps(bad).encode()], now=NOW)
    assert contents(federation.folder) == before


def test_admitting_at_the_same_time_loses_nobody(federation, tmp_path):
    names = [f"site-{number}" for number in range(4)]
    requests = [make_request(tmp_path / name, site=name).read_bytes() for name in names]
    threads = [
        threading.Thread(target=admit, args=(federation.folder, [data]), kwargs={"now": NOW}) for data in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load_coordinator(federation.folder, now=NOW).roster.sites) == {"north", "south", *names}


def test_the_first_kit_needs_the_fingerprint(federation):
    with pytest.raises(ProvisioningError, match="--fingerprint"):
        federation.join("north", fingerprint=None)
    with pytest.raises(ProvisioningError, match="64 hexadecimal digits"):
        federation.join("north", fingerprint="abcd")
    with pytest.raises(ProvisioningError, match="another federation, or a swapped roster"):
        federation.join("north", fingerprint="0" * 64)
    assert federation.join("north", fingerprint=federation.pin.upper().replace("-", ":")).name == "north"
    assert federation.join("north", fingerprint=None).name == "north"


def test_a_refused_kit_leaves_nothing(federation):
    before = contents(federation.home("north"))
    with pytest.raises(ProvisioningError):
        federation.join("north", fingerprint="0" * 64)
    assert {path: data for path, data in contents(federation.home("north")).items() if path.name != ".lock"} == {
        path: data for path, data in before.items() if path.name != ".lock"
    }


def test_a_kit_of_another_federation_is_refused(federation, tmp_path):
    federation.join("north")
    other = Federation(tmp_path, name="lungs")
    other.kits = admit(other.folder, [make_request(federation.home("north"), site="north").read_bytes()], now=NOW)
    for options in ({}, {"fingerprint": federation.pin}, {"fingerprint": other.pin}):
        with pytest.raises(ProvisioningError, match="another federation"):
            join(federation.home("north"), other.kits["north"].read_bytes(), now=NOW, **options)


def test_a_kit_of_another_site_is_refused(federation):
    with pytest.raises(ProvisioningError, match="Expected the kit of north, got that of south"):
        join(federation.home("north"), federation.kits["south"].read_bytes(), fingerprint=federation.pin, now=NOW)
    assert not (federation.home("north") / "kit.json").exists()


def test_a_kit_with_other_keys_for_the_site_is_refused(federation, tmp_path):
    """Somebody else was admitted under the site's name."""
    thief = make_request(tmp_path / "thief", site="west").read_bytes()
    federation.kits = admit(federation.folder, [thief], now=NOW)
    make_request(federation.home("west"), site="west")
    with pytest.raises(ProvisioningError, match="this site's own keys"):
        federation.join("west")
    assert not (federation.home("west") / "kit.json").exists()


def test_an_older_kit_is_refused(federation):
    older = federation.kits["north"].read_bytes()
    federation.add("west")
    federation.join("north")
    with pytest.raises(ProvisioningError, match="older kit"):
        join(federation.home("north"), older, now=NOW)


def test_new_keys_of_another_site_have_to_be_confirmed(federation, tmp_path):
    """Else a coordinator could exchange a site's identity and open its masks."""
    federation.join("north")
    remove(federation.folder, ["south"], now=NOW)
    federation.kits = admit(federation.folder, [make_request(tmp_path / "anew", site="south").read_bytes()], now=NOW)
    with pytest.raises(ProvisioningError, match="--renewed south"):
        federation.join("north")
    assert federation.join("north", renewed=["south"]).roster.version == 4


def test_a_kit_that_its_coordinator_did_not_sign_is_refused(federation):
    kit = json.loads(federation.kits["north"].read_bytes())
    kit["document"]["address"] = "attacker.example:9443"
    with pytest.raises(SenderError):
        join(federation.home("north"), json.dumps(kit).encode(), fingerprint=federation.pin, now=NOW)


@pytest.mark.parametrize("name", ["kit.json", "coordinator.pin", "ca.crt", "request.json"])
def test_a_site_whose_files_were_swapped_does_not_start(federation, tmp_path, name):
    federation.join("north")
    other = Federation(tmp_path / "elsewhere", "north", name="lungs")
    other.join("north")
    (federation.home("north") / name).write_bytes((other.home("north") / name).read_bytes())
    with pytest.raises(ProvisioningError):
        load_site(federation.home("north"), now=NOW)


def test_a_coordinator_whose_roster_was_swapped_does_not_start(federation, tmp_path):
    other = Federation(tmp_path, "east", name="lungs")
    (federation.folder / "roster.json").write_bytes((other.folder / "roster.json").read_bytes())
    with pytest.raises(ProvisioningError, match="swapped"):
        load_coordinator(federation.folder, now=NOW)


def test_a_site_that_has_not_joined_is_told_what_to_do(federation):
    with pytest.raises(ProvisioningError, match="qfl federation join"):
        load_site(federation.home("north"), now=NOW)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_private_keys_that_others_can_read_stop_the_process(federation, name):
    federation.join("north")
    home = federation.home("north") if name == "node.key" else federation.folder
    (home / name).chmod(0o644)
    load = load_site if name == "node.key" else load_coordinator
    if name == "authority.key":  # Only init reads it, when it signs a certificate.
        with pytest.raises(ProvisioningError, match="chmod 600"):
            init_federation(home, name="brain-tumours", hosts=["qfl.example"], now=NOW)
        return
    with pytest.raises(ProvisioningError, match="chmod 600"):
        load(home, now=NOW)


@pytest.mark.parametrize("name", ["identity.key", "sealing.key", "node.key"])
def test_a_damaged_private_key_is_named(federation, name):
    federation.join("north")
    home = federation.home("north") if name == "node.key" else federation.folder
    (home / name).write_bytes(b"damaged")
    with pytest.raises(ProvisioningError):
        (load_site if name == "node.key" else load_coordinator)(home, now=NOW)


def test_an_expired_certificate_stops_the_coordinator_and_init_renews_it(federation):
    later = NOW + timedelta(days=398)
    with pytest.raises(ProvisioningError, match=r"expired on 2027-12-03.*qfl federation init"):
        load_coordinator(federation.folder, now=later)
    before = (federation.folder / "server.key").read_bytes()
    init_federation(federation.folder, name="brain-tumours", now=later)
    assert load_coordinator(federation.folder, now=later).federation == "brain-tumours"
    assert (federation.folder / "server.key").read_bytes() == before


def test_a_certificate_is_renewed_a_month_ahead(federation):
    file = federation.folder / "server.crt"
    before = file.read_bytes()
    init_federation(federation.folder, name="brain-tumours", now=NOW + timedelta(days=366))
    assert file.read_bytes() == before
    init_federation(federation.folder, name="brain-tumours", now=NOW + timedelta(days=368))
    assert expires_at(file.read_bytes()) == NOW + timedelta(days=368 + 397)


def test_the_authority_may_be_kept_elsewhere_until_it_signs(federation):
    file = federation.folder / "authority.key"
    kept = file.rename(federation.root / "in-a-safe.pem")
    init_federation(federation.folder, name="brain-tumours", now=NOW)
    load_coordinator(federation.folder, now=NOW)
    with pytest.raises(ProvisioningError, match=r"authority\.key"):
        init_federation(federation.folder, name="brain-tumours", hosts=["qfl.example"], now=NOW)
    assert not file.exists()
    kept.rename(file)
    init_federation(federation.folder, name="brain-tumours", hosts=["qfl.example"], now=NOW)


def test_another_authority_does_not_sign(federation, tmp_path):
    other = Federation(tmp_path, name="lungs")
    (federation.folder / "authority.key").write_bytes((other.folder / "authority.key").read_bytes())
    with pytest.raises(ProvisioningError, match=r"not the key of ca\.crt"):
        init_federation(federation.folder, name="brain-tumours", hosts=["qfl.example"], now=NOW)


def test_a_lost_tls_key_is_made_anew_with_its_certificate(federation):
    before = (federation.folder / "server.crt").read_bytes()
    (federation.folder / "server.key").unlink()
    found = init_federation(federation.folder, name="brain-tumours", now=NOW)
    assert found.certificate_file.read_bytes() != before
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(found.certificate_file, found.key_file)


def test_a_lost_sealing_key_is_not_made_anew(federation):
    """The sites' kits have the old one: nobody could open their answers."""
    (federation.folder / "sealing.key").unlink()
    with pytest.raises(ProvisioningError, match=r"sealing\.key"):
        init_federation(federation.folder, name="brain-tumours", now=NOW)


def test_a_swapped_sealing_key_stops_the_coordinator(federation, tmp_path):
    other = Federation(tmp_path, name="lungs")
    (federation.folder / "sealing.key").write_bytes((other.folder / "sealing.key").read_bytes())
    with pytest.raises(ProvisioningError, match="not the key of roster"):
        load_coordinator(federation.folder, now=NOW)


def test_an_expired_authority_stops_a_site(federation):
    federation.join("north")
    with pytest.raises(ProvisioningError, match="authority expired"):
        load_site(federation.home("north"), now=NOW + timedelta(days=3651))


def test_an_expired_authority_signs_nothing(federation):
    with pytest.raises(ProvisioningError, match="authority expired"):
        init_federation(federation.folder, name="brain-tumours", now=NOW + timedelta(days=3651))


def test_another_address_comes_with_the_next_kit(federation):
    federation.join("north")
    moved = init_federation(
        federation.folder, name="brain-tumours", hosts=["QFL.example", "10.0.0.7"], port=443, now=NOW
    )
    assert moved.address == "qfl.example:443"
    assert certificate_hosts(moved.certificate_file.read_bytes()) == ["qfl.example", "10.0.0.7"]
    assert federation.join("north").address == "qfl.example:443"
    kept = init_federation(federation.folder, name="brain-tumours", now=NOW)
    assert (kept.hosts, kept.port) == (("qfl.example", "10.0.0.7"), 443)


@pytest.mark.parametrize("name", ["", "../x", "a" * 61, "a\nb"], ids=repr)
def test_a_federation_has_a_plain_name(tmp_path, name):
    with pytest.raises(ProvisioningError, match="federation's name"):
        init_federation(tmp_path / "f", name=name, now=NOW)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("name", ["", "North", "a" * 41, "../x", "a b"], ids=repr)
def test_a_site_has_a_plain_name(tmp_path, name):
    with pytest.raises(ProvisioningError, match="a-z, 0-9"):
        make_request(tmp_path / "s", site=name)
    assert not (tmp_path / "s").exists()


def test_a_folder_belongs_to_one_party(federation):
    with pytest.raises(ProvisioningError, match="choose another"):
        init_federation(federation.folder, name="lungs", now=NOW)
    with pytest.raises(ProvisioningError, match="site's folder"):
        init_federation(federation.home("north"), name="lungs", now=NOW)
    with pytest.raises(ProvisioningError, match="coordinator's folder"):
        make_request(federation.folder, site="north")
    with pytest.raises(ProvisioningError, match="belongs to north"):
        make_request(federation.home("north"), site="south")


def test_a_site_keeps_the_policy_that_it_has_written(federation):
    site = federation.join("north")
    assert site.policy_file.read_text() == default_policy_text()
    site.policy_file.write_text("its own")
    assert federation.join("north").policy_file.read_text() == "its own"


def test_a_folder_tells_what_it_is(federation):
    assert describe_folder(federation.home("north"), now=NOW)["joined"] is False
    federation.join("north")
    site, coordinator = (describe_folder(each, now=NOW) for each in (federation.home("north"), federation.folder))
    assert site["coordinator"] == coordinator["coordinator"] == federation.pin
    assert site["sites"] == coordinator["sites"]
    assert {each["name"]: each["fingerprint"] for each in site["sites"]}["north"] == site["fingerprint"]
    assert coordinator["certificates"]["server"] == {"expires": "2027-12-03T00:00:00+00:00", "days_left": 397}
    later = describe_folder(federation.folder, now=NOW + timedelta(days=400))
    assert later["certificates"]["server"]["days_left"] < 0


def test_make_all_makes_a_federation_on_one_machine(tmp_path):
    made = make_all(tmp_path / "trial", ["site-1", "site-2"], name="trial", port=18443, now=NOW)
    coordinator = load_coordinator(made.coordinator, now=NOW)
    sites = {name: load_site(folder, now=NOW) for name, folder in made.sites.items()}
    assert {name: site.address for name, site in sites.items()} == dict.fromkeys(
        ("site-1", "site-2"), "localhost:18443"
    )
    assert {pin_of(site.roster) for site in sites.values()} == {pin_of(coordinator.roster)}
    assert len({site.node_key_file.read_bytes() for site in sites.values()}) == 2
    again = make_all(tmp_path / "trial", ["site-1", "site-2", "site-3"], name="trial", port=18444, now=NOW)
    assert load_site(again.sites["site-3"], now=NOW).address == "localhost:18444"
    assert load_site(again.sites["site-1"], now=NOW).signing.verifying_key == sites["site-1"].signing.verifying_key


def test_a_coordinator_cannot_serve_sites_a_roster_that_its_key_did_not_sign(federation):
    """The kit is signed with the pinned key, the roster in it is of a version that a stolen file holds."""
    site, keys = federation.join("north"), load_coordinator(federation.folder, now=NOW)
    kit = parse_kit(federation.kits["north"].read_bytes())
    forged = replace(kit, roster=replace(kit.roster, version=9))
    document = json.loads(build_kit(forged, keys.signing))
    roster = json.loads(build_roster(forged.roster, keys.signing))
    roster["document"]["version"] = 10
    document["document"]["roster"] = json.dumps(roster)
    with pytest.raises(SenderError):
        join(federation.home("north"), json.dumps(document).encode(), now=NOW)
    assert load_site(federation.home("north"), now=NOW).roster == site.roster
