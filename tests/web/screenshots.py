"""Takes the pictures of the operator's page in docs/page.md.

python -m tests.web.screenshots docs/page
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.web.page_service import PageService
from tests.web.steps import give_key, night, search, view

PERSONS = 60
QUALITY = 80


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        PageService(Path(work)) as service,
        sync_playwright() as driver,
    ):
        service.enrol(PERSONS, without=(6,))
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        take(opened(browser, service), folder, "")
        take(opened(browser, service, color_scheme="dark"), folder, "-dark", every=False)
        narrow = {"width": 320, "height": 700}
        take(opened(browser, service, viewport=narrow), folder, "-320", every=False)
        browser.close()


def opened(browser: Any, service: PageService, **look: Any) -> Any:
    """Return the page with an admin's key."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 860}, **look})
    page.goto(f"{service.url}/")
    give_key(page, service.keys["admin"])
    return page


def take(page: Any, folder: Path, ending: str, *, every: bool = True) -> None:
    """Take a picture of each view, or of the search alone."""

    def shot(name: str) -> None:
        page.wait_for_timeout(1500)  # for the crops, which come as they are seen
        page.screenshot(path=folder / f"{name}{ending}.jpg", type="jpeg", quality=QUALITY)

    search(page, night(4).crop)
    rate = page.get_by_role("group", name="False accepts allowed").get_by_text(
        "1 in 100", exact=True
    )
    rate.click()
    page.get_by_text("Unknown begins here").wait_for()
    page.locator(".found").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, innerWidth < 700 ? document.querySelector('.found').offsetTop : 0)")
    shot("search")
    if not every:
        return
    page.get_by_role("list", name="Matches").get_by_role("button").first.click()
    page.get_by_role("dialog").locator("img.patterns").wait_for()
    shot("match")
    page.keyboard.press("Escape")
    view(page, "Gallery")
    shot("gallery")
    view(page, "Models")
    page.get_by_text("Calibration", exact=True).first.click()
    shot("models")
    for name in ("Status", "Audit"):
        view(page, name)
        shot(name.lower())


if __name__ == "__main__":
    main()
