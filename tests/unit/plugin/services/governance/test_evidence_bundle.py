"""The bundle for an external audit: it is verified with the first key alone, and no byte of it can be changed."""

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governance import sealed_keys
from governance.canonical import canonical_bytes
from governance.errors import ReportError
from governance.evidence import verification as names
from governance.evidence.archive import read_archive, write_archive
from governance.evidence.findings import BundleFault, BundleReport
from governance.evidence.manifest import MANIFEST, SIGNATURE, mark_of, parse_manifest
from governance.evidence.verification import parse_keys, verify_evidence
from governance.ledger.cosignature import CosignerSigner
from governance.policy import Act
from plugin.services.governance.evidence_bundle import VERIFIER, build_bundle
from plugin.services.governance.officers import act_entry, sign_act
from plugin.services.governance.policy_change import change_policy
from plugin.services.governance.policy_text import default_policy_text
from plugin.services.governance.reports import issue_report, present_period
from tests.fakes.reporting_site import ADA, EVE, ReportingSite, full_site, make_template
from tests.pdf_text import pdf_text


@pytest.fixture(scope="module")
def cheap_keys() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(sealed_keys, "WORK_FACTOR", 2)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cheap_keys: None) -> ReportingSite:
    folder = tmp_path_factory.mktemp("bundle")
    site = full_site(make_template(folder / "template"), folder / "site")
    issue_report(site.desk, present_period(site.desk))
    return site


@pytest.fixture(scope="module")
def bundle(site: ReportingSite) -> bytes:
    return build_bundle(site.desk)


@pytest.fixture(scope="module")
def key(site: ReportingSite) -> str:
    return site.first_key.read_text()


def check(data: bytes, key: str) -> BundleReport:
    return verify_evidence(data, parse_keys(key))


def faults(data: bytes, key: str) -> set[tuple[str, str]]:
    return {(str(each.fault), each.file) for each in check(data, key).findings}


def files_of(data: bytes) -> dict[str, bytes]:
    found, wrong = read_archive(data)
    assert not wrong
    return dict(found)


def edited(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    files = files_of(data)
    return write_archive({**files, name: change(files[name])})


def resigned(data: bytes, changes: Mapping[str, bytes | None], site: ReportingSite) -> bytes:
    """What somebody with the log's key can make."""
    from governance.evidence.manifest import PURPOSE, Manifest, write_signature

    files = {**files_of(data), **changes}
    kept = {name: content for name, content in files.items() if content is not None}
    old = parse_manifest(kept.pop(MANIFEST))
    kept.pop(SIGNATURE)
    marks = {name: mark_of(content) for name, content in kept.items()}
    manifest = Manifest(old.origin, old.size, mark_of(kept[names.REPORT]).sha256, old.at, marks).to_bytes()
    public, signature = site.services.governance.ledger.sign_statement(manifest, purpose=PURPOSE)
    return write_archive({**kept, MANIFEST: manifest, SIGNATURE: write_signature(public, signature)})


def test_a_bundle_is_intact_and_says_whose_it_is(bundle: bytes, key: str) -> None:
    found = check(bundle, key)
    assert found.is_intact, found.story()
    assert (found.organisation, found.origin) == ("St. Anna <Hospital> & Söhne", "qfl.example/ledger")
    assert found.share.startswith("26 of 39")
    assert found.entries == found.size
    assert json.loads(json.dumps(found.to_json()))["intact"] is True
    assert {names.LEDGER, names.REPORT, names.HTML, names.PDF, names.POLICY, names.ACTS, VERIFIER} <= set(
        files_of(bundle)
    )
    assert any(name.startswith(names.AUDITS) for name in files_of(bundle))


def test_the_same_files_make_the_same_archive(bundle: bytes) -> None:
    files = files_of(bundle)
    assert write_archive(dict(reversed(files.items()))) == bundle


def test_no_patient_is_in_it(bundle: bytes) -> None:
    told = pdf_text(files_of(bundle)[names.PDF])
    assert "St. Anna <Hospital>" in told
    for secret in (
        b"Meier",
        b"MRN-004711",
        b"1.2.826.0.1.4711",
        b"1962-03-04",
        b"19620304",
        b"ACC-77",
        b"eve.ethics",
        b"ron.reader",
    ):
        assert secret not in bundle
        assert secret.decode() not in told


def test_another_logs_key_is_refused(bundle: bytes) -> None:
    other = CosignerSigner.generate("qfl.example/ledger").public.vkey
    assert any(kind == "ledger" for kind, _ in faults(bundle, other))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_of_any_file_is_named(bundle: bytes, key: str, data: st.DataObject) -> None:
    files = files_of(bundle)
    name = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    change = data.draw(st.integers(1, 255))
    content = bytearray(files[name])
    content[place] ^= change
    named = {file for _, file in faults(write_archive({**files, name: bytes(content)}), key)}
    assert named & ({name, SIGNATURE} if name == MANIFEST else {name})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_of_the_archive_is_found(bundle: bytes, key: str, data: st.DataObject) -> None:
    # Within what describes the files too, where no file is changed.
    where = data.draw(st.sampled_from(["anywhere", "directory"]))
    start = 0 if where == "anywhere" else bundle.rindex(b"PK\x01\x02", 0, len(bundle)) - 500
    place = data.draw(st.integers(start, len(bundle) - 1))
    changed = bytearray(bundle)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not check(bytes(changed), key).is_intact


def test_files_cannot_be_left_out_added_or_exchanged(bundle: bytes, key: str) -> None:
    files = files_of(bundle)
    for name in files:
        less = {each: content for each, content in files.items() if each != name}
        assert ("file-missing", name) in faults(write_archive(less), key)
    more = write_archive({**files, "report/other.html": b"<p>Trust me.</p>"})
    assert ("file-not-in-manifest", "report/other.html") in faults(more, key)
    exchanged = write_archive({**files, names.HTML: files[names.PDF], names.PDF: files[names.HTML]})
    assert {("file-changed", names.HTML), ("file-changed", names.PDF)} <= faults(exchanged, key)


def test_cut_off_empty_and_other_archives_are_refused(bundle: bytes, key: str) -> None:
    for data in (b"", b"PK\x03\x04", bundle[: len(bundle) // 2], b"x" * 1000, bundle + b"more"):
        assert not check(data, key).is_intact


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, compression in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../b", "C:\\x", "a//b", "a/b/c/d/e", "ä.txt", "a" * 200, ".hidden"]
)
def test_names_that_lead_elsewhere_are_refused_by_name(name: str, key: str) -> None:
    found = check(zipped((name, b"x", zipfile.ZIP_STORED)), key)
    assert any(each.fault is BundleFault.REFUSED and each.file == name[:160] for each in found.findings)
    with pytest.raises(ReportError):
        write_archive({name: b"x"})


def test_a_bomb_is_refused_unread(key: str) -> None:
    bomb = zipped(("report/report.html", bytes(200_000_000), zipfile.ZIP_DEFLATED))
    found = check(bomb, key)
    assert any(each.fault is BundleFault.REFUSED and "compressed" in each.message for each in found.findings)


def test_two_files_of_a_name_are_refused(key: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a.txt", b"1", zipfile.ZIP_STORED), ("a.txt", b"2", zipfile.ZIP_STORED))
    assert any(each.file == "a.txt" and "second" in each.message for each in check(data, key).findings)


def test_a_size_that_lies_is_found(key: str) -> None:
    data = bytearray(zipped(("a.txt", b"hello", zipfile.ZIP_STORED)))
    for field in (18, 22):
        data[field : field + 4] = struct.pack("<I", 3_000_000_000)
    assert not check(bytes(data), key).is_intact


# What somebody with the log's key could make, and what still gives them away: the log's own entries.


def test_a_report_that_was_not_issued_is_refused_though_signed(bundle: bytes, key: str, site: ReportingSite) -> None:
    document = json.loads(files_of(bundle)[names.REPORT])
    for row in document["controls"]:
        if row["status"] == "attestation-missing":
            row["status"] = "passed"
    found = faults(resigned(bundle, {names.REPORT: canonical_bytes(document)}, site), key)
    assert ("report-wrong", names.REPORT) in found
    assert ("status-does-not-follow", names.REPORT) in found


def test_evidence_that_names_another_entry_is_refused(bundle: bytes, key: str, site: ReportingSite) -> None:
    document = json.loads(files_of(bundle)[names.REPORT])
    row = next(each for each in document["controls"] if each["id"] == "DEC-2")
    row["entry"]["index"] -= 1
    assert ("proof-wrong", names.REPORT) in faults(
        resigned(bundle, {names.REPORT: canonical_bytes(document)}, site), key
    )


def test_other_pages_than_the_issued_ones_are_refused_though_signed(
    bundle: bytes, key: str, site: ReportingSite
) -> None:
    assert faults(resigned(bundle, {names.HTML: b"<p>All is well.</p>"}, site), key) == {("report-wrong", names.HTML)}


def test_a_better_audit_and_another_policy_are_refused_though_signed(
    bundle: bytes, key: str, site: ReportingSite
) -> None:
    files = files_of(bundle)
    audit = next(name for name in files if name.startswith(names.AUDITS))
    assert faults(resigned(bundle, {audit: files[audit].replace(b"passed", b"PASSED")}, site), key) == {
        ("audit-wrong", audit)
    }
    policy = files[names.POLICY].replace(b'"bias_threshold":"0.1"', b'"bias_threshold":"0.9"')
    assert ("policy-wrong", names.POLICY) in faults(resigned(bundle, {names.POLICY: policy}, site), key)


def test_acts_that_are_forged_or_left_out_are_refused_though_signed(
    bundle: bytes, key: str, site: ReportingSite
) -> None:
    acts = json.loads(files_of(bundle)[names.ACTS])
    assert len(acts) == 6
    acts[2]["signature"] = acts[3]["signature"]
    forged = resigned(bundle, {names.ACTS: canonical_bytes(acts)}, site)
    assert faults(forged, key) == {("act-wrong", names.ACTS)}
    assert "did not sign" in check(forged, key).findings[0].message
    less = resigned(bundle, {names.ACTS: canonical_bytes(acts[:2] + acts[3:])}, site)
    assert "is not in the bundle" in check(less, key).findings[0].message
    other = [{**acts[0], "document": acts[0]["document"].replace("enrol", "erase")}]
    assert any(
        "no entry" in each.message
        for each in check(resigned(bundle, {names.ACTS: canonical_bytes(other)}, site), key).findings
    )


def test_a_part_of_the_log_is_enough(site: ReportingSite, key: str) -> None:
    part = build_bundle(site.desk, first=30)
    found = check(part, key)
    assert found.is_intact, found.story()
    assert found.entries == found.size - 30
    proofs = [name for name in files_of(part) if name.startswith(names.PROOFS)]
    assert ("proof-wrong", names.REPORT) in faults(resigned(part, dict.fromkeys(proofs), site), key)


def test_a_changed_policy_asks_for_a_new_report(site: ReportingSite, tmp_path: Path, cheap_keys: None) -> None:
    import shutil

    from tests.fakes.reporting_site import open_site

    copy = open_site(site.settings.data_dir, tmp_path / "copy", now=site.clock.now)
    text = (
        default_policy_text()
        .replace("change-policy: 2", "change-policy: 1")
        .replace("minimum_sites: 3", "minimum_sites: 4")
    )
    people = copy.services.store
    facts = {"policy": "0" * 64}
    act = sign_act(
        copy.services.governance, people, EVE.username, EVE.passphrase, Act.CHANGE_POLICY, "x", facts, copy.clock()
    )
    copy.services.governance.store.add_act(act, entries=[act_entry(copy.services.governance, act)])
    first = change_policy(copy.services, text=text, by=EVE)
    assert not first.is_done
    from dataclasses import replace

    from plugin.services.governance import officers
    from plugin.services.values import Role

    user = people.get_user("amy.auditor")
    assert user is not None
    people.save_user(replace(user, role=Role.ETHICS_OFFICER), now=copy.clock())
    officers.enrol(
        copy.services.governance,
        people,
        username="amy.auditor",
        passphrase="another passphrase",
        by=ADA,
        at=copy.clock(),
    )
    copy.wait()
    done = change_policy(copy.services, text=text, by=type(EVE)("amy.auditor", "another passphrase"))
    assert done.is_done
    with pytest.raises(ReportError, match="policy was changed"):
        build_bundle(copy.desk)
    copy.wait()
    issue_report(copy.desk, present_period(copy.desk))
    found = check(build_bundle(copy.desk), site.first_key.read_text())
    assert found.is_intact, found.story()
    shutil.rmtree(tmp_path / "copy")


def test_the_logs_key_may_be_rotated(site: ReportingSite, tmp_path: Path) -> None:
    from tests.fakes.reporting_site import open_site

    copy = open_site(site.settings.data_dir, tmp_path / "copy", now=site.clock.now)
    copy.wait()
    copy.services.governance.ledger.rotate_key()
    found = check(build_bundle(copy.desk), site.first_key.read_text())
    assert found.is_intact, found.story()


def test_what_cannot_be_bundled_is_said(site: ReportingSite) -> None:
    with pytest.raises(ReportError, match="no such report"):
        build_bundle(site.desk, digest="f" * 64)


def test_the_verifier_in_it_runs_with_nothing_but_cryptography(bundle: bytes, key: str, tmp_path: Path) -> None:
    """As on a third party's machine: no venv, no site-packages, only the libraries of `cryptography`."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for name in ("cryptography", "cffi", "pycparser", "_cffi_backend"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (libraries / source.name).symlink_to(source)
    (tmp_path / "verify.pyz").write_bytes(files_of(bundle)[VERIFIER])
    (tmp_path / "bundle.zip").write_bytes(bundle)
    (tmp_path / "key").write_text(key)
    start = (
        f"import sys, runpy; sys.path.append({str(libraries)!r}); sys.argv = ['verify.pyz', *sys.argv[1:]];"
        "runpy.run_path('verify.pyz', run_name='__main__')"
    )

    def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "-c", start, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    good = verify("bundle.zip", "--first-key", "key", "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["intact"] is True
    (tmp_path / "bad.zip").write_bytes(edited(bundle, names.HTML, lambda page: page.replace(b"failed", b"passed", 1)))
    bad = verify("bad.zip", "--first-key", "key")
    assert bad.returncode == 1
    assert f"WRONG file-changed: {names.HTML}" in bad.stdout
    assert verify("nowhere.zip").returncode == 2
    (tmp_path / "key").write_text("no key")
    assert verify("bundle.zip", "--first-key", "key").returncode == 2
