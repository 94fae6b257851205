"""Multipart bodies as no library writes them, each with what `POST /embed` must answer.

`OK` means that a crop and its modality can be found in it, so that it must be served.
"""

from typing import Final

from tests.end_to_end.wire import BOUNDARY, form, head, post
from tests.service.hostile.files import picture, saved

CROP: Final = saved(picture(), "PNG")
GOOD: Final = form({"modality": "visible"}, ("file", CROP))
END: Final = b"--%s--\r\n" % BOUNDARY
OK: Final = (200, "")
MALFORMED, FIELDS = (422, "malformed_body"), (422, "invalid_fields")
CONTENT, BROKEN = (415, "unsupported_content"), (422, "undecodable_image")
MULTIPART: Final = "multipart/form-data; boundary="
URLENCODED: Final = "application/x-www-form-urlencoded"


def part(headers: bytes, data: bytes) -> bytes:
    """Return a part whose headers are whatever is given."""
    return b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY, headers, data)


def named(name: bytes, data: bytes, more: bytes = b"") -> bytes:
    """Return a part with a name, and more parameters behind it."""
    return part(b'Content-Disposition: form-data; name="%s"%s' % (name, more), data)


MODALITY: Final = named(b"modality", b"visible")
FILE: Final = named(b"file", CROP, b'; filename="crop"')


def _with(*parts: bytes, **headers: object) -> bytes:
    return post("/embed", b"".join([*parts, END]), **headers)


def _filename(name: bytes) -> bytes:
    return _with(MODALITY, named(b"file", CROP, b"; filename=" + name))


def chunked(body: bytes, size: int) -> bytes:
    """Return a request without a length, in chunks of a size."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    start = head(
        "POST", "/embed", Content_Type=MULTIPART + BOUNDARY.decode(), Transfer_Encoding="chunked"
    )
    return start + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


Case = tuple[bytes, tuple[int, str]]
BODIES: Final[dict[str, Case]] = {
    "as it should be": (_with(MODALITY, FILE), OK),
    "the file first": (_with(FILE, MODALITY), OK),
    "no content type": (head("POST", "/embed", Content_Length=len(GOOD)) + GOOD, CONTENT),
    "no boundary": (post("/embed", GOOD, Content_Type="multipart/form-data"), MALFORMED),
    "an empty boundary": (post("/embed", GOOD, Content_Type=MULTIPART), MALFORMED),
    "another boundary": (post("/embed", GOOD, Content_Type=MULTIPART + "other"), MALFORMED),
    "a boundary of 3,000": (post("/embed", GOOD, Content_Type=MULTIPART + "x" * 3000), MALFORMED),
    "a boundary of dashes": (post("/embed", GOOD, Content_Type=MULTIPART + "-" * 40), MALFORMED),
    "a boundary of no text": (post("/embed", GOOD, Content_Type=MULTIPART + "\xff"), MALFORMED),
    "mixed instead of form-data": (
        post("/embed", GOOD, Content_Type="multipart/mixed; boundary=wire"), CONTENT,
    ),
    "json": (post("/embed", b"{}", Content_Type="application/json"), CONTENT),
    "a bare image": (post("/embed", CROP, Content_Type="image/png"), CONTENT),
    "no body": (post("/embed", b""), MALFORMED),
    "the end alone": (post("/embed", END), FIELDS),
    "no end": (post("/embed", GOOD[: -len(END)]), MALFORMED),
    "half an end": (post("/embed", GOOD[:-6]), MALFORMED),
    "cut in a header": (post("/embed", FILE[:30]), MALFORMED),
    "cut in the file": (post("/embed", GOOD[: len(GOOD) // 2]), MALFORMED),
    "bare line feeds": (post("/embed", GOOD.replace(b"\r\n", b"\n")), MALFORMED),
    "something before": (post("/embed", b"preamble\r\n" + GOOD), MALFORMED),
    "something behind": (post("/embed", GOOD + b"epilogue" * 99), OK),
    "a second form behind": (post("/embed", GOOD + GOOD), OK),
    "no headers in a part": (_with(part(b"", b"x")), MALFORMED),
    "no name in a part": (_with(part(b"Content-Disposition: form-data", b"x")), MALFORMED),
    "an empty name": (_with(MODALITY, FILE, named(b"", b"x")), MALFORMED),
    "a header without a colon": (_with(part(b"Content-Disposition form-data", b"x")), MALFORMED),
    "a header of 500 KB": (_with(part(b"X: " + b"x" * 500_000, b"x")), MALFORMED),
    "10,000 headers": (_with(part(b"\r\n".join([b"X: x"] * 10_000), b"x")), MALFORMED),
    "a name of 100 KB": (_with(MODALITY, FILE, named(b"n" * 100_000, b"x")), MALFORMED),
    "a name of bytes": (_with(MODALITY, FILE, named(b"\xff\0\xfe", b"x")), FIELDS),
    "a name in utf-8": (_with(MODALITY, FILE, named("größe".encode(), b"x")), FIELDS),
    "a name of a path": (_with(MODALITY, FILE, named(b"../../etc/passwd", b"x")), FIELDS),
    "a name with a null": (_with(MODALITY, FILE, named(b"modality%00", b"x")), FIELDS),
    "a name twice": (_with(MODALITY, MODALITY, FILE), FIELDS),
    "two names that differ": (_with(MODALITY, named(b"modality", b"infrared"), FILE), FIELDS),
    "two files": (_with(MODALITY, FILE, FILE), FIELDS),
    "1,000 parts": (_with(MODALITY, FILE, *[named(b"n%d" % n, b"") for n in range(1000)]), FIELDS),
    "1,025 parts": (_with(*[named(b"n", b"")] * 1025), MALFORMED),
    "1,000 files": (_with(MODALITY, *[named(b"file", b"")] * 1000), FIELDS),
    "a form in a form": (
        _with(MODALITY, part(
            b'Content-Disposition: form-data; name="file"\r\n'
            b"Content-Type: multipart/form-data; boundary=inner",
            b"--inner\r\n" + FILE + b"--inner--",
        )), FIELDS,
    ),
    "base64 announced": (
        _with(MODALITY, part(
            b'Content-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: base64',
            b"iVBORw0KGgo=",
        )), (415, "unsupported_image"),
    ),
    "a modality as a file": (_with(named(b"modality", b"visible", b'; filename="m"'), FILE), OK),
    "a file as a field": (_with(MODALITY, named(b"file", CROP)), OK),
    "a modality of bytes": (_with(named(b"modality", b"\xff\xfe"), FILE), FIELDS),
    "a modality of 500 KB": (_with(named(b"modality", b"v" * 500_000), FILE), FIELDS),
    "an empty file": (_with(MODALITY, named(b"file", b"")), BROKEN),
    "a file name of a path": (_filename(b'"../../../etc/passwd"'), OK),
    "a file name of a device": (_filename(b'"NUL.png"'), OK),
    "a file name with a null": (_filename(b'"a\0b.png"'), OK),
    "a file name that never ends": (_filename(b'"a.png'), OK),
    "a file name of bytes": (_filename(b'"\xff\xfe"'), OK),
    "a file name of 100 KB": (_filename(b'"' + b"n" * 100_000 + b'"'), MALFORMED),
    "a file name in rfc 5987": (_filename(b"x; filename*=utf-8''%00%2e%2e%2f"), OK),
    "in chunks of 7": (chunked(GOOD, 7), OK),
    "in chunks of one": (chunked(GOOD, 1), OK),
    "compressed, it says": (_with(MODALITY, FILE, Content_Encoding="gzip"), CONTENT),
    "in the query string too": (post("/embed?modality=visible", GOOD), FIELDS),
    "urlencoded": (
        post("/embed", b"modality=visible&file=x", Content_Type=URLENCODED),
        (415, "unsupported_image"),
    ),
}  # fmt: skip
