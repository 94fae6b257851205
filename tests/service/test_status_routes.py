"""Models, jobs, health, readiness, documentation, and what every answer carries."""

import logging
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gallery_index.gallery import Gallery
from service.problems import KINDS
from tests.service.claims import problem_of
from tests.service.fakes import MODEL_ID

CALLS = {
    ("post", "/gallery"),
    ("post", "/gallery/batch"),
    ("get", "/gallery"),
    ("get", "/gallery/{entry_id}"),
    ("get", "/gallery/{entry_id}/crop"),
    ("delete", "/gallery/{entry_id}"),
    ("patch", "/gallery/{entry_id}"),
    ("get", "/models"),
    ("get", "/models/{model_id}"),
    ("post", "/models"),
    ("post", "/models/{model_id}/activate"),
    ("post", "/models/rollback"),
    ("post", "/models/reclaim"),
    ("post", "/models/{model_id}/calibrate"),
    ("get", "/jobs"),
    ("get", "/jobs/{job_id}"),
    ("get", "/jobs/{job_id}/events"),
    ("delete", "/jobs/{job_id}"),
    ("delete", "/persons/{person_id}"),
    ("post", "/query"),
    ("post", "/embed"),
    ("post", "/compare"),
    ("get", "/queries/{query_id}/patterns.png"),
    ("get", "/healthz"),
    ("get", "/whoami"),
    ("get", "/audit"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/docs"),
    ("get", "/"),
}


def test_the_one_model_is_the_active_one(shared_http: httpx.Client) -> None:
    body = shared_http.get("/models").json()
    assert body["active"] == MODEL_ID
    [model] = body["models"]
    assert (model["model_id"], model["active"]) == (MODEL_ID, True)
    assert model["config"]["num_patterns"] == 5
    assert model["embedding_dim"] == 3072
    assert shared_http.get(f"/models/{MODEL_ID}").json() == model
    activated = shared_http.post(f"/models/{MODEL_ID}/activate")
    assert (activated.status_code, activated.json()) == (200, model)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/models/other", 404, "model_not_found"),
        ("POST", "/models/other/activate", 404, "model_not_found"),
        ("POST", "/models/rollback", 409, "no_earlier_model"),
        ("POST", "/models/reclaim", 409, "no_earlier_model"),
        ("POST", "/models/other/calibrate", 404, "model_not_found"),
        ("GET", "/jobs/1", 404, "job_not_found"),
        ("GET", "/jobs/1/events", 404, "job_not_found"),
        ("DELETE", "/jobs/1", 404, "job_not_found"),
        ("GET", "/gallery/none", 404, "entry_not_found"),
        ("GET", "/gallery/none/crop", 404, "entry_not_found"),
        ("GET", "/gallery/%00%20%F0%9F%98%80", 404, "entry_not_found"),
        ("DELETE", "/gallery/none", 404, "entry_not_found"),
        ("DELETE", "/persons/none", 404, "person_not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/gallery/a/b/c", 404, "not_found"),
        ("PUT", "/gallery", 405, "method_not_allowed"),
        ("GET", "/query", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_refusals_without_a_body(
    shared_http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    problem_of(shared_http.request(method, path), status, code)


def test_readiness_names_model_store_index_and_durability(shared_http: httpx.Client) -> None:
    assert shared_http.get("/healthz").json() == {"status": "ok"}
    body = shared_http.get("/readyz").json()
    assert body["status"] == "ready"
    assert body["model"]["model_id"] == MODEL_ID
    assert body["store"] == {"kind": "sqlite", "durability": "power-loss"}
    assert body["durability"] == "power-loss"
    assert [check["name"] for check in body["checks"]] == [
        "model",
        "encoder",
        "store",
        "index",
        "durability",
        "disk",
        "audit",
        "queue",
        "accepting",
    ]
    assert all(check["ok"] and check["detail"] for check in body["checks"])
    assert body["index"] == {
        "kind": "exact-fp16",
        "entries": 0,
        "persons": 0,
        "recall_at_10": None,
        "recall_target": 0.99,
    }


def test_a_store_that_does_not_answer_is_not_ready(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = replace(gallery.stats(), ready=False)
    monkeypatch.setattr(gallery, "stats", lambda: stats)
    response = http.get("/readyz")
    problem = problem_of(response, 503, "not_ready")
    assert problem["reasons"] == ["store: sqlite does not answer; searches go on"]
    assert response.headers["Retry-After"].isdecimal()
    assert http.get("/healthz").status_code == 200


def test_a_sane_request_id_is_kept_and_any_other_replaced(shared_http: httpx.Client) -> None:
    kept = shared_http.get("/healthz", headers={"X-Request-Id": "batch-7.part_2"})
    assert kept.headers["X-Request-Id"] == "batch-7.part_2"
    for given in [b"", b"x" * 65, b"with space", "ü".encode()]:
        answer = shared_http.get("/healthz", headers={b"X-Request-Id": given})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_a_breakdown_is_a_problem_that_gives_nothing_away(
    http: httpx.Client,
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(gallery, "get", broken)
    response = http.get("/gallery/a")
    problem_of(response, 500, "internal_error")
    assert "secret" not in response.text
    assert "a secret" in caplog.text
    [record] = [r for r in caplog.records if r.name == "service.requests"]
    assert record.__dict__["fields"]["request_id"] == response.headers["X-Request-Id"]


def test_a_line_break_in_a_path_makes_no_second_log_line(
    shared_http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        shared_http.get("/gallery/a%0Aforged")
    [record] = [r for r in caplog.records if r.name == "service.requests"]
    assert "\n" not in record.getMessage()


def test_the_page_of_documentation_needs_no_other_host(shared_http: httpx.Client) -> None:
    response = shared_http.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "http://" not in response.text
    assert "https://" not in response.text
    assert "<script" not in response.text
    for _, path in CALLS:
        assert path in response.text
    for kind in KINDS.values():
        assert f'id="{kind.code}"' in response.text


def test_openapi_describes_every_call_and_its_errors(shared_http: httpx.Client) -> None:
    document = shared_http.get("/openapi.json").json()
    calls: dict[tuple[str, str], dict[str, Any]] = {
        (method, path.replace(":path", "")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(calls) == CALLS
    for call, operation in calls.items():
        assert operation["description"], call
        for status, answer in operation["responses"].items():
            assert answer["description"], call
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, call
        needs_key = call not in {("get", "/healthz"), ("get", "/")}
        assert ("401" in operation["responses"]) == needs_key, call
        assert "500" in operation["responses"], call
    assert "Problem" in document["components"]["schemas"]


def test_openapi_shows_the_fields_of_the_forms(shared_http: httpx.Client) -> None:
    paths = shared_http.get("/openapi.json").json()["paths"]

    def form(path: str, method: str = "post", kind: str = "multipart/form-data") -> Any:
        return paths[path][method]["requestBody"]["content"][kind]["schema"]

    enrol = form("/gallery")
    assert enrol["required"] == ["file", "modality"]
    file = enrol["properties"]["file"]
    assert (file["type"], file["format"]) == ("string", "binary")
    assert enrol["properties"]["modality"]["enum"] == ["visible", "infrared"]
    query = form("/query")["properties"]
    assert (query["top_k"]["minimum"], query["top_k"]["maximum"]) == (1, 1000)
    assert query["target_modality"]["default"] == "any"
    assert "Not available" not in query["rerank"]["description"]
    assert "exclude_person_id" in query
    [metrics] = paths["/metrics"]["get"]["responses"]["200"]["content"]
    assert metrics == "text/plain; version=0.0.4; charset=utf-8"
    assert set(form("/gallery/{entry_id}", "patch", "application/json")["properties"]) == {
        "person_id",
        "camera_id",
        "captured_at",
        "attributes",
    }


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"modality": "any"}, "modality"),
        ({"captured_after": "yesterday"}, "captured_after"),
        ({"page": "2"}, "page"),
        ({"person_id": ["p", ""]}, "person_id"),
        ({"camera_id": ["1"] * 65}, "camera_id"),
        ({"attributes": '{"bag": ["red"]}'}, "attributes"),
        ({"modality": ["visible", "infrared"]}, "modality"),
        ({"exclude_camera_id": "1"}, "exclude_camera_id"),
    ],
)
def test_a_listing_with_a_bad_field_names_it(
    shared_http: httpx.Client, params: dict[str, str], field: str
) -> None:
    problem = problem_of(shared_http.get("/gallery", params=params), 422, "invalid_fields")
    assert [error["field"] for error in problem["errors"]] == [field]
    if field == "page":
        assert "cursor" in problem["errors"][0]["expected"]


@pytest.mark.parametrize("cursor", ["zz", "", "AAAA", "x" * 400, "%00"])
def test_a_cursor_of_somebody_else_is_refused(shared_http: httpx.Client, cursor: str) -> None:
    problem_of(shared_http.get("/gallery", params={"cursor": cursor}), 422, "invalid_cursor")
