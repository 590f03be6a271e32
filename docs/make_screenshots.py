"""Make the pictures of docs/images again: the demo's own pages, in a real browser.

Run it with: make screenshots. The patient's name is invented; the images are openly licensed (sandbox/data).
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from sandbox.demo.display import Display
from sandbox.demo.processes import Processes
from sandbox.demo.product import USERNAME
from sandbox.demo.values import Plan, Running
from sandbox.demo.walk import start_everything, walk
from tests.servers.browser import chromium

IMAGES = Path(__file__).parent / "images"
SUBJECT = "Brats18_TCIA02_370_1"
"""The shipped model never saw it."""

MAX_BYTES = 400_000
_TIMEOUT_S = 600
_MARGIN_PX = 20


def main() -> None:
    """Run the demo once, and take the pictures."""
    display = Display()
    with tempfile.TemporaryDirectory(prefix="qfl-screenshots-") as folder:
        plan = Plan(Path(folder), SUBJECT, 0, _TIMEOUT_S)
        processes = Processes(plan.folder / "logs")
        try:
            running = start_everything(plan, processes, display)
            outcome = walk(plan, running, processes, display)
            display.tell_outcome(outcome)
            take(running)
        finally:
            processes.stop()


def take(running: Running) -> None:
    """Sign in and take the pictures of the worklist and the report page."""
    with chromium() as browser:
        context = browser.new_context(
            viewport={"width": 1240, "height": 800}, color_scheme="light", base_url=running.product.url
        )
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Username").fill(USERNAME)
        page.get_by_label("Password").fill(running.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("[data-row]")).to_contain_text("Awaiting review")
        save(page, "worklist.png", page.locator(".worklist"))
        page.locator(".row-link").click()
        expect(page.locator("[data-viewer-message]")).to_be_hidden()
        # Pictures further down are loaded when somebody gets there.
        page.locator("figure").last.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        page.evaluate("scrollTo(0, 0)")
        save(page, "report-page.png", page.locator(".images"))
        context.close()


def save(page: Page, name: str, last: Locator) -> None:
    """Save the page from its top to the end of an element."""
    box = last.bounding_box()
    if box is None:
        sys.exit(f"{name}: the page does not show what the picture should end with")
    height = box["y"] + box["height"] + _MARGIN_PX
    png = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1240, "height": height}, animations="disabled")
    path = IMAGES / name
    Image.open(io.BytesIO(png)).convert("RGB").save(path, optimize=True)
    size = path.stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{path} has {size} bytes; at most {MAX_BYTES} belong into the repository")
    sys.stdout.write(f"{path.relative_to(IMAGES.parent.parent)}: {size // 1000} kB\n")


if __name__ == "__main__":
    main()
