"""A browser and a service for it; without either these tests skip, and say what is missing.

`MPANET_TEST_CHROMIUM` names the browser, `chromium` on the PATH where it does not.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.access.caller import Role
from tests.web.page_service import PageService
from tests.web.steps import give_key

PERSONS = 60
FAULTS = "error", "warning"
REFUSED = "Failed to load resource"
"""What Chromium says of every answer of 400 and above: those are looked at by the tests."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, for all tests."""
    name = os.environ.get("MPANET_TEST_CHROMIUM", "chromium")
    executable = shutil.which(name)
    if executable is None:
        pytest.skip(f"needs Chromium: no {name!r} (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def served(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with 60 people, as cameras 1 to 3 saw them; camera 6 is for queries."""
    with PageService(tmp_path_factory.mktemp("page")) as service:
        service.enrol(PERSONS, without=(6,))
        yield service


class Visit:
    """Opens the page; a console message, an uncaught error or a foreign host fails the test."""

    def __init__(self, browser: Any, stack: ExitStack) -> None:
        self._browser, self._stack = browser, stack
        self.faults: list[str] = []

    def context(self, **options: Any) -> Any:
        """Return a context of its own: as another person's browser."""
        context = self._browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self._stack.callback(context.close)
        return context

    def open(self, service: PageService, role: Role | None = "admin", **options: Any) -> Any:
        """Return the page, with the key of a role."""
        page = self.context(**options).new_page()
        self.watch(page, service)
        page.goto(f"{service.url}/")
        if role is not None:
            give_key(page, service.keys[role])
            page.get_by_role("navigation").get_by_role("link").first.wait_for()
        return page

    def watch(self, page: Any, service: PageService) -> None:
        """Note what must not happen."""
        host = f"127.0.0.1:{service.port}"

        def asked(request: Any) -> None:
            address = urlsplit(request.url)
            if address.scheme in ("http", "https") and address.netloc != host:
                self.faults.append(f"asked another host: {request.url}")

        def said(message: Any) -> None:
            if message.type in FAULTS and not message.text.startswith(REFUSED):
                self.faults.append(f"console: {message.text}")

        def asked_back(dialog: Any) -> None:
            self.faults.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("dialog", asked_back)


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open pages; afterwards nothing must have gone wrong in any of them."""
    with ExitStack() as stack:
        visit = Visit(browser, stack)
        yield visit
        assert visit.faults == []


@pytest.fixture
def own_service(browser: Any, tmp_path: Path) -> Iterator[PageService]:
    """An empty service of one test."""
    with PageService(tmp_path / "own") as service:
        yield service
