"""The page of a federated run in a real browser: it follows the run by itself, to the end, also on a telephone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes.run_events import append, run_events, write_run
from tests.servers.browser import chromium
from tests.servers.product import PASSWORD, Product, product

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

EVENTS = run_events(rounds=4, sites=10)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run in the middle of its third round."""
    found: Path = write_run(tmp_path / "hub", run_events(rounds=4, sites=10, finished=2))
    return found


@pytest.fixture
def qfl(folder: Path, tmp_path: Path) -> Iterator[Product]:
    environment = {
        "QFL_FHIR_URL": f"{NOWHERE}/fhir",
        "QFL_ARCHIVE_URL": f"{NOWHERE}/dicom-web",
        "QFL_COORDINATOR_DIR": str(folder.parents[1]),
    }
    with product(tmp_path / "product", environment) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(params=[(1440, 900), (390, 844)], ids=["desktop", "telephone"])
def page(browser: Browser, qfl: Product, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Signed in; fails when the browser complained, or asked any other server."""
    complaints: list[str] = []
    asked: set[str] = set()
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=qfl.url)
    try:
        opened = context.new_page()
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda one: asked.add("/".join(one.url.split("/")[:3])))
        opened.goto("/federation")
        opened.get_by_label("Username").fill("dr.house")
        opened.get_by_label("Password").fill(PASSWORD)
        opened.get_by_role("button", name="Sign in").click()
        yield opened
    finally:
        context.close()
    assert complaints == []
    assert asked <= {qfl.url}


def test_a_run_is_followed_to_its_end(page: Page, folder: Path) -> None:
    page.get_by_role("link", name="run-1").click()
    expect(page.get_by_text("Round 3 of 4, 10 sites")).to_be_visible()
    rows = page.get_by_role("region", name="Sites, the worst first").get_by_role("row")
    expect(rows).to_have_count(11)
    expect(rows.nth(1)).to_contain_text("worst")
    expect(page.get_by_role("img", name="Dice of the whole tumour")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "tables scroll, the page does not"
    # All in one instant, the last line torn: the page waits for its end.
    append(folder, EVENTS[len(run_events(rounds=4, sites=10, finished=2)) :][:-1])
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event": "run-fini')
    expect(page.locator(".status .findings")).to_have_text("4 of 4 rounds are finished")
    expect(page.locator(".status .badge")).to_have_text("Running")
    with (folder / "events.jsonl").open("a") as file:
        file.write('shed", "reason": "done"}\n')
    expect(page.locator(".status .badge")).to_have_text("Finished")
    expect(page.locator("#live-status")).to_contain_text("Finished")
