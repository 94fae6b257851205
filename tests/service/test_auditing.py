"""What each call leaves in the audit log, before its answer goes out."""

import asyncio
import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr

from gallery_index.gallery import Gallery
from service.access.keys import add_key, make_key
from service.access.roles import ROLES_OF_CALL
from service.app import create_app
from service.audit.event import AuditEvent
from service.audit.files import LogFile
from service.audit.log import AuditLog
from service.audit.verification import verify
from service.auditing import AUDITED, AuditedRoute
from service.errors import AuditUnavailableError
from service.routes import gallery as gallery_routes
from service.routes import models, publish, search, status
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.audit.logs import calls_of
from tests.service.claims import problem_of
from tests.service.fakes import MODEL_ID, TinyEncoder, crop

SHA_1, SHA_2 = (hashlib.sha256(crop(seed)).hexdigest() for seed in (1, 2))
KEY = "a-key-of-the-night-desk"


class Disk(LogFile):
    """A file on a disk that can be full or broken."""

    full = False
    broken = False

    def reserve(self) -> None:
        if type(self).full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().reserve()

    def _sync(self) -> None:
        if type(self).broken:
            raise OSError(errno.EIO, "Input/output error")
        super()._sync()


@dataclass
class Audited:
    """A service with an audit log, on a disk of its own."""

    http: httpx.Client
    directory: Path
    disk: type[Disk]
    gallery: Gallery
    log: AuditLog
    query_key: str

    def calls(self) -> list[dict[str, Any]]:
        return calls_of(self.directory)

    def last(self) -> dict[str, Any]:
        """Return what the last call left, without what every line has."""
        line = self.calls()[-1]
        assert line["caller"] == "environment"
        everywhere = ("sequence", "time", "previous", "kind", "caller", "key_id", "client")
        return {name: line[name] for name in line if name not in (*everywhere, "request_id")}

    def enrol(self, seed: int, entry_id: str, person_id: str) -> httpx.Response:
        data = {"modality": "visible", "entry_id": entry_id, "person_id": person_id}
        return self.http.post("/gallery", files={"file": crop(seed)}, data=data)


@pytest.fixture
def audited(settings: ServiceSettings, gallery: Gallery, tmp_path: Path) -> Iterator[Audited]:
    class OwnDisk(Disk):
        pass

    settings = settings.model_copy(update={"api_key": SecretStr(KEY)})
    query_key, record = make_key("day-desk", ["query"], now=datetime.now(UTC))
    add_key(settings.keys_file, record)
    log = AuditLog.open(tmp_path / "audit", keep_days=30, new_file=OwnDisk)
    app = create_app(settings, TinyEncoder(), gallery, audit=log)
    with (
        running(app) as transport,
        httpx.Client(
            transport=transport, base_url="http://localhost", headers={"X-API-Key": KEY}
        ) as client,
    ):
        yield Audited(client, tmp_path / "audit", OwnDisk, gallery, log, query_key)
    log.close()
    assert verify(tmp_path / "audit").damage is None


def test_every_call_has_a_decision() -> None:
    decided = {tuple(call.split(" ")) for call in AUDITED}
    assert decided | {("GET", "/openapi.json")} == set(ROLES_OF_CALL)  # all, as test_roles claims


def test_every_call_that_concerns_a_person_is_of_a_route_that_records() -> None:
    routers = (gallery_routes.router, search.router, models.router, publish.router, status.router)
    for route in (route for router in routers for route in router.routes):
        assert isinstance(route, APIRoute)
        assert route.methods is not None
        [method] = route.methods
        assert isinstance(route, AuditedRoute) or AUDITED[f"{method} {route.path}"] == "nothing"


def test_an_enrolment(audited: Audited) -> None:
    data = {
        "modality": "visible",
        "entry_id": "e1",
        "person_id": "0001",
        "attributes": json.dumps({"hat": "a red one"}),
    }
    audited.http.post("/gallery", files={"file": crop(1)}, data=data)
    assert audited.last() == {
        "phase": "done",
        "call": "POST /gallery",
        "status": 201,
        "person_ids": ["0001"],
        "entry_ids": ["e1"],
        "fields": {
            "modality": "visible",
            "entry_id": "e1",
            "person_id": "0001",
            "attributes": ["hat"],
        },
        "crops": [SHA_1],
        "counts": {"enrolled": 1},
    }


def test_an_entry_that_the_service_names(audited: Audited) -> None:
    answer = audited.http.post("/gallery", files={"file": crop(1)}, data={"modality": "visible"})
    assert audited.last()["entry_ids"] == [answer.json()["entry_id"]]


def test_a_batch(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    entries = [
        {"modality": "visible", "entry_id": "e1", "person_id": "0001"},
        {"modality": "infrared", "entry_id": "e2", "person_id": "0002"},
        {"modality": "infrared", "entry_id": "e3"},
        {"modality": "sonar", "entry_id": "e4"},
    ]
    files = [("files", data) for data in (crop(1), crop(2), b"no image", crop(4))]
    answer = audited.http.post("/gallery/batch", files=files, data={"entries": json.dumps(entries)})
    assert [result["status"] for result in answer.json()["results"]] == [201, 201, 415, 422]
    assert audited.last() == {
        "phase": "done",
        "call": "POST /gallery/batch",
        "status": 200,
        "person_ids": ["0001", "0002"],
        "entry_ids": ["e1", "e2", "e3"],
        "crops": [SHA_1, SHA_2, hashlib.sha256(b"no image").hexdigest()],
        "counts": {"replayed": 1, "enrolled": 1, "unsupported_image": 1, "invalid_fields": 1},
    }


def test_a_query_says_what_was_searched_and_what_was_shown(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    audited.enrol(2, "e2", "0002")
    answer = audited.http.post(
        "/query",
        files=[("file", crop(1)), ("file", crop(2))],
        data={"modality": "infrared", "top_k": "5", "person_id": ["0001", "0003"]},
    )
    [match] = answer.json()["matches"]
    line = audited.last()
    assert line.pop("fields") == {
        "modality": "infrared",
        "top_k": 5,
        "person_id": ["0001", "0003"],
        "target_modality": "any",
        "group_by": "entry",
        "rerank": False,
        "explain": False,
    }
    assert line == {
        "phase": "done",
        "call": "POST /query",
        "status": 200,
        "person_ids": ["0001", "0003"],
        "crops": [SHA_1, SHA_2],
        "shown": [
            {"entry_id": "e1", "person_id": "0001", "similarity": round(match["similarity"], 6)}
        ],
        "unknown": False,
    }


def test_a_query_that_found_nothing_says_so(audited: Audited) -> None:
    audited.http.post("/query", files={"file": crop(1)}, data={"modality": "visible"})
    line = audited.last()
    assert (line["shown"], line["unknown"]) == ([], True)


@pytest.mark.parametrize(("path", "seeds"), [("/embed", [1]), ("/compare", [1, 2])])
def test_crops_that_are_only_embedded(audited: Audited, path: str, seeds: list[int]) -> None:
    files = [("file", crop(seed)) for seed in seeds]
    audited.http.post(path, files=files, data={"modality": "visible"})
    line = audited.last()
    assert (line["call"], line["status"]) == (f"POST {path}", 200)
    assert line["crops"] == [SHA_1, SHA_2][: len(seeds)]


def test_a_listing(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    audited.http.get("/gallery", params={"person_id": "0001", "limit": 7})
    assert audited.last() == {
        "phase": "done",
        "call": "GET /gallery",
        "status": 200,
        "person_ids": ["0001"],
        "fields": {"person_id": ["0001"], "limit": 7},
        "counts": {"shown": 1},
    }


@pytest.mark.parametrize("path", ["", "/crop"])
def test_looking_at_an_entry_names_its_person(audited: Audited, path: str) -> None:
    audited.enrol(1, "e1", "0001")
    audited.http.get(f"/gallery/e1{path}")
    assert audited.last() == {
        "phase": "done",
        "call": f"GET /gallery/{{entry_id}}{path}",
        "status": 200,
        "person_ids": ["0001"],
        "entry_ids": ["e1"],
    }


def test_a_change_names_the_person_before_and_after(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    changes = {"person_id": "0002", "camera_id": None, "attributes": {"hat": "a red one"}}
    audited.http.patch("/gallery/e1", json=changes)
    line = audited.last()
    assert set(line.pop("person_ids")) == {"0001", "0002"}
    assert line == {
        "phase": "done",
        "call": "PATCH /gallery/{entry_id}",
        "status": 200,
        "entry_ids": ["e1"],
        "fields": {"person_id": "0002", "camera_id": None, "attributes": ["hat"]},
    }


def test_a_deletion_is_recorded_before_and_after(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    audited.http.delete("/gallery/e1")
    asked, done = audited.calls()[-2:]
    assert (asked["phase"], done["phase"]) == ("asked", "done")
    assert "status" not in asked
    assert done["status"] == 204
    for line in (asked, done):
        assert line["call"] == "DELETE /gallery/{entry_id}"
        assert (line["entry_ids"], line["person_ids"]) == (["e1"], ["0001"])


def test_an_erasure_is_recorded_before_and_after_and_stays(audited: Audited) -> None:
    audited.enrol(1, "e1", "a/b")
    audited.enrol(2, "e2", "a/b")
    audited.http.delete("/persons/a/b")
    asked, done = audited.calls()[-2:]
    assert (asked["phase"], asked["person_ids"]) == ("asked", ["a/b"])
    assert done["call"] == "DELETE /persons/{person_id}"
    assert (done["status"], done["counts"]) == (200, {"erased": 2})
    assert sorted(done["entry_ids"]) == ["e1", "e2"]


@pytest.mark.parametrize(
    ("path", "call", "status", "code"),
    [
        (f"/models/{MODEL_ID}/activate", "POST /models/{model_id}/activate", 200, None),
        ("/models/none/activate", "POST /models/{model_id}/activate", 404, "model_not_found"),
        ("/models/rollback", "POST /models/rollback", 409, "no_earlier_model"),
    ],
)
def test_a_change_of_model_is_recorded_before_and_after(
    audited: Audited, path: str, call: str, status: int, code: str | None
) -> None:
    audited.http.post(path)
    asked, done = audited.calls()[-2:]
    assert (asked["phase"], asked["call"]) == ("asked", call)
    assert (done["phase"], done["status"], done.get("code")) == ("done", status, code)
    if "activate" in call:
        assert asked["fields"] == {
            "model_id": path.split("/")[2],
            "override": [],
            "reclaim_kept": False,
        }


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("GET", "/gallery/none", {}, 404, "entry_not_found"),
        ("GET", "/gallery?limit=0", {}, 422, "invalid_fields"),
        ("DELETE", "/gallery/none", {}, 404, "entry_not_found"),
        ("DELETE", "/persons/none", {}, 404, "person_not_found"),
        ("PATCH", "/gallery/none", {"json": {}}, 404, "entry_not_found"),
        ("PATCH", "/gallery/none", {"content": b"{"}, 422, "malformed_body"),
        ("POST", "/query", {"data": {"modality": "visible"}}, 422, "invalid_fields"),
        ("POST", "/embed", {"json": {}}, 415, "unsupported_content"),
    ],
)
def test_a_refused_call_is_recorded_with_its_code(
    audited: Audited, method: str, path: str, arguments: Any, status: int, code: str
) -> None:
    problem_of(audited.http.request(method, path, **arguments), status, code)
    line = audited.calls()[-1]
    assert (line["phase"], line["status"], line["code"]) == ("done", status, code)
    if path.endswith("none"):
        assert line["person_ids" if "persons" in path else "entry_ids"] == ["none"]


def test_a_breakdown_is_recorded(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(entry_id: str) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(audited.gallery, "get", break_down)
    problem_of(audited.http.get("/gallery/e1"), 500, "internal_error")
    assert (audited.last()["status"], audited.last()["code"]) == (500, "internal_error")


@pytest.mark.parametrize(
    "path", ["/models", "/healthz", "/readyz", "/metrics", "/docs", "/nowhere"]
)
def test_what_concerns_nobody_is_not_recorded(audited: Audited, path: str) -> None:
    audited.http.get(path)
    assert audited.calls() == []


def test_a_known_key_that_tries_what_it_may_not_is_recorded(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    key = audited.query_key
    answer = audited.http.delete("/persons/0001", headers={"X-API-Key": key})
    problem_of(answer, 403, "role_required")
    line = audited.calls()[-1]
    assert (line["caller"], line["key_id"]) == ("day-desk", key.split("_")[1])
    assert (line["call"], line["phase"]) == ("DELETE /persons/{person_id}", "done")
    assert (line["status"], line["code"]) == (403, "role_required")
    assert line["person_ids"] == ["0001"]


def test_a_stranger_does_not_fill_the_disk(audited: Audited) -> None:
    for key in ("", "wrong"):
        assert audited.http.get("/gallery", headers={"X-API-Key": key}).status_code == 401
    assert audited.calls() == []


def test_the_request_id_of_the_answer_is_in_the_record(audited: Audited) -> None:
    answer = audited.http.get("/gallery")
    assert audited.calls()[-1]["request_id"] == answer.headers["X-Request-Id"]
    assert audited.calls()[-1]["client"] == "127.0.0.1"


def test_neither_images_nor_embeddings_nor_keys_are_in_the_log(audited: Audited) -> None:
    audited.enrol(1, "e1", "0001")
    for path in ("/query", "/embed"):
        answer = audited.http.post(path, files={"file": crop(1)}, data={"modality": "visible"})
    audited.http.get("/gallery/e1/crop")
    stored = b"".join(path.read_bytes() for path in audited.directory.iterdir())
    assert KEY.encode() not in stored
    assert crop(1)[:16] not in stored
    assert not any(str(value).encode() in stored for value in answer.json()["embedding"][:50])


def test_a_very_long_name_in_a_path_is_cut(audited: Audited) -> None:
    audited.http.get(f"/gallery/{'x' * 5000}")
    assert audited.last()["entry_ids"] == ["x" * 256 + "..."]


@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("POST", "/query", {"files": {"file": crop(2)}, "data": {"modality": "visible"}}),
        ("POST", "/gallery", {"files": {"file": crop(2)}, "data": {"modality": "visible"}}),
        ("GET", "/gallery/e1/crop", {}),
        ("PATCH", "/gallery/e1", {"json": {"camera_id": "9"}}),
        ("DELETE", "/gallery/e1", {}),
        ("DELETE", "/persons/0001", {}),
        ("POST", "/models/rollback", {}),
    ],
)
def test_on_a_full_disk_nothing_is_done_until_there_is_room(
    audited: Audited, method: str, path: str, arguments: Any
) -> None:
    audited.enrol(1, "e1", "0001")
    before = audited.http.get("/gallery").json()
    audited.disk.full = True
    with pytest.raises(AuditUnavailableError):  # a call that was under way finds the disk full
        asyncio.run(fill(audited.log))
    problem_of(audited.http.request(method, path, **arguments), 507, "storage_full")
    problem = problem_of(audited.http.get("/readyz"), 503, "not_ready")
    assert problem["reasons"] == ["audit: cannot be written"]
    audited.disk.full = False
    assert audited.http.get("/gallery").json() == before
    assert audited.http.request(method, path, **arguments).status_code != 507


async def fill(log: AuditLog) -> None:
    """Use up what was reserved, as far as the log knows."""
    event = AuditEvent(call="x", phase="done", request_id="x", caller="environment", key_id="")
    await log.record(event)
    await log.check()


def test_a_broken_disk_holds_back_answers_and_a_change_that_was_made_is_owed(
    audited: Audited,
) -> None:
    audited.enrol(1, "e1", "0001")
    audited.disk.broken = True
    answer = audited.enrol(2, "e2", "0002")
    problem_of(answer, 503, "audit_unavailable")
    assert answer.headers["Retry-After"] == "1"
    answer = audited.http.post("/query", files={"file": crop(1)}, data={"modality": "visible"})
    problem_of(answer, 503, "audit_unavailable")
    assert "matches" not in answer.json()
    audited.disk.broken = False
    assert audited.http.get("/gallery/e2").status_code == 200
    calls = [line for line in audited.calls() if line["call"] == "POST /gallery"]
    assert [(line["entry_ids"], line["status"]) for line in calls] == [(["e1"], 201), (["e2"], 503)]
    assert calls[1]["code"] == "audit_unavailable"
    assert not any(line["call"] == "POST /query" for line in audited.calls())


def test_without_a_log_calls_are_served(settings: ServiceSettings, gallery: Gallery) -> None:
    with (
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as client,
    ):
        assert client.get("/gallery").status_code == 200
