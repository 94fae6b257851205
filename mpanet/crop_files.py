"""Crops read from their files in requests of bounded weight, whatever happens to the files.

Which files those are is `crop_list`; sending is `bulk_enrolment`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mpanet.crop_list import CropSource

MAX_REQUEST_BYTES = 8 * 2**20
MAX_FILE_BYTES = 64 * 2**20
"""A heavier file fits no request of a service with its default limits, and is not read."""

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CropFile:
    """A file to send; `stamp` is its size and time of change when it was found, None: no file."""

    source: CropSource
    stamp: Stamp | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.stamp[0] if self.stamp else 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a crop is not in the gallery: a code for programs, a reason for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReadCrop:
    """A crop and its bytes, or why there are none."""

    source: CropSource
    content: bytes | Refused


def batches(sources: Iterable[CropSource], max_crops: int) -> Iterator[list[CropFile]]:
    """Group crops into requests of bounded length and weight; a heavy file goes alone."""
    batch: list[CropFile] = []
    weight = 0
    for file in map(_found, sources):
        if batch and (len(batch) == max_crops or weight + file.size > MAX_REQUEST_BYTES):
            yield batch
            batch, weight = [], 0
        batch.append(file)
        weight += file.size
    if batch:
        yield batch


def read_files(files: Sequence[CropFile]) -> list[ReadCrop]:
    """Read files; one that vanished, changed since it was found or is too heavy is refused."""
    return [ReadCrop(file.source, _read(file)) for file in files]


def _found(source: CropSource) -> CropFile:
    try:
        return CropFile(source, _stamp(source.path.stat()))
    except OSError:
        return CropFile(source, None)  # reading it says why


def _read(file: CropFile) -> bytes | Refused:
    if file.size > MAX_FILE_BYTES:
        return Refused(
            "too_many_bytes", f"the file has {file.size:,} bytes; at most {MAX_FILE_BYTES:,} fit"
        )
    try:
        with file.source.path.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
            stamp = _stamp(os.fstat(opened.fileno()))
    except OSError as error:
        return Refused("unreadable_file", error.strerror or type(error).__name__)
    if file.stamp is not None and (stamp != file.stamp or len(content) != file.size):
        return Refused("changed_file", "the file changed since it was listed; run it again")
    return content


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns
