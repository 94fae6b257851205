"""Bodies of requests: read within limits, then handed out as fields and files.

Owns what a body may weigh and which content types are read. What the fields mean is `fields`;
whether a file is an image is decided where it is decoded.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from model.image_formats import FormatName, format_of
from service.bodies.fields import FieldsT, parse_fields, shown
from service.bodies.multipart import MultipartReader, Part
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    FieldError,
    InvalidFieldsError,
    MalformedBodyError,
    UnsupportedContentError,
)
from service.observing.stages import stages_of, timed
from service.settings import ServiceSettings

MAX_TEXT_BYTES = 1024 * 1024
MAX_OVERHEAD_BYTES = 64 * 1024
MULTIPART, URLENCODED, JSON = (
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "application/json",
)
MEDIA_TYPES: dict[FormatName, str] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WebP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request; `data` ends at `max_bytes`, `size` counts all that came."""

    data: bytes
    size: int
    max_bytes: int

    def content(self) -> bytes:
        """Return the whole file. Raises: BodyTooLargeError."""
        if self.size > self.max_bytes:
            raise BodyTooLargeError(
                f"the file has {self.size:,} bytes; at most {self.max_bytes:,} are read"
            )
        return self.data


def media_type_of(image: bytes) -> str:
    """Return the media type of bytes that were decoded as an image before."""
    name = format_of(image)
    assert name is not None
    return MEDIA_TYPES[name]


async def read_form(
    request: Request,
    kind: type[FieldsT],
    settings: ServiceSettings,
    *,
    file_field: str = "file",
    min_files: int = 1,
    max_files: int = 1,
    repeatable: Collection[str] = (),
) -> tuple[FieldsT, list[Upload]]:
    """Read a form of fields and files; a field in `repeatable` comes as a list.

    Raises: InvalidFieldsError, BodyTooLargeError, MalformedBodyError, UnsupportedContentError.
    """
    refuse_query(request)
    room = max_files * settings.max_upload_bytes + MAX_OVERHEAD_BYTES
    max_bytes = min(room + MAX_TEXT_BYTES, settings.max_request_bytes)
    with timed(stages_of(request), "read"):
        parts = await _read_parts(request, max_bytes, settings.max_upload_bytes)
    errors: list[FieldError] = []
    files = [part for part in parts if part.name == file_field]
    texts = [part for part in parts if part.name != file_field]
    if not min_files <= len(files) <= max_files:
        wanted = f"{min_files}" if min_files == max_files else f"{min_files} to {max_files}"
        came = f"{len(files)} of them" if files else "nothing"
        errors.append({"field": file_field, "expected": f"{wanted} image file(s)", "came": came})
    values = _values(texts, repeatable, errors)
    try:
        fields = parse_fields(kind, values, allowed=[file_field])
    except InvalidFieldsError as error:
        raise InvalidFieldsError([*errors, *error.errors]) from None
    if errors:
        raise InvalidFieldsError(errors)
    limit = settings.max_upload_bytes
    return fields, [Upload(bytes(part.data), part.size, limit) for part in files]


async def read_json(request: Request, *, empty: object = None) -> object:
    """Read a JSON body; `empty` stands for none, where one may be left out.

    Raises: as `read_form`.
    """
    refuse_query(request)
    content_type, _ = content_type_of(request)
    if content_type not in ("", JSON) and not content_type.endswith("+json"):
        raise UnsupportedContentError(f"expected a body of {JSON}, came {shown(content_type)}")
    data = bytearray()
    async for chunk in chunks_of(request, MAX_TEXT_BYTES):
        data += chunk
    if not data and empty is not None:
        return empty
    return parse_json(bytes(data))


def refuse_repeated(request: Request, repeatable: Collection[str]) -> None:
    """Refuse a query string that gives a field twice. Raises: InvalidFieldsError."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    twice = {name for name, count in counts.items() if count > 1 and name not in repeatable}
    if twice:
        raise InvalidFieldsError(
            [
                {"field": name[:80], "expected": "one value", "came": "another one"}
                for name in sorted(twice)
            ]
        )


def parse_json(data: str | bytes) -> Any:
    """Parse JSON as its standard has it: no NaN, a bounded depth. Raises: MalformedBodyError."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedBodyError(f"not JSON: {error}") from None


async def _read_parts(request: Request, max_bytes: int, max_file_bytes: int) -> list[Part]:
    content_type, options = content_type_of(request)
    if content_type == MULTIPART:
        limit = max(max_file_bytes, MAX_TEXT_BYTES)
        with closing(MultipartReader(options.get(b"boundary", b""), max_bytes=limit)) as reader:
            async for chunk in chunks_of(request, max_bytes):
                reader.feed(chunk)
            return reader.finish()
    body = bytearray()
    async for chunk in chunks_of(request, MAX_TEXT_BYTES):
        body += chunk
    if content_type == URLENCODED or not body:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return [Part(name, bytearray(value.encode()), len(value)) for name, value in pairs]
    raise UnsupportedContentError(f"expected a body of {MULTIPART}, came {shown(content_type)}")


def _values(
    texts: list[Part], repeatable: Collection[str], errors: list[FieldError]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for part in texts:
        if part.size > MAX_TEXT_BYTES:
            raise BodyTooLargeError(
                f"{part.name} has {part.size:,} bytes; at most {MAX_TEXT_BYTES:,} are read"
            )
        try:
            text = part.data.decode()
        except UnicodeDecodeError:
            came = shown(bytes(part.data[:20]))
            errors.append({"field": part.name, "expected": "text in UTF-8", "came": came})
            continue
        if part.name in repeatable:
            values.setdefault(part.name, []).append(text)  # type: ignore[attr-defined]
        elif part.name in values:
            errors.append({"field": part.name, "expected": "one value", "came": "another one"})
        else:
            values[part.name] = text
    return values


async def chunks_of(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body; refuse it by its announced length, or as soon as it grows too long.

    Raises: BodyTooLargeError, UnsupportedContentError, ClientLeftError.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedContentError(f"expected a body without encoding, came {shown(encoding)}")
    size = announced_bytes(request)
    if size > max_bytes:
        raise BodyTooLargeError(f"the body has {size:,} bytes; at most {max_bytes:,} are read")
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise BodyTooLargeError(f"the body has more than {max_bytes:,} bytes")
            yield chunk
    except ClientDisconnect:
        raise ClientLeftError("the client left while it sent its request") from None


def announced_bytes(request: Request) -> int:
    """Return the length that a body is said to have; 0: nothing is said."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


def content_type_of(request: Request) -> tuple[str, dict[bytes, bytes]]:
    """Return the media type of a body, in lower case, and its parameters."""
    name, options = parse_options_header(request.headers.get("content-type", ""))
    return name.decode("latin-1"), options


def refuse_query(request: Request) -> None:
    """Refuse fields in the query string. Raises: InvalidFieldsError."""
    if request.query_params:
        raise InvalidFieldsError(
            [
                {
                    "field": name,
                    "expected": "nothing in the query string: this call reads its body",
                    "came": shown(value),
                }
                for name, value in request.query_params.items()
            ]
        )
