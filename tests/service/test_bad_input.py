"""Bodies and images that cannot be used: each gets its code, nothing is stored, nothing breaks."""

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.claims import fields_of, problem_of
from tests.service.fakes import crop

MUTANTS = 300


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header announces a size; its few bytes of data never fill it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


GOOD = {
    "jpeg": crop(1, "JPEG"),
    "png": crop(1, "PNG"),
    "webp": crop(1, "WEBP"),
    "bmp": crop(1, "BMP"),
    "tiff": crop(1, "TIFF"),
    "grey": saved(Image.new("L", (32, 64), 90)),
    "grey of 16 bits": saved(Image.fromarray(np.full((64, 32), 9000, np.uint16))),
    "tiff of 16 bits": saved(Image.fromarray(np.full((64, 32), 9000, np.uint16)), "TIFF"),
    "bilevel": saved(Image.new("1", (32, 64), 1)),
    "palette": saved(Image.new("P", (32, 64), 3)),
    "alpha": saved(Image.new("RGBA", (32, 64), (9, 9, 9, 9))),
    "animated": saved(
        Image.new("RGB", (32, 64)),
        "WEBP",
        save_all=True,
        append_images=[Image.new("RGB", (32, 64), "red")],
    ),
}
BAD = {
    "no bytes": (b"", 422, "undecodable_image"),
    "text": (b"just words", 415, "unsupported_image"),
    "html": (b"<html><script>alert(1)</script></html>", 415, "unsupported_image"),
    "gif": (saved(Image.new("P", (32, 64)), "GIF"), 415, "unsupported_image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
    "pdf": (b"%PDF-1.7 ...", 415, "unsupported_image"),
    "zip": (b"PK\x03\x04" + bytes(60), 415, "unsupported_image"),
    "truncated png": (crop(1, "PNG")[:-40], 422, "undecodable_image"),
    "truncated jpeg": (crop(1, "JPEG")[:300], 422, "undecodable_image"),
    "only the magic of a png": (b"\x89PNG\r\n\x1a\n", 422, "undecodable_image"),
    "one pixel": (saved(Image.new("RGB", (1, 1))), 422, "undecodable_image"),
    "a line": (saved(Image.new("RGB", (300, 1))), 422, "undecodable_image"),
    "a bomb": (png_of_size(20_000, 20_000), 422, "too_many_pixels"),
    "too many pixels": (saved(Image.new("RGB", (400, 300))), 422, "too_many_pixels"),
    "too many bytes": (b"\x89PNG\r\n\x1a\n" + bytes(200_000), 413, "too_many_bytes"),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_image_that_is_promised_is_read(shared_http: httpx.Client, name: str) -> None:
    files = {"file": GOOD[name]}
    response = shared_http.post("/embed", files=files, data={"modality": "visible"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", ["/gallery", "/query", "/embed"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_gets_its_code(shared_http: httpx.Client, path: str, name: str) -> None:
    data, status, code = BAD[name]
    response = shared_http.post(path, files={"file": data}, data={"modality": "visible"})
    problem_of(response, status, code)


@pytest.mark.parametrize("name", ["text", "a bomb", "too many bytes"])
def test_a_name_and_a_type_that_lie_make_no_difference(
    shared_http: httpx.Client, name: str
) -> None:
    data, status, code = BAD[name]
    response = shared_http.post(
        "/embed", files={"file": ("x.png", data, "image/png")}, data={"modality": "visible"}
    )
    problem_of(response, status, code)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("modality", "thermal"),
        ("modality", ""),
        ("person_id", ""),
        ("person_id", "x" * 129),
        ("person_id", "a\tb"),
        ("camera_id", "a\u2028b"),
        ("captured_at", "2026-01-01 00:00:00Z"),
        ("captured_at", "2026-02-30T00:00:00Z"),
        ("captured_at", "2026-01-01T24:00:01Z"),
        ("entry_id", "a/b"),
        ("entry_id", ".."),
        ("entry_id", ""),
        ("entry_id", "x" * 129),
        ("attributes", "[]"),
        ("attributes", "{"),
        ("attributes", '{"a": NaN}'),
        ("attributes", '{"a": 1e999}'),
        ("attributes", '{"a": ' + "9" * 400 + "}"),
        ("attributes", '{"a": ' + "[" * 2000 + "]" * 2000 + "}"),
        ("attributes", '{"a": "\\ud800"}'),
        ("attributes", json.dumps({"a": "x" * 20_000})),
        ("attributes", json.dumps({"a": "ü" * 5_000})),
        ("crop_sha256", "0" * 64),
    ],
)
def test_an_enrolment_with_a_bad_field_names_it(
    shared_http: httpx.Client, field: str, value: str
) -> None:
    data = {"modality": "visible", field: value}
    response = shared_http.post("/gallery", files={"file": crop(1)}, data=data)
    assert fields_of(problem_of(response, 422, "invalid_fields")) == {field}


@pytest.mark.parametrize("path", ["/gallery", "/query", "/embed", "/compare", "/gallery/batch"])
def test_an_empty_form_names_what_is_missing(shared_http: httpx.Client, path: str) -> None:
    file, other = ("files", "entries") if path.endswith("batch") else ("file", "modality")
    bodies: list[dict[str, Any]] = [{}, {"data": {}}, {"files": {}}]
    for body in bodies:
        response = shared_http.post(path, **body)
        assert fields_of(problem_of(response, 422, "invalid_fields")) == {file, other}
    response = shared_http.post(path, data={"note": "urlencoded"})
    assert fields_of(problem_of(response, 422, "invalid_fields")) == {file, other, "note"}


def test_a_field_given_twice_is_refused(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/embed", files={"file": crop(1)}, data={"modality": ["visible", "infrared"]}
    )
    assert fields_of(problem_of(response, 422, "invalid_fields")) == {"modality"}


def test_a_field_in_the_query_string_is_refused(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/query?top_k=5", files={"file": crop(1)}, data={"modality": "visible"}
    )
    assert fields_of(problem_of(response, 422, "invalid_fields")) == {"top_k"}


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="modality"\r\n\r\nvisible'


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (BOUNDARY, b"", 422, "malformed_body"),
        (BOUNDARY, b"no boundary at all", 422, "malformed_body"),
        (BOUNDARY, PART, 422, "malformed_body"),
        (BOUNDARY, PART + b"\r\n--b", 422, "malformed_body"),
        (BOUNDARY, PART + b"\r\n--b--", 422, "invalid_fields"),
        (
            BOUNDARY,
            b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
            422,
            "malformed_body",
        ),
        (BOUNDARY, b"--b\r\n\r\nx\r\n--b--", 422, "malformed_body"),
        (BOUNDARY, PART.replace(b"visible", b"\xff\xfe") + b"\r\n--b--", 422, "invalid_fields"),
        (BOUNDARY, (PART + b"\r\n") * 1100 + b"--b--", 422, "malformed_body"),
        ({"Content-Type": "multipart/form-data"}, PART, 422, "malformed_body"),
        (
            {"Content-Type": f"multipart/form-data; boundary={'x' * 3000}"},
            PART,
            422,
            "malformed_body",
        ),
        ({"Content-Type": "application/json"}, b"{}", 415, "unsupported_content"),
        ({"Content-Type": "image/png"}, crop(1), 415, "unsupported_content"),
        ({"Content-Type": "\xff"}, b"x", 415, "unsupported_content"),
        ({}, b"raw bytes", 415, "unsupported_content"),
    ],
)
def test_an_odd_body_gets_its_code(
    shared_http: httpx.Client, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    response = shared_http.post(
        "/embed",
        headers={name.encode(): value for name, value in encoded.items()},
        content=body,
    )
    problem_of(response, status, code)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"", 422, "malformed_body"),
        ({}, b"{", 422, "malformed_body"),
        ({}, b"[" * 100_000, 422, "malformed_body"),
        ({}, b'{"person_id": NaN}', 422, "malformed_body"),
        ({}, b"\xff\xfe{}", 422, "malformed_body"),
        ({}, b'{"person_id": "' + b"x" * 2_000_000 + b'"}', 413, "too_many_bytes"),
        ({"Content-Type": "text/plain"}, b"{}", 415, "unsupported_content"),
    ],
)
def test_an_odd_json_body_gets_its_code(
    shared_http: httpx.Client, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    problem_of(shared_http.patch("/gallery/none", headers=headers, content=body), status, code)


def test_a_body_announced_too_long_is_not_read(shared_http: httpx.Client) -> None:
    request = httpx.Request(
        "POST",
        "http://localhost/embed",
        headers={**BOUNDARY, "Content-Length": "99999999999"},
        content=b"x",
    )
    problem = problem_of(shared_http.send(request), 413, "too_many_bytes")
    assert "99,999,999,999" in problem["detail"]


def test_a_body_of_unannounced_length_is_cut_off(shared_http: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        for _ in range(2000):
            yield bytes(1000)

    response = shared_http.post("/embed", headers=BOUNDARY, content=body())
    problem_of(response, 413, "too_many_bytes")


def test_a_text_field_is_bounded_too(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/query",
        files={"file": crop(1)},
        data={"modality": "visible", "person_id": "x" * 900_000},
    )
    assert response.status_code in {413, 422}


def test_mutated_images_and_bodies_never_break_the_service(shared_http: httpx.Client) -> None:
    chance = random.Random(7)
    statuses: dict[int, int] = {}
    for index in range(MUTANTS):
        data = bytearray(chance.choice(list(GOOD.values())))
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        if index % 3 == 0:
            head = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
            body = bytearray(head + bytes(data) + b"\r\n" + PART + b"\r\n--b--\r\n")
            for _ in range(chance.randint(1, 5)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            response = shared_http.post("/embed", headers=BOUNDARY, content=bytes(body))
        else:
            response = shared_http.post(
                "/embed", files={"file": bytes(data)}, data={"modality": "visible"}
            )
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        if response.status_code != 200:
            problem_of(response, response.status_code, response.json()["code"])
    assert set(statuses) <= {200, 413, 415, 422}, statuses
    assert statuses[200] > 0
    assert statuses[422] > 0
    good = shared_http.post("/embed", files={"file": crop(1)}, data={"modality": "visible"})
    assert good.status_code == 200
