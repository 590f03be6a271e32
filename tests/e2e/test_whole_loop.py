"""The main job against peers that are not ours: from the notification to SEG, SR and the report."""

import re
from collections.abc import Sequence

import httpx
import pytest

from sandbox.patients import Visit
from tests.e2e.conftest import Peers
from tests.servers.fault_proxy import Fault
from tests.servers.processes import wait_until
from tests.servers.product import PASSWORD, Product

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]
PUBLISHED = ("awaiting-review",)


def told_once(peers: Peers, visit: Visit) -> None:
    """Each result exists exactly once."""
    assert {modality: len(uids) for modality, uids in peers.results(visit).items()} == {"SEG": 1, "SR": 1}
    (report,) = peers.reports(visit)
    reference = f"DiagnosticReport/{report['id']}"
    provenances = [
        one
        for one in peers.medplum.resources("Provenance")
        if reference in {target["reference"] for target in one["target"]}
    ]
    assert len(provenances) == 1
    series = [
        one["modality"]["code"]
        for study in peers.medplum.resources("ImagingStudy")
        for one in study["series"]
        if any(visit.study_instance_uid in identifier["value"] for identifier in study["identifier"])
    ]
    assert sorted(series) == ["MR", "MR", "MR", "MR", "SEG", "SR"]


SUBSCRIPTIONS = [
    pytest.param(
        ["--topic", "http://qfl.example/topic/imaging-study-available", "--payload", level], id=f"topic-{level}"
    )
    for level in ("empty", "id-only", "full-resource")
] + [pytest.param(["--payload", level], id=f"rest-hook-{level}") for level in ("empty", "full-resource")]


@pytest.mark.parametrize("options", SUBSCRIPTIONS)
def test_a_notification_becomes_seg_sr_and_report(peers: Peers, qfl: Product, options: Sequence[str]) -> None:
    assert "Subscription/" in qfl.run("subscriptions", "register", "mri", *options).stdout
    wait_until(lambda: "active" in qfl.run("subscriptions", "check", check=False).stdout, 30)
    visit = peers.scan()
    peers.announce(visit)
    done = qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)
    assert {one["kind"]: one["state"] for one in done["deliveries"]} == {"seg": "sent", "sr": "sent", "report": "sent"}
    (report,) = peers.reports(visit)
    assert report["status"] == "preliminary"
    assert {form["contentType"] for form in report["presentedForm"]} == {"text/html", "application/pdf"}


def test_a_radiologist_accepts_in_the_browser_and_the_report_is_final(peers: Peers, busy_qfl: Product) -> None:
    visit = peers.scan()
    peers.announce(visit)
    assert busy_qfl.run("analyse", visit.study_instance_uid).returncode == 0
    (done,) = busy_qfl.analyses(visit.study_instance_uid)
    with httpx.Client(base_url=busy_qfl.url, trust_env=False, follow_redirects=True, timeout=30) as browser:
        page = browser.get("/sign-in")
        browser.post(
            "/sign-in", data={"csrf_token": csrf(page.text), "username": "dr.house", "password": PASSWORD}
        ).raise_for_status()
        page = browser.get(f"/analyses/{done['id']}")
        assert "Suspected intra-axial tumour" in page.text
        answer = browser.post(
            f"/analyses/{done['id']}/review",
            data={"csrf_token": csrf(page.text), "decision": "accept", "comment": "Agreed."},
        )
        answer.raise_for_status()
        assert visit.patient.family_name in browser.get("/", params={"text": visit.patient.family_name}).text
    wait_until(lambda: peers.reports(visit)[0]["status"] == "final", 60, lambda: busy_qfl.log("worker"))
    assert {one["status"] for one in peers.medplum.resources("Observation")} == {"final"}
    assert busy_qfl.analyses(visit.study_instance_uid)[0]["state"] == "accepted"
    for process in ("web", "worker", "timer"):
        log = (busy_qfl.folder / f"{process}.log").read_text()
        assert visit.patient.family_name not in log
        assert visit.patient.patient_id not in log


def csrf(html: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', html)
    assert found
    return found.group(1)


def test_repeated_notifications_make_one_result(peers: Peers, qfl: Product) -> None:
    qfl.run("subscriptions", "register", "mri", "--topic", "http://qfl.example/topic/imaging-study-available")
    peers.medplum.disturb_delivery(repeat=3)
    visit = peers.scan()
    peers.announce(visit)
    qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)
    results = [one for one in qfl.analyses(visit.study_instance_uid) if one["state"] != "duplicate"]
    assert len(results) == 1


def test_a_lost_notification_is_recovered(peers: Peers, qfl: Product) -> None:
    qfl.run("subscriptions", "register", "mri", "--topic", "http://qfl.example/topic/imaging-study-available")
    peers.medplum.disturb_delivery(drop=1)
    lost, next_one = peers.scan(), peers.scan()
    peers.announce(lost)
    peers.announce(next_one)
    for visit in (lost, next_one):
        qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
        told_once(peers, visit)


# Each step is held up at the peer that it talks to, so that the kill falls into its middle.
STEPS = [
    pytest.param("resolve", "ehr", r"(GET|POST) /fhir/ImagingStudy", id="resolve"),
    pytest.param("select", "pacs", r"GET .*/studies/[0-9.]+/series", id="select"),
    pytest.param("fetch", "pacs", r"GET .*/series/[0-9.]+$", id="fetch"),
    pytest.param("segment", None, "", id="segment"),
    pytest.param("build", None, "", id="build"),
    pytest.param("deliver", "pacs", r"POST .*/studies", id="stow"),
    pytest.param("deliver", "ehr", r"POST /fhir/?$", id="transaction"),
]


@pytest.mark.parametrize(("step", "peer", "pattern"), STEPS)
def test_a_killed_worker_loses_nothing(
    peers: Peers, busy_qfl: Product, step: str, peer: str | None, pattern: str
) -> None:
    visit = peers.scan()
    peers.announce(visit)
    if peer:
        proxy = peers.ehr_proxy if peer == "ehr" else peers.pacs_proxy
        fault = proxy.add(Fault(pattern, delay_s=2.0, count=1))
    busy_qfl.run("analyse", visit.study_instance_uid, "--no-wait")

    def in_the_middle() -> bool:
        if peer:
            return fault.count == 0
        return any(one["step"] == step for one in busy_qfl.analyses(visit.study_instance_uid))

    wait_until(in_the_middle, 60, lambda: busy_qfl.log("worker"))
    busy_qfl.kill("worker")
    busy_qfl.start("worker")
    done = busy_qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)
    attempts = max(one["attempt"] for one in done["steps"])
    if step == "deliver":
        assert attempts == 1, "after the result is stored there is no second inference"
    else:
        # On a busy machine the second worker's short lease may run out as well.
        assert attempts >= 2


@pytest.mark.parametrize("peer", ["pacs", "ehr"])
def test_a_peer_away_at_write_back_loses_nothing(peers: Peers, busy_qfl: Product, peer: str) -> None:
    visit = peers.scan()
    peers.announce(visit)
    proxy, pattern = (peers.pacs_proxy, r"POST .*/studies") if peer == "pacs" else (peers.ehr_proxy, r"POST /fhir/?$")
    fault = proxy.add(Fault(pattern, status=503))
    busy_qfl.run("analyse", visit.study_instance_uid, "--no-wait")
    busy_qfl.wait_for(visit.study_instance_uid, "publishing")
    wait_until(lambda: len([one for one in proxy.seen if re.search(pattern, one)]) >= 2, 60)
    assert peers.reports(visit) == []
    fault.count = 0
    done = busy_qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)
    assert max(one["attempt"] for one in done["steps"]) == 1


@pytest.mark.parametrize("peer", ["pacs", "ehr"])
def test_an_answer_that_gets_lost_makes_no_second_result(peers: Peers, busy_qfl: Product, peer: str) -> None:
    visit = peers.scan()
    peers.announce(visit)
    proxy, pattern = (peers.pacs_proxy, r"POST .*/studies") if peer == "pacs" else (peers.ehr_proxy, r"POST /fhir/?$")
    proxy.add(Fault(pattern, lose_answer=True, count=1))
    busy_qfl.run("analyse", visit.study_instance_uid, "--no-wait")
    busy_qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)


def test_a_refusing_pacs_is_a_dead_letter_that_can_be_replayed(peers: Peers, busy_qfl: Product) -> None:
    visit = peers.scan()
    peers.announce(visit)
    fault = peers.pacs_proxy.add(Fault(r"POST .*/studies", status=403))
    busy_qfl.run("analyse", visit.study_instance_uid, "--no-wait")
    dead = busy_qfl.wait_for(visit.study_instance_uid, "undelivered")
    fault.count = 0
    letter = next(one for one in dead["deliveries"] if one["state"] == "dead")
    with busy_qfl.client() as client:
        client.post(f"/api/deliveries/{letter['id']}/replay").raise_for_status()
    busy_qfl.wait_for(visit.study_instance_uid, *PUBLISHED)
    told_once(peers, visit)


def test_an_unknown_study_ends_in_a_named_state(peers: Peers, busy_qfl: Product) -> None:
    done = busy_qfl.run("analyse", "1.2.3.4.5.6", check=False)
    assert done.returncode == 1
    assert "not-analysable: No archive holds the study 1.2.3.4.5.6" in done.stdout
