"""The operator's page in a real browser, against a real service."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.client import ServiceClient, ServiceError
from tests.web.conftest import PERSONS, Visit
from tests.web.page_service import HOSTILE, PageService, sightings
from tests.web.steps import file_of, give_key, matches, night, search, until, view

WAIT_MS = 60_000


def test_a_search_by_an_infrared_crop_finds_the_person(visit: Visit, served: PageService) -> None:
    page = visit.open(served, "query")
    found = 0
    for person in range(1, 11):
        page.reload()
        search(page, night(person).crop)
        persons = matches(page)
        assert len(persons) == 20
        found += f"{person:04d}" in persons[:5]
    assert found >= 8
    page.get_by_text("model").first.wait_for()


def test_a_match_is_seen_beside_the_query_with_its_patterns(
    visit: Visit, served: PageService
) -> None:
    page = visit.open(served, "query")
    search(page, night(4).crop)
    page.get_by_role("list", name="Matches").get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("img", name=re.compile("under the map of each pattern")).wait_for()
    widths = dialog.locator("img.patterns").evaluate(
        "image => [image.naturalWidth, image.naturalHeight]"
    )
    assert min(widths) > 300
    cells = dialog.locator("table.shares tbody tr").all()
    names = [row.locator("th").inner_text() for row in cells]
    assert names == [*(f"Pattern {n}" for n in range(1, 7)), "Whole crop"]
    parts = [float(row.locator("td").first.inner_text()) for row in cells]
    shown = dialog.locator("dl dd").first.inner_text()
    assert sum(parts) == pytest.approx(float(shown), abs=0.005)
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.evaluate("document.activeElement.innerText").split()[:2] == ["Match", "1"]


def test_a_rate_shows_where_unknown_begins(visit: Visit, served: PageService) -> None:
    page = visit.open(served, "query")
    search(page, night(4).crop)
    every = matches(page)
    with page.expect_response("**/query"):
        page.get_by_role("group", name="False accepts allowed").get_by_text(
            "1 in 1,000", exact=True
        ).click()
    page.get_by_text("Unknown begins here").wait_for()
    passed = matches(page)
    beyond = page.get_by_role("list", name="Beyond the rate").get_by_role("listitem")
    assert len(passed) + beyond.count() == len(every) == 20
    summary = page.locator(".summary").inner_text()
    thresholds = {
        pair: float(least) for least, pair in re.findall(r"(\d\.\d+) \(([a-z-]+)\)", summary)
    }
    assert thresholds.keys() == {"infrared-visible", "infrared-infrared"}
    least = min(thresholds.values())
    for card in page.get_by_role("list", name="Matches").locator(".score strong").all_inner_texts():
        assert float(card) >= least - 0.001


def test_results_are_exported_and_printed(visit: Visit, served: PageService) -> None:
    page = visit.open(served, "query")
    search(page, night(7).crop, most=5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    with download.value.path().open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["person_id"] for row in rows] == matches(page)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["searched_by"] for row in rows} == {"query-desk"}
    with page.expect_download() as download:
        page.get_by_role("button", name="Export JSON").click()
    saved = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert saved["query"]["modality"] == "infrared"
    assert saved["crops"][0]["name"] == "night.png"
    assert [match["entry_id"] for match in saved["answer"]["matches"]] == [
        r["entry_id"] for r in rows
    ]

    page.evaluate("() => { window.print = () => { window.printed = true; } }")
    page.get_by_role("button", name="Print report").click()
    until(page, "window.printed === true")
    page.emulate_media(media="print")
    report = page.locator(".report").inner_text()
    for text in (
        "query-desk (query)",
        rows[0]["query_id"],
        rows[0]["model_id"],
        rows[0]["entry_id"],
    ):
        assert text in report
    assert page.locator(".report img").count() == 6
    assert not page.locator("#view").is_visible()


def test_enrolling_fifty_files_shows_progress_and_refusals(
    visit: Visit, own_service: PageService
) -> None:
    page = visit.open(own_service, "enroll")
    page.get_by_text("The gallery is empty").wait_for()
    people = [s for s in sightings(60) if s.modality == "visible"][:46]
    files = [file_of(f"{s.person_id}_{s.camera_id}.png", s.crop) for s in people]
    files.insert(5, file_of("=broken.png", people[0].crop[:300]))
    files.insert(9, file_of("text.png", b"no image at all"))
    files += [file_of("empty.png", b""), file_of("notes.txt", b"x", "text/plain")]
    assert len(files) == 50
    page.get_by_role("button", name="Enrol crops").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(files)
    enrol = dialog.get_by_role("button", name="Enrol", exact=True)
    assert enrol.is_disabled()  # the modality is never guessed
    dialog.get_by_role("group", name="The crops were taken in").get_by_text("Visible light").click()
    dialog.get_by_label("Person id from the file name").check()
    page.evaluate(
        """() => { window.seen = []; new MutationObserver(() => {
             const bar = document.querySelector('dialog progress');
             if (bar && window.seen.at(-1) !== bar.value) window.seen.push(bar.value);
           }).observe(document.body, { childList: true, subtree: true }); }"""
    )
    enrol.click()
    dialog.get_by_text("50 of 50 done: 46 enrolled, 0 were there already, 4 refused").wait_for()
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert len(seen) >= 4
    refused = dialog.get_by_role("region", name="Refused files").locator("tbody tr")
    names = sorted(row.locator("td").first.inner_text() for row in refused.all())
    assert names == ["=broken.png", "empty.png", "notes.txt", "text.png"]
    assert all(row.locator("td").nth(1).inner_text() for row in refused.all())
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Save the refusals as CSV").click()
    assert "'=broken.png" in download.value.path().read_text(encoding="utf-8")
    with own_service.client() as client:
        listed = list(client.list())
    assert sorted(e["person_id"] or "" for e in listed) == sorted(s.person_id for s in people)


def test_an_entry_is_corrected_and_deleted(visit: Visit, own_service: PageService) -> None:
    own_service.enrol(3)
    page = visit.open(own_service)
    view(page, "Gallery")
    page.get_by_role("button", name="Entry cam1-0002, person 0002").click()
    page.get_by_label("Person id").fill("0099")
    page.get_by_label("Attributes (JSON)").fill('{"site": "south"}')
    page.get_by_role("button", name="Save correction").click()
    page.get_by_text("The correction is saved.").wait_for()
    with own_service.client() as client:
        entry = client.get("cam1-0002")
        assert (entry["person_id"], entry["attributes"]) == ("0099", {"site": "south"})
        assert (entry["camera_id"], entry["modality"]) == ("cam1", "visible")
    page.get_by_role("button", name="Delete entry").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("Entry cam1-0002 is deleted.").wait_for()
    assert page.get_by_role("button", name="Entry cam1-0002").count() == 0
    with own_service.client() as client:
        assert "cam1-0002" not in {e["entry_id"] for e in client.list()}


def test_a_person_is_erased_with_a_receipt(visit: Visit, own_service: PageService) -> None:
    own_service.enrol(3)
    page = visit.open(own_service)
    view(page, "Gallery")
    page.get_by_role("button", name="Erase a person").click()
    page.get_by_role("dialog").get_by_label("Person id").fill("0002")
    page.get_by_role("button", name="Go on").click()
    erase = page.get_by_role("button", name="Erase person")
    assert erase.is_disabled()
    page.get_by_label("Type 0002").fill("0003")
    assert erase.is_disabled()
    page.get_by_label("Type 0002").fill("0002")
    erase.click()
    receipt = page.get_by_role("dialog", name="Receipt of an erasure")
    receipt.wait_for()
    text = receipt.inner_text()
    for entry in ("cam1-0002", "cam2-0002", "cam3-0002", "cam6-0002", "admin-desk"):
        assert entry in text
    with own_service.client() as client:
        assert {e["person_id"] for e in client.list()} == {"0001", "0003"}


def test_a_model_is_activated_and_rolled_back(visit: Visit, own_service: PageService) -> None:
    own_service.enrol(40)
    page = visit.open(own_service)
    view(page, "Models")
    card = page.get_by_role("article", name=f"Model {own_service.second_model}")
    card.get_by_role("button", name="Activate").click()
    page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    page.get_by_role("progressbar", name="Progress of the job").wait_for()
    page.get_by_text(re.compile("The activation of model .* is done")).wait_for(timeout=WAIT_MS)
    card.get_by_text("active", exact=True).wait_for()
    with own_service.client() as client:
        assert client.models()["active"] == own_service.second_model
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    page.get_by_text("The earlier model answers again.").wait_for()
    with own_service.client() as client:
        assert client.models()["active"] != own_service.second_model


def test_the_calibration_is_drawn_for_every_pair(visit: Visit, served: PageService) -> None:
    page = visit.open(served, "query")
    view(page, "Models")
    page.get_by_text("Calibration", exact=True).first.click()
    for pair in ("visible-visible", "infrared-visible", "infrared-infrared"):
        page.get_by_role("img", name=re.compile(f"Distributions of {pair}")).wait_for()
        rows = page.get_by_role("region", name=f"Thresholds of {pair}").locator("tbody tr")
        assert rows.count() == 4
    assert page.get_by_role("button", name="Activate").count() == 0


def test_status_and_audit(visit: Visit, served: PageService) -> None:
    page = visit.open(served)
    view(page, "Status")
    page.get_by_text("Every part works").wait_for()
    page.get_by_text(f"{3 * PERSONS} entries of {PERSONS} persons").wait_for()
    page.get_by_text("of the ten nearest found").wait_for()
    search_page = visit.open(served, "query")
    search(search_page, night(2).crop)
    view(page, "Audit")
    page.get_by_label("Call has").fill("/query")
    page.get_by_label("Who").fill("query-desk")
    page.get_by_role("button", name="Filter").click()
    rows = page.get_by_role("region", name="Audit log").locator("tbody tr")
    rows.first.wait_for()
    assert {row.locator("td").nth(1).inner_text() for row in rows.all()} == {"query-desk"}
    assert {row.locator("td").nth(2).inner_text() for row in rows.all()} == {"POST /query"}
    rows.first.get_by_role("button").click()
    record = json.loads(page.get_by_role("dialog").locator("pre").inner_text())
    assert record["fields"]["modality"] == "infrared"
    assert len(record["shown"]) == 20


@pytest.mark.parametrize(
    ("role", "tabs", "enrols"),
    [
        ("query", ["Search", "Gallery", "Models", "Status"], False),
        ("enroll", ["Gallery", "Models", "Status"], True),
        ("admin", ["Search", "Gallery", "Models", "Status", "Audit"], True),
    ],
)
def test_what_a_role_may_not_do_is_not_shown(
    visit: Visit, served: PageService, role: Any, tabs: list[str], enrols: bool
) -> None:
    page = visit.open(served, role)
    assert page.get_by_role("navigation").get_by_role("link").all_inner_texts() == tabs
    view(page, "Gallery")
    page.get_by_role("list", name="Entries").get_by_role("button").first.click()
    page.get_by_role("dialog").wait_for()
    assert page.get_by_role("button", name="Delete entry").count() == (role == "admin")
    assert page.get_by_role("button", name="Save correction").count() == enrols
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Enrol crops").count() == enrols
    assert page.get_by_role("button", name="Erase a person").count() == (role == "admin")
    view(page, "Models")
    page.get_by_role("article").first.wait_for()
    assert page.get_by_role("button", name="Activate").count() == (role == "admin")


def test_a_stored_name_is_text(visit: Visit, own_service: PageService) -> None:
    with own_service.client() as client:
        client.enroll(
            sightings(60)[0].crop, "visible", person_id=HOSTILE, camera_id=HOSTILE,
            attributes={HOSTILE: HOSTILE},
        )  # fmt: skip
    page = visit.open(own_service)
    search(page, sightings(60)[0].crop, modality="Visible light")
    assert matches(page) == [HOSTILE]
    page.get_by_role("list", name="Matches").get_by_role("button").first.click()
    assert page.get_by_role("dialog").get_by_text(HOSTILE).count() >= 2
    page.keyboard.press("Escape")
    view(page, "Gallery")
    page.get_by_role("list", name="Entries").get_by_role("button").first.click()
    assert page.get_by_role("dialog").get_by_text(HOSTILE).count() >= 3
    page.keyboard.press("Escape")
    view(page, "Audit")
    page.get_by_role("region", name="Audit log").get_by_text(HOSTILE).first.wait_for()
    assert page.locator("img[src=x]").count() == 0


def test_the_key_is_kept_for_the_tab_only(visit: Visit, served: PageService) -> None:
    context = visit.context()
    page = context.new_page()
    visit.watch(page, served)
    page.goto(f"{served.url}/")
    give_key(page, "mpanet_wrong")
    page.get_by_text("This key was refused").wait_for()
    give_key(page, served.keys["query"])
    page.get_by_role("navigation").get_by_role("link").first.wait_for()
    page.reload()
    page.get_by_role("navigation").get_by_role("link").first.wait_for()
    assert served.keys["query"] not in page.url
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
    other = context.new_page()
    visit.watch(other, served)
    other.goto(f"{served.url}/")
    other.get_by_label("Key").wait_for()
    page.get_by_role("button", name="Forget key").click()
    page.get_by_label("Key").wait_for()
    assert page.evaluate("JSON.stringify(sessionStorage)") == "{}"


def test_a_service_that_is_down_or_slow_is_said_to_be(
    visit: Visit, own_service: PageService
) -> None:
    own_service.enrol(2)
    port = own_service.port
    page = visit.open(own_service)
    search(page, night(1).crop)
    own_service.pause()
    view(page, "Gallery")
    page.get_by_text("The service is slow to answer.").wait_for()
    own_service.resume()
    page.get_by_role("list", name="Entries").get_by_role("button").first.wait_for()
    page.get_by_text("The service is slow to answer.").wait_for(state="hidden")
    own_service.stop()
    view(page, "Search")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("The service does not answer", exact=True).first.wait_for()
    own_service.start(port)
    page.locator("#outage").get_by_text("The service does not answer").wait_for(
        state="hidden", timeout=WAIT_MS
    )
    with page.expect_response("**/query"):
        page.get_by_role("button", name="Search again").click()
    page.get_by_role("list", name="Matches").get_by_role("button").first.wait_for()


def test_an_empty_gallery_is_said_to_be(visit: Visit, own_service: PageService) -> None:
    page = visit.open(own_service)
    page.locator("input[type=file]").set_input_files([file_of("a.png", night(1).crop)])
    page.get_by_role("group", name="The crops were taken in").get_by_text("Infrared").click()
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("alert").or_(page.get_by_role("status")).get_by_text(
        "The gallery is empty"
    ).wait_for()
    view(page, "Gallery")
    page.get_by_text("The gallery is empty").last.wait_for()


def test_a_thousand_results_scroll_without_a_long_task(
    visit: Visit, own_service: PageService
) -> None:
    own_service.enrol(260)
    page = visit.open(own_service)
    page.evaluate(
        """() => { window.tasks = []; new PerformanceObserver((list) => {
             for (const task of list.getEntries()) window.tasks.push(task.duration);
           }).observe({ type: 'longtask' }); }"""
    )
    search(page, night(4).crop, most=1000)
    until(page, "document.querySelectorAll('.results > li').length === 1000")
    page.mouse.move(800, 500)
    bottom = "scrollY + innerHeight >= document.documentElement.scrollHeight - 5"
    for _ in range(600):
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(16)
        if page.evaluate(bottom):
            break
    until(page, bottom)
    last = page.get_by_role("list", name="Matches").get_by_role("listitem").last
    last.locator("img").wait_for()
    tasks = page.evaluate("window.tasks")
    print(f"{len(tasks)} tasks over 50 ms, the longest {max(tasks, default=0):.0f} ms")
    assert max(tasks, default=0) <= 100


def test_a_whole_search_by_keyboard(visit: Visit, served: PageService) -> None:
    page = visit.open(served, "query")

    def tab_to(condition: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(
                f"(() => {{ const e = document.activeElement; return {condition}; }})()"
            ):
                return
        pytest.fail(f"no Tab leads to {condition}")

    tab_to("e.type === 'file'")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([file_of("night.png", night(4).crop)])
    tab_to("e.name === 'modality'")
    page.keyboard.press("ArrowRight")
    if not page.get_by_label("Infrared", exact=True).first.is_checked():
        page.keyboard.press("ArrowRight")
    assert (
        page.evaluate("document.querySelector('input[name=modality]:checked').value") == "infrared"
    )
    tab_to("e.type === 'submit'")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("list", name="Matches").get_by_role("button").first.wait_for()
    tab_to("e.closest('.results') !== null")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


@pytest.mark.parametrize("width", [320, 768, 1280, 3840])
def test_no_view_is_wider_than_the_window(visit: Visit, served: PageService, width: int) -> None:
    page = visit.open(served, viewport={"width": width, "height": 1000})
    search(page, night(4).crop)
    for name in ("Search", "Gallery", "Models", "Status", "Audit"):
        view(page, name)
        page.wait_for_load_state("networkidle") if name != "Status" else page.wait_for_timeout(500)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, (name, overflow)


def test_less_motion_is_honoured(visit: Visit, served: PageService) -> None:
    moving = "getComputedStyle(document.querySelector('.button')).transitionDuration"
    page = visit.open(served, "query", reduced_motion="reduce")
    assert page.evaluate(moving) in ("0s", "")
    assert visit.open(served, "query", reduced_motion="no-preference").evaluate(moving) != "0s"


def test_a_service_without_keys_asks_for_none(visit: Visit, browser: Any, tmp_path: Path) -> None:
    with PageService(tmp_path / "open", with_keys=False) as service:
        service.enrol(3)
        page = visit.open(service, role=None)
        page.get_by_text("no keys").wait_for()
        assert page.get_by_role("button", name="Forget key").count() == 0
        search(page, night(1).crop, most=5)
        assert "0001" in matches(page)


def test_a_job_is_followed_only_while_it_is_looked_at(
    visit: Visit, own_service: PageService
) -> None:
    own_service.enrol(250)
    page = visit.open(own_service)
    view(page, "Models")
    card = page.get_by_role("article", name=f"Model {own_service.second_model}")
    card.get_by_role("button", name="Activate").click()
    with page.expect_request("**/events") as followed:
        page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    page.get_by_role("progressbar", name="Progress of the job").wait_for()
    with page.expect_event("requestfailed", lambda request: request == followed.value):
        view(page, "Gallery")
    with own_service.client() as client:
        assert client.jobs()["jobs"][0]["status"] == "running"  # it is not the job that ended
    view(page, "Models")
    card.get_by_text("active", exact=True).wait_for(timeout=WAIT_MS)


def refused_by(client: ServiceClient) -> int | None:
    """Return the status that a client is refused with; None: it is not."""
    try:
        client.whoami()
    except ServiceError as error:
        return error.status
    return None


def test_a_key_that_is_revoked_is_asked_for_again(visit: Visit, own_service: PageService) -> None:
    own_service.enrol(2)
    page = visit.open(own_service, "query")
    search(page, night(1).crop)
    page.get_by_role("list", name="Matches").get_by_role("button").first.click()
    page.get_by_role("dialog").locator("img.patterns").wait_for()
    own_service.revoke("query")
    with own_service.client("query") as client:
        while refused_by(client) != 401:
            page.wait_for_timeout(100)
    page.get_by_role("dialog").get_by_role("link").first.click()
    page.get_by_text("This key was refused").wait_for()
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_role("list", name="Matches").count() == 0
    give_key(page, own_service.keys["enroll"])
    page.get_by_role("button", name="Enrol crops").wait_for()
