"""Records as values of columns, and back. Owns how each field is written, keeps nothing."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import GalleryEntry
from gallery_index.table.attribute_texts import encode_attributes
from gallery_index.table.entry_columns import COLUMNS, NEVER

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT: Final[dict[str, Callable[[GalleryEntry], str | None]]] = {
    "person": attrgetter("person_id"),
    "camera": attrgetter("camera_id"),
    "modality": attrgetter("modality"),
    "media_type": lambda entry: entry.media_type or None,
    "attributes": lambda entry: encode_attributes(entry.attributes),
}


def texts_of(name: str, entries: Sequence[GalleryEntry]) -> list[str | None]:
    """Return the text of each entry in one vocabulary."""
    return list(map(_TEXT[name], entries))


def plain_columns(entries: Sequence[GalleryEntry]) -> dict[str, NDArray[Any]]:
    """Return the values of the columns that hold no codes, (n,) each."""
    count = len(entries)
    digests = bytes.fromhex("".join(entry.crop_sha256 for entry in entries))
    assert len(digests) == count * COLUMNS["crop_sha256"].itemsize
    return {
        "alive": np.ones(count, np.bool_),
        "row": np.fromiter((entry.row for entry in entries), np.int64, count),
        "captured_at": np.fromiter(
            (microseconds(entry.captured_at) for entry in entries), np.int64, count
        ),
        "enrolled_at": np.fromiter(
            (microseconds(entry.enrolled_at) for entry in entries), np.int64, count
        ),
        "crop_sha256": np.frombuffer(digests, COLUMNS["crop_sha256"]),
    }


def microseconds(time: datetime | None) -> int:
    """Return a time in microseconds since 1970; `NEVER` for no time."""
    return int(NEVER) if time is None else (time - EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime | None:
    """Return the time, in UTC, of microseconds since 1970; None for `NEVER`."""
    return None if microseconds == NEVER else EPOCH + timedelta(microseconds=microseconds)
