"""Enrolling, listing, reading, changing and erasing entries over HTTP."""

import hashlib
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gallery_index.errors import StorageFullError, StoreUnavailableError
from gallery_index.gallery import Gallery
from tests.service.claims import fields_of, problem_of
from tests.service.fakes import MODEL_ID, TinyEncoder, crop

ENTRY_FIELDS = {
    "entry_id",
    "person_id",
    "camera_id",
    "modality",
    "captured_at",
    "attributes",
    "model_id",
    "crop_sha256",
    "enrolled_at",
    "crop_url",
}


def enrol(http: httpx.Client, seed: int, **fields: str) -> dict[str, Any]:
    data = {"modality": "visible", **fields}
    response = http.post("/gallery", files={"file": crop(seed)}, data=data)
    assert response.status_code == 201, response.text
    entry = response.json()
    assert isinstance(entry, dict)
    return entry


def test_an_enrolled_crop_is_answered_with_all_that_was_said_about_it(http: httpx.Client) -> None:
    entry = enrol(
        http,
        1,
        person_id="p 1",
        camera_id="cam3",
        captured_at="2026-01-01T00:30:00+01:00",
        attributes='{"height_cm": 180, "bag": null}',
        entry_id="first",
    )
    assert set(entry) == ENTRY_FIELDS
    assert entry["entry_id"] == "first"
    assert entry["person_id"] == "p 1"
    assert entry["camera_id"] == "cam3"
    assert entry["modality"] == "visible"
    assert entry["captured_at"] == "2025-12-31T23:30:00Z"
    assert entry["attributes"] == {"height_cm": 180, "bag": None}
    assert entry["model_id"] == MODEL_ID
    assert entry["crop_sha256"] == hashlib.sha256(crop(1)).hexdigest()
    assert http.get("/gallery/first").json() == entry


def test_an_entry_without_an_id_gets_one(http: httpx.Client) -> None:
    first, second = enrol(http, 1), enrol(http, 1)
    assert first["entry_id"] != second["entry_id"]
    assert first["person_id"] is None
    assert first["captured_at"] is None
    assert first["attributes"] == {}


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_a_crop_comes_back_byte_for_byte(http: httpx.Client, format: str, media_type: str) -> None:
    data = crop(1, format)
    entry = http.post("/gallery", files={"file": data}, data={"modality": "infrared"}).json()
    response = http.get(entry["crop_url"])
    assert response.status_code == 200
    assert response.content == data
    assert response.headers["Content-Type"] == media_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_same_id_and_bytes_again_are_the_same_entry(
    http: httpx.Client, encoder: TinyEncoder
) -> None:
    entry = enrol(http, 1, entry_id="a", person_id="p")
    again = http.post(
        "/gallery", files={"file": crop(1)}, data={"modality": "visible", "entry_id": "a"}
    )
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == entry
    assert len(http.get("/gallery").json()["entries"]) == 1
    assert encoder.batch_sizes == [1]  # the replay cost no inference


@pytest.mark.parametrize(("seed", "modality"), [(2, "visible"), (1, "infrared")])
def test_other_bytes_or_modality_under_a_taken_id_are_a_conflict(
    http: httpx.Client, seed: int, modality: str
) -> None:
    enrol(http, 1, entry_id="a")
    response = http.post(
        "/gallery", files={"file": crop(seed)}, data={"modality": modality, "entry_id": "a"}
    )
    problem_of(response, 409, "entry_conflict")
    assert http.get("/gallery/a").json()["modality"] == "visible"


def test_a_bad_item_of_a_batch_spoils_no_other(http: httpx.Client) -> None:
    enrol(http, 9, entry_id="taken")
    items: list[tuple[bytes, dict[str, Any]]] = [
        (crop(1), {"modality": "visible", "entry_id": "one", "attributes": {"a": [1]}}),
        (b"not an image", {"modality": "visible"}),
        (crop(2), {"modality": "ultraviolet"}),
        (crop(3), {"modality": "visible", "entry_id": "taken"}),
        (crop(1)[:60], {"modality": "visible"}),
        (b"x" * 200_001, {"modality": "visible"}),
        (crop(9), {"modality": "visible", "entry_id": "taken"}),
        (crop(4), {"modality": "infrared", "person_id": "p"}),
    ]
    response = http.post(
        "/gallery/batch",
        files=[("files", data) for data, _ in items],
        data={"entries": json.dumps([fields for _, fields in items])},
    )
    assert response.status_code == 200
    results = response.json()["results"]
    codes = [result.get("problem", {}).get("code") for result in results]
    assert codes == [
        None,
        "unsupported_image",
        "invalid_fields",
        "entry_conflict",
        "undecodable_image",
        "too_many_bytes",
        None,
        None,
    ]
    assert [result["status"] for result in results] == [201, 415, 422, 409, 422, 413, 201, 201]
    assert fields_of(results[2]["problem"]) == {"entries[2].modality"}
    assert set(results[0]) == {"status", "entry"}
    assert set(results[0]["entry"]) == ENTRY_FIELDS
    assert results[6]["replayed"] is True
    assert len(http.get("/gallery").json()["entries"]) == 3


@pytest.mark.parametrize(
    "entries",
    ["[]", "{}", "[{}", '[{"modality": "visible"}]', '[{"modality": NaN}, 1]', "[" * 5000],
)
def test_entries_that_do_not_fit_the_files_are_refused(http: httpx.Client, entries: str) -> None:
    response = http.post(
        "/gallery/batch",
        files=[("files", crop(1)), ("files", crop(2))],
        data={"entries": entries},
    )
    problem_of(response, 422, response.json()["code"])
    assert response.json()["code"] in {"invalid_fields", "malformed_body"}
    assert http.get("/gallery").json()["entries"] == []


def test_pages_hold_every_entry_once_while_others_write(http: httpx.Client) -> None:
    for seed in range(5):
        enrol(http, seed, entry_id=f"e{seed}")
    first = http.get("/gallery", params={"limit": 2}).json()
    enrol(http, 7, entry_id="late")
    http.delete("/gallery/e0")
    seen, cursor = [entry["entry_id"] for entry in first["entries"]], first["next_cursor"]
    while cursor is not None:
        page = http.get("/gallery", params={"limit": 2, "cursor": cursor}).json()
        seen += [entry["entry_id"] for entry in page["entries"]]
        cursor = page["next_cursor"]
    assert seen == ["e0", "e1", "e2", "e3", "e4", "late"]


def test_filters_of_the_listing(http: httpx.Client) -> None:
    noted = {"captured_at": "2026-01-01T00:00:00Z", "attributes": '{"bag": true, "floor": 1}'}
    enrol(http, 1, entry_id="a", person_id="p", camera_id="1", **noted)
    enrol(http, 2, entry_id="b", person_id="p", camera_id="2", captured_at="2026-01-02T00:00:00Z")
    http.post("/gallery", files={"file": crop(3)}, data={"modality": "infrared", "entry_id": "c"})

    def listed(**params: str | list[str]) -> list[str]:
        return [e["entry_id"] for e in http.get("/gallery", params=params).json()["entries"]]

    assert listed(person_id="p") == ["a", "b"]
    assert listed(camera_id="2") == ["b"]
    assert listed(modality="infrared") == ["c"]
    assert listed(captured_after="2026-01-01T12:00:00Z") == ["b"]
    assert listed(captured_before="2026-01-01T12:00:00+00:00") == ["a"]
    assert listed(person_id="nobody") == []
    assert listed(camera_id=["1", "2"]) == ["a", "b"]
    assert listed(person_id=["nobody", "p"], camera_id="1") == ["a"]
    assert listed(attributes='{"bag": true, "floor": 1.0}') == ["a"]
    assert listed(attributes='{"bag": 1}') == []


def test_a_patch_changes_what_it_names_and_nothing_else(http: httpx.Client) -> None:
    before = enrol(http, 1, entry_id="a", person_id="p", camera_id="1", attributes='{"x": 1}')
    response = http.patch("/gallery/a", json={"person_id": "q", "camera_id": None})
    assert response.status_code == 200
    assert response.json() == {**before, "person_id": "q", "camera_id": None}
    changes = {"captured_at": "2026-01-01T00:00:00Z", "attributes": {"y": 2}}
    after = http.patch("/gallery/a", json=changes).json()
    assert after == {**response.json(), **changes}
    assert http.get("/gallery/a").json() == after


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"modality": "infrared"}, "modality"),
        ({"crop": "x"}, "crop"),
        ({"entry_id": "b"}, "entry_id"),
        ({"person_id": 7}, "person_id"),
        ({"person_id": ""}, "person_id"),
        ({"camera_id": "x" * 129}, "camera_id"),
        ({"captured_at": 1700000000}, "captured_at"),
        ({"attributes": [1]}, "attributes"),
        ([1, 2], "body"),
    ],
)
def test_a_patch_of_anything_else_is_refused(http: httpx.Client, body: object, field: str) -> None:
    before = enrol(http, 1, entry_id="a")
    problem = problem_of(http.patch("/gallery/a", json=body), 422, "invalid_fields")
    assert fields_of(problem) == {field}
    assert http.get("/gallery/a").json() == before


def test_a_deleted_entry_is_gone(http: httpx.Client) -> None:
    enrol(http, 1, entry_id="a")
    assert http.delete("/gallery/a").status_code == 204
    for method, path in [
        ("GET", "/gallery/a"),
        ("GET", "/gallery/a/crop"),
        ("DELETE", "/gallery/a"),
    ]:
        problem_of(http.request(method, path), 404, "entry_not_found")
    problem_of(http.patch("/gallery/a", json={"person_id": "p"}), 404, "entry_not_found")
    query = http.post("/query", files={"file": crop(1)}, data={"modality": "visible"}).json()
    assert query["matches"] == []
    assert query["gallery_size"] == 0


@pytest.mark.parametrize("person_id", ["p1", "a/b c", "ä%2F?#"])
def test_an_erased_person_leaves_nothing_but_a_receipt(http: httpx.Client, person_id: str) -> None:
    enrol(http, 1, entry_id="a", person_id=person_id)
    enrol(http, 2, entry_id="b", person_id=person_id)
    enrol(http, 3, entry_id="c", person_id="another")
    response = http.delete("/persons/" + quote(person_id, safe=""))
    assert response.status_code == 200
    receipt = response.json()
    assert receipt["person_id"] == person_id
    assert sorted(receipt["entry_ids"]) == ["a", "b"]
    assert (receipt["entries"], receipt["vectors"], receipt["crops"]) == (2, 2, 2)
    assert receipt["erased_at"].endswith("Z")
    assert [e["entry_id"] for e in http.get("/gallery").json()["entries"]] == ["c"]
    problem_of(http.delete("/persons/" + quote(person_id, safe="")), 404, "person_not_found")


def test_a_store_that_does_not_answer_asks_to_come_back(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailableError("redis at redis-host does not answer")

    monkeypatch.setattr(gallery, "add", unavailable)
    response = http.post("/gallery", files={"file": crop(1)}, data={"modality": "visible"})
    problem_of(response, 503, "store_unavailable")
    assert int(response.headers["Retry-After"]) >= 1


def test_a_full_disk_is_507(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "add", lambda entries, **_: [StorageFullError("no room left")])
    response = http.post("/gallery", files={"file": crop(1)}, data={"modality": "visible"})
    problem_of(response, 507, "storage_full")
