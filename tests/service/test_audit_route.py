"""`/audit`: what was done through the service is found by it, and that it was read is recorded."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gallery_index.gallery import Gallery
from service.app import create_app
from service.audit.log import AuditLog
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.fakes import TinyEncoder, crop


@pytest.fixture
def recorded(settings: ServiceSettings, gallery: Gallery, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service that keeps a log."""
    log = AuditLog.open(tmp_path / "audit", keep_days=1)
    with (
        running(create_app(settings, TinyEncoder(), gallery, audit=log)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        yield http
    log.close()


def test_what_was_done_is_found(recorded: httpx.Client) -> None:
    for entry_id, person_id in [("a", "p"), ("b", "q")]:
        data = {"modality": "visible", "entry_id": entry_id, "person_id": person_id}
        sent = recorded.post("/gallery", files={"file": crop(ord(entry_id))}, data=data)
        assert sent.status_code == 201
    assert recorded.delete("/persons/p").status_code == 200
    assert recorded.delete("/persons/p").status_code == 404

    def audit(**wanted: str) -> list[tuple[str, str, int | None]]:
        body = recorded.get("/audit", params=wanted).json()
        assert body["damaged"] == []
        return [(e["call"], e["phase"], e.get("status")) for e in body["events"]]

    erase = "DELETE /persons/{person_id}"
    of_p = [(erase, "done", 404), (erase, "asked", None), (erase, "done", 200)]
    of_p += [(erase, "asked", None), ("POST /gallery", "done", 201)]
    assert audit(person_id="p") == of_p
    assert audit(person_id="p") == [("GET /audit", "done", 200), *of_p]  # the look before
    assert audit(code="person_not_found") == [(erase, "done", 404)]
    first = recorded.get("/audit", params={"limit": "2", "call": "/gallery"}).json()
    assert [event["entry_ids"] for event in first["events"]] == [["b"], ["a"]]
    rest = {"limit": "2", "call": "/gallery", "cursor": first["next_cursor"]}
    assert recorded.get("/audit", params=rest).json()["events"] == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"cursor": "made-up"}, "invalid_cursor"),
        ({"limit": "0"}, "invalid_fields"),
        ({"status": "20"}, "invalid_fields"),
        ({"after": "yesterday"}, "invalid_fields"),
        ({"who": "ann"}, "invalid_fields"),
    ],
)
def test_bad_fields_are_named(recorded: httpx.Client, params: dict[str, str], code: str) -> None:
    problem_of(recorded.get("/audit", params=params), 422, code)


def test_a_service_without_a_log_says_so(shared_http: httpx.Client) -> None:
    problem_of(shared_http.get("/audit"), 404, "audit_off")
