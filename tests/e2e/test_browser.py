"""A radiologist's way through the pages, in a real browser, against the product in its default configuration.

SQLite, queue in the filesystem, the sandbox's EHR and PACS. The pixels prove that the overlay lies on the tumour.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pydicom import dcmread
from scipy import ndimage

from sandbox.patients import (
    Subject,
    Visit,
    build_mr_instances,
    build_registration,
    dice_against_label,
    load_subject,
    plan_visit,
)
from sandbox.patients.scoring import read_segments
from tests.e2e.page_pixels import Mask, centroid, changed_pixels, dice, find_slice, read_png
from tests.servers.browser import chromium
from tests.servers.processes import wait_until
from tests.servers.product import PASSWORD, Product, product
from tests.servers.sandbox import SandboxServer, sandbox_ehr, sandbox_pacs

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

TOPIC = "http://qfl.example/topic/imaging-study-available"
SUBJECT = load_subject("Brats18_TCIA02_370_1")
_PATIENT_SECONDS = 240


@dataclass
class Site:
    """The sandbox's hospital with the product in it."""

    ehr: SandboxServer
    pacs: SandboxServer
    qfl: Product
    subject: Subject
    visit: Visit

    def scan(self) -> None:
        """The examination reaches the PACS."""
        boundary = secrets.token_hex(8)
        part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(part + instance + b"\r\n" for instance in build_mr_instances(self.subject, self.visit))
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        with self.pacs.client() as client:
            answer = client.post(
                "studies", content=body + f"--{boundary}--\r\n".encode(), headers={"Content-Type": kind}
            )
        answer.raise_for_status()

    def announce(self) -> None:
        """The EHR learns of the examination and tells its subscribers."""
        with self.ehr.client() as client:
            client.post("", json=build_registration(self.subject, self.visit, self.pacs.url)).raise_for_status()

    def read_seg(self) -> bytes:
        """The segmentation, as the PACS gives it."""
        with self.pacs.client() as client:
            study = f"studies/{self.visit.study_instance_uid}"
            (found,) = client.get(f"{study}/instances", params={"Modality": "SEG"}).raise_for_status().json()
            series, instance = (found[tag]["Value"][0] for tag in ("0020000E", "00080018"))
            answer = client.get(
                f"{study}/series/{series}/instances/{instance}", headers={"Accept": "application/dicom"}
            )
        return answer.raise_for_status().content

    def reports(self) -> list[dict[str, Any]]:
        """The EHR's DiagnosticReports."""
        with self.ehr.client() as client:
            answer = client.get("DiagnosticReport").raise_for_status().json()
        return [entry["resource"] for entry in answer.get("entry", [])]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The product with its default database and queue, subscribed at the sandbox EHR; the MRI is not announced yet."""
    folder: Path = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        ehr = stack.enter_context(sandbox_ehr(folder, "--topic", TOPIC))
        pacs = stack.enter_context(sandbox_pacs(folder))
        environment = {
            "QFL_FHIR_URL": ehr.url,
            "QFL_FHIR_TOKEN_FILE": str(ehr.secret_file),
            "QFL_ARCHIVE_URL": pacs.url,
            "QFL_ARCHIVE_USER": pacs.username,
            "QFL_ARCHIVE_PASSWORD_FILE": str(pacs.secret_file),
            "QFL_LEASE": "30",
        }
        qfl = stack.enter_context(product(folder / "product", environment))
        qfl.run("subscriptions", "register", "mri", "--topic", TOPIC)
        wait_until(lambda: qfl.run("subscriptions", "check", check=False).returncode == 0, 30)
        running = Site(ehr, pacs, qfl, SUBJECT, plan_visit(SUBJECT, date(2026, 5, 4)))
        running.scan()
        yield running


@pytest.fixture(scope="module")
def published(site: Site) -> Site:
    """The same, with the study announced and its results published."""
    site.announce()
    site.qfl.wait_for(site.visit.study_instance_uid, "awaiting-review", timeout_s=_PATIENT_SECONDS)
    return site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """An empty page; fails when the browser complained (errors, broken content policy) or asked any other server."""
    complaints: list[str] = []
    asked: set[str] = set()
    context = browser.new_context(
        viewport={"width": 1440, "height": 1900}, device_scale_factor=2, base_url=site.qfl.url
    )
    try:
        opened = context.new_page()
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
        yield opened
    finally:
        context.close()
    assert complaints == []
    assert asked <= {site.qfl.url}


def sign_in(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Username").fill("dr.house")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()


def open_report(page: Page, site: Site) -> None:
    sign_in(page)
    page.get_by_role("link", name=site.visit.patient.family_name).first.click()
    expect(page.locator("[data-viewer-message]")).to_be_hidden()


def tumour(site: Site) -> Mask:
    """What the SEG in the PACS marks, as (slices, rows, columns) of the subject."""
    marked = np.zeros(site.subject.label.shape, bool)
    for mask in read_segments(site.read_seg(), site.subject).values():
        marked |= mask
    return marked.transpose(2, 1, 0)


def anatomy(site: Site, sequence: str) -> Any:
    """The subject's own voxels, as (slices, rows, columns)."""
    return site.subject.sequences[sequence].transpose(2, 1, 0)


def shown_slice(page: Page) -> int:
    """The slice that the viewer says it shows, from 0."""
    return int(page.locator("[data-viewer-number]").inner_text().split("/")[0]) - 1


def with_and_without_overlay(page: Page, what: Locator) -> tuple[Any, Any]:
    """Two screenshots of a thing, without a focus ring."""
    switch = page.get_by_role("checkbox", name="Overlay")
    page.evaluate("document.activeElement.blur()")
    what.scroll_into_view_if_needed()
    settled(what)
    on = read_png(what.screenshot(animations="disabled"))
    page.keyboard.press("o")
    expect(switch).not_to_be_checked()
    off = read_png(what.screenshot(animations="disabled"))
    page.keyboard.press("o")
    expect(switch).to_be_checked()
    return on, off


def settled(what: Locator) -> None:
    """Wait until the pictures in it have arrived."""
    for picture in what.locator("img").all():
        wait_until(lambda one=picture: bool(one.evaluate("image => image.complete && image.naturalWidth > 0")), 30)


def assert_overlay_marks(on: Any, off: Any, anatomy: Any, marked: Any, index: int) -> None:
    """The picture is this slice of the subject, and the overlay changes the pixels of the marked voxels alone.

    Args:
        on, off: Screenshots with and without the overlay.
        anatomy, marked: (slices, rows, columns).
    """
    found = find_slice(anatomy[index], off)
    neighbours = (index - 1, index + 1)
    likeness = [find_slice(anatomy[other], off).likeness for other in neighbours]
    assert found.likeness > max(0.95, *likeness), "another slice is shown, or this one is mirrored"
    rows, columns = found.placement.scale
    assert rows == pytest.approx(columns, rel=0.02), "anatomy is distorted"
    changed = changed_pixels(on, off)
    expected, *others = (found.placement.draw(marked[one]).astype(bool) for one in (index, *neighbours))
    assert dice(changed, expected) > max(0.95, *(dice(changed, other) for other in others)), "another slice's overlay"
    assert np.linalg.norm(centroid(changed) - centroid(expected)) < 0.3 * rows
    assert not changed[~ndimage.binary_dilation(expected, iterations=round(rows))].any(), "painted beside the tumour"
    inner = ndimage.binary_erosion(expected, iterations=round(rows))
    # Where two colours blend they may meet the grey below.
    assert changed[inner].mean() > 0.995, "a hole where the SEG marks tumour"


def test_the_default_configuration_closes_the_loop(published: Site) -> None:
    done = published.qfl.analyses(published.visit.study_instance_uid)[-1]
    assert {one["kind"]: one["state"] for one in done["deliveries"]} == {"seg": "sent", "sr": "sent", "report": "sent"}
    (report,) = published.reports()
    assert report["status"] == "preliminary"
    seg = published.read_seg()
    assert str(dcmread(BytesIO(seg)).PatientID) == published.visit.patient.patient_id
    assert dice_against_label(seg, published.subject)["whole_tumour"] > 0.5


def test_a_key_image_marks_the_tumour_where_the_seg_has_it(published: Site, page: Page) -> None:
    open_report(page, published)
    marked = tumour(published)
    largest = int(marked.sum(axis=(1, 2)).argmax())
    assert shown_slice(page) == largest
    for sequence in ("T1ce", "FLAIR"):
        picture = page.locator("figure", has_text=f"{sequence}, axial").locator(".stack")
        on, off = with_and_without_overlay(page, picture)
        assert_overlay_marks(on, off, anatomy(published, sequence), marked, largest)


def test_the_slice_viewer_shows_other_slices_by_wheel_and_keys(published: Site, page: Page) -> None:
    open_report(page, published)
    marked = tumour(published)
    canvas = page.locator("[data-viewer-canvas]")
    seen: list[int] = []

    def check(sequence: str) -> None:
        index = shown_slice(page)
        seen.append(index)
        on, off = with_and_without_overlay(page, canvas)
        assert_overlay_marks(on, off, anatomy(published, sequence), marked, index)

    check("T1ce")
    canvas.hover()
    page.mouse.wheel(0, -200)
    expect(page.locator("[data-viewer-number]")).not_to_have_text(re.compile(rf"^{seen[0] + 1} /"))
    check("T1ce")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    check("T1ce")
    canvas.focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("2")
    expect(page.get_by_role("radio", name="FLAIR")).to_be_checked()
    check("FLAIR")
    assert seen[1] > seen[0], "away from the person is towards the head"
    assert np.diff(seen[1:]).tolist() == [-1, -10]


def test_the_overlay_switch_changes_nothing_but_pictures_and_the_switch(published: Site, page: Page) -> None:
    open_report(page, published)
    pictures = page.locator(".stack")
    settled(page.locator(".key-images"))
    on = page.screenshot(full_page=True, animations="disabled")
    page.get_by_role("checkbox", name="Overlay").uncheck()
    off = page.screenshot(full_page=True, animations="disabled")
    changed = changed_pixels(read_png(on), read_png(off))
    assert changed.any()
    for place in (page.locator("[data-viewer-canvas]"), page.locator("[data-overlay]"), *pictures.all()):
        box = place.bounding_box()
        assert box is not None
        top, left = box["y"] + page.evaluate("scrollY"), box["x"]
        # Two device pixels a CSS pixel, and a focus ring around the switch.
        changed[
            int(2 * top) - 12 : int(2 * (top + box["height"])) + 12,
            int(2 * left) - 12 : int(2 * (left + box["width"])) + 12,
        ] = False
    assert not changed.any()


def test_opacity_fades_the_overlay(published: Site, page: Page) -> None:
    open_report(page, published)
    canvas = page.locator("[data-viewer-canvas]")
    strengths = []
    for percent in ("100", "40"):
        page.get_by_label("Opacity").fill(percent)
        on, off = with_and_without_overlay(page, canvas)
        strengths.append(np.abs(on - off).sum())
    assert strengths[1] == pytest.approx(0.4 * strengths[0], rel=0.1)


def test_the_worklist_is_searched_and_no_log_names_the_patient(published: Site, page: Page) -> None:
    patient = published.visit.patient
    sign_in(page)
    page.get_by_role("searchbox").fill(patient.patient_id)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("[data-row]")).to_contain_text(patient.family_name)
    page.get_by_role("searchbox").fill("nobody")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="No analysis matches")).to_be_visible()
    for name in ("web", "worker", "timer"):
        log = (published.qfl.folder / f"{name}.log").read_text()
        assert log
        for secret in (patient.patient_id, patient.family_name, patient.birth_date.strftime("%Y%m%d"), "nobody"):
            assert secret not in log, name


def test_a_radiologist_accepts_by_a_click(published: Site, page: Page) -> None:
    """The last test of the module: it changes the state."""
    open_report(page, published)
    page.get_by_label("Comment").fill("Agreed.")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator(".status .badge").first).to_have_text("Accepted")
    expect(page.locator(".review-record")).to_contain_text("Gregory House")
    assert published.qfl.analyses(published.visit.study_instance_uid)[-1]["state"] == "accepted"
    wait_until(lambda: published.reports()[0]["status"] == "final", 60, lambda: published.qfl.log("worker"))
    page.goto("/?tab=reviewed")
    expect(page.locator("[data-row]")).to_contain_text("Accepted")
