"""What every answer tells browsers."""

import httpx
import pytest

from gallery_index.gallery import Gallery
from tests.service.fakes import crop

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/models", {}, 200),
        ("GET", "/healthz", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/whoami", {}, 200),
        ("GET", "/web/none.js", {}, 404),
        ("GET", "/gallery/none", {}, 404),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/gallery", {}, 405),
        ("POST", "/query", {}, 422),
        ("POST", "/query", {"Origin": "http://evil.example"}, 403),
        ("GET", "/models", {"Host": "evil.example"}, 403),
    ],
)
def test_every_answer_has_each_header_once(
    shared_http: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = shared_http.request(method, path, headers=headers)
    assert response.status_code == status
    for name, value in EXPECTED.items():
        assert response.headers.get_list(name) == [value], name


def test_a_breakdown_has_them_too(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "get", None)
    response = http.get("/gallery/a")
    assert response.status_code == 500
    assert {name: response.headers[name] for name in EXPECTED} == EXPECTED


def test_an_answer_keeps_its_own(http: httpx.Client) -> None:
    files, data = {"file": crop(1)}, {"modality": "visible", "entry_id": "a"}
    assert http.post("/gallery", files=files, data=data).status_code == 201
    crop_headers = http.get("/gallery/a/crop").headers
    assert crop_headers.get_list("Cache-Control") == ["private, no-store"]
    assert crop_headers["Cross-Origin-Resource-Policy"] == "same-origin"
    [policy] = http.get("/docs").headers.get_list("Content-Security-Policy")
    assert "style-src 'unsafe-inline'" in policy
