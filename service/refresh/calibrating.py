"""The calibration of a model by a gallery's own person ids.

Owns which entries take part and how their vectors are read; what becomes of them is
`model.calibrating`'s. Entries without a person take no part: nobody knows whom they show.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import GalleryEntry
from gallery_index.refreshable import RefreshableGallery
from model.calibrating import calibrate
from model.calibration import Calibration
from model.errors import CalibrationError
from model.labelled_pairs import compared

ENTRIES_A_PAGE: Final = 1000
ROWS_A_READ: Final = 256


@dataclass(frozen=True, slots=True)
class LabelledEntries:
    """What is known of entries that say whom they show, a list for each."""

    rows: list[int] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    modalities: list[str] = field(default_factory=list)
    cameras: list[str | None] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[GalleryEntry]) -> "LabelledEntries":
        """Take up the entries that have a person."""
        labelled = cls()
        for entry in entries:
            if entry.person_id is not None:
                labelled.rows.append(entry.row)
                labelled.persons.append(entry.person_id)
                labelled.modalities.append(entry.modality)
                labelled.cameras.append(entry.camera_id)
        return labelled

    def only(self, chosen: NDArray[np.int64]) -> "LabelledEntries":
        """Return those at some places."""
        fields = (self.rows, self.persons, self.modalities, self.cameras)
        return LabelledEntries(*([of_all[place] for place in chosen] for of_all in fields))


def calibrate_gallery(gallery: RefreshableGallery, model_id: str) -> Calibration:
    """Calibrate a model by the vectors that a gallery has of it.

    Vectors of a few thousand entries are read, however many there are: those of
    `model.labelled_pairs.compared`. Entries without a sound vector of the model take no part.

    Raises: CalibrationError where they do not suffice; ModelChangedError if the gallery has none of
    the model; GalleryError.
    """
    labelled = LabelledEntries.of(_entries(gallery))
    chosen = labelled.only(compared(labelled.persons, labelled.modalities))
    if not chosen.rows:
        raise CalibrationError("no entry of the gallery says whom it shows")
    vectors, sound = _read(gallery, np.array(chosen.rows, np.int64), model_id)
    usable = chosen.only(np.flatnonzero(sound))
    return calibrate(vectors[sound], usable.persons, usable.modalities, usable.cameras)


def _entries(gallery: RefreshableGallery) -> Iterator[GalleryEntry]:
    cursor = None
    while True:
        page = gallery.list(limit=ENTRIES_A_PAGE, cursor=cursor)
        yield from page.entries
        cursor = page.next_cursor
        if cursor is None:
            return


def _read(
    gallery: RefreshableGallery, rows: NDArray[np.int64], model_id: str
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Read vectors (n, D) of rows, some at a time, and which of them are sound (n,)."""
    parts = [
        gallery.vectors(rows[start : start + ROWS_A_READ], model_id)
        for start in range(0, len(rows), ROWS_A_READ)
    ]
    return (
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.sound for part in parts]),
    )
