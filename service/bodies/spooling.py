"""Forms whose files are too large for memory: they go to the disk while they arrive.

Nothing else of a form is read here: each part is a file with a place of its own.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request

from gallery_index.errors import StorageFullError
from gallery_index.files.durable_files import storage_errors
from service.bodies.fields import shown
from service.bodies.multipart import MultipartReader, Part
from service.bodies.uploads import (
    MAX_OVERHEAD_BYTES,
    MULTIPART,
    announced_bytes,
    chunks_of,
    content_type_of,
    refuse_query,
)
from service.context import in_thread
from service.errors import (
    BodyTooLargeError,
    FieldError,
    InvalidFieldsError,
    UnsupportedContentError,
)
from service.observing.readiness import MIN_FREE_BYTES
from service.observing.stages import stages_of, timed

PIECE_BYTES: Final = 2**20
"""How much is kept in memory before a thread takes it to the disk."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that a form has to have: the name of its part, its place, how long it may be."""

    name: str
    path: Path
    max_bytes: int


async def spool_form(request: Request, files: Sequence[FilePart]) -> None:
    """Write each file of a form to its place; they are whole, but not synced, when this returns.

    Raises: InvalidFieldsError, BodyTooLargeError, MalformedBodyError, UnsupportedContentError,
    ClientLeftError, StorageFullError, GalleryError; the places may have parts of files then.
    """
    refuse_query(request)
    content_type, options = content_type_of(request)
    if content_type != MULTIPART:
        raise UnsupportedContentError(f"expected a body of {MULTIPART}, came {shown(content_type)}")
    max_bytes = sum(file.max_bytes for file in files) + MAX_OVERHEAD_BYTES
    _refuse_full(min(announced_bytes(request), max_bytes), files[0].path.parent)
    with timed(stages_of(request), "read"), ExitStack() as stack:
        sinks = {file.name: _Sink(file, stack.enter_context(_opened(file))) for file in files}
        boundary = options.get(b"boundary", b"")
        reader = stack.enter_context(
            closing(MultipartReader(boundary, max_bytes=MAX_OVERHEAD_BYTES, sinks=sinks))
        )
        waiting = bytearray()
        async for chunk in chunks_of(request, max_bytes):
            waiting += chunk
            if len(waiting) >= PIECE_BYTES:
                await in_thread(reader.feed, bytes(waiting))
                waiting.clear()
        await in_thread(reader.feed, bytes(waiting))
        _check_parts(reader.finish(), files)


class _Sink:
    """Writes one part to its place, up to its bound."""

    def __init__(self, part: FilePart, file: BinaryIO) -> None:
        self._part = part
        self._file = file

    def write(self, data: bytes, /) -> None:
        with storage_errors(self._part.path):
            self._file.write(data)
        if self._file.tell() > self._part.max_bytes:
            raise BodyTooLargeError(
                f"{self._part.name} has more than {self._part.max_bytes:,} bytes"
            )


def _opened(file: FilePart) -> BinaryIO:
    with storage_errors(file.path):
        return file.path.open("wb", buffering=0)


def _refuse_full(size: int, directory: Path) -> None:
    """Leave what the rest of the service needs to go on."""
    free = shutil.disk_usage(directory).free
    if size + MIN_FREE_BYTES > free:
        raise StorageFullError(
            f"no room for {size:,} bytes: {free:,} are free, {MIN_FREE_BYTES:,} are to stay so"
        )


def _check_parts(parts: Sequence[Part], files: Sequence[FilePart]) -> None:
    """Each file once and nothing else. Raises: InvalidFieldsError."""
    counts = Counter(part.name for part in parts)
    names = [file.name for file in files]
    errors: list[FieldError] = [
        {
            "field": name,
            "expected": "one file",
            "came": f"{counts[name]} of them" if counts[name] else "nothing",
        }
        for name in names
        if counts[name] != 1
    ]
    errors += [
        {"field": name[:80], "expected": f"{' and '.join(names)} alone", "came": "a part"}
        for name in counts
        if name not in names
    ]
    if errors:
        raise InvalidFieldsError(errors)
