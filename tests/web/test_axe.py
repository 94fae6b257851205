"""axe-core finds nothing serious on any view, in light and in dark.

`MPANET_TEST_AXE` names its file `axe.min.js`; `make browser-test` fetches it from npm.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Visit
from tests.web.page_service import PageService
from tests.web.steps import night, search, view

SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    name = os.environ.get("MPANET_TEST_AXE")
    if name is None or not Path(name).is_file():
        pytest.skip(
            "needs axe-core: MPANET_TEST_AXE names no file (`make browser-test` fetches it)"
        )
    return Path(name).read_text(encoding="utf-8")


def serious(page: Any, axe: str) -> list[str]:
    """Return what is wrong, each with the first places."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 10  # it did look
    return [
        f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_no_view_has_a_serious_violation(
    visit: Visit, served: PageService, axe: str, scheme: str, width: int
) -> None:
    look: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    page = visit.open(served, role=None, bypass_csp=True, **look)
    page.get_by_label("Key").wait_for()
    assert serious(page, axe) == []
    page = visit.open(served, bypass_csp=True, **look)
    page.get_by_text("Filters", exact=True).click()
    search(page, night(4).crop)
    page.get_by_role("group", name="False accepts allowed").get_by_text(
        "1 in 1,000", exact=True
    ).click()
    page.get_by_text("Unknown begins here").wait_for()
    assert serious(page, axe) == []
    page.get_by_role("list", name="Matches").get_by_role("button").first.click()
    page.get_by_role("dialog").locator("img.patterns").wait_for()
    assert serious(page, axe) == []
    page.keyboard.press("Escape")
    view(page, "Gallery")
    page.get_by_role("list", name="Entries").get_by_role("button").first.wait_for()
    assert serious(page, axe) == []
    page.get_by_role("button", name="Enrol crops").click()
    assert serious(page, axe) == []
    page.keyboard.press("Escape")
    page.get_by_role("list", name="Entries").get_by_role("button").first.click()
    assert serious(page, axe) == []
    page.keyboard.press("Escape")
    view(page, "Models")
    page.get_by_text("Calibration", exact=True).first.click()
    assert serious(page, axe) == []
    for name, sign in (("Status", "Every part works"), ("Audit", "POST /query")):
        view(page, name)
        page.get_by_text(sign).first.wait_for()
        assert serious(page, axe) == []
