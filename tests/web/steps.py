"""What an operator does on the page, in the words of the page."""

import time
from typing import Any

from tests.web.page_service import Sighting, sightings


def night(person: int) -> Sighting:
    """Return a person as camera 6 saw them in infrared; it is not in the gallery."""
    return next(
        s for s in sightings(60) if s.camera_id == "cam6" and s.person_id == f"{person:04d}"
    )


def file_of(name: str, content: bytes, media_type: str = "image/png") -> dict[str, Any]:
    """Return a file as Playwright gives it to an input."""
    return {"name": name, "mimeType": media_type, "buffer": content}


def give_key(page: Any, key: str) -> None:
    """Type a key where the page asks for it."""
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Go on").click()


def until(page: Any, condition: str, timeout_s: float = 30) -> None:
    """Wait until JavaScript is true; the page's own policy lets nothing wait inside it."""
    give_up = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < give_up, condition
        page.wait_for_timeout(50)


def view(page: Any, name: str) -> None:
    """Go to a view."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def search(page: Any, crop: bytes, *, modality: str = "Infrared", most: int | None = None) -> None:
    """Search with a crop and wait for the outcome."""
    page.locator("form[aria-label=Search] input[type=file]").set_input_files(
        [file_of("night.png", crop)]
    )
    page.get_by_role("group", name="The crops were taken in").get_by_text(modality).click()
    if most is not None:
        page.get_by_label("Results at most").fill(str(most))
    with page.expect_response("**/query"):
        page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("list", name="Matches").get_by_role("button").first.wait_for()


def matches(page: Any) -> list[str]:
    """Return the persons of the matches, in their order."""
    cards = page.get_by_role("list", name="Matches").get_by_role("listitem")
    return [str(text) for text in cards.locator(".person").all_inner_texts()]
