"""Damaged rows are embedded anew from their crops; nothing is guessed where the crop is bad too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.crops import CropFiles
from gallery_index.mending import mend_directory
from gallery_index.records import EntryFilter
from gallery_index.upkeep import UpkeepPolicy
from gallery_index.verification import verify_directory
from tests.gallery_index.embeddings import structured
from tests.gallery_index.places import Place, enrolled, ids, new

DIM = 256
COUNT = 80
VECTORS = structured(COUNT, DIM).astype(np.float32)
COMPRESSED = replace(UpkeepPolicy(), exact_below=50)
HEADER = 4096


def embed(crop: bytes) -> NDArray[np.float32]:
    """The embedding that the crop of a number was enrolled with."""
    vector: NDArray[np.float32] = VECTORS[int(crop.decode().removeprefix("crop "))]
    return vector


@pytest.fixture
def damaged(sqlite_place: Place) -> tuple[Place, list[str]]:
    """A closed gallery in codes, two of its rows spoilt, and what it answered before."""
    gallery = sqlite_place.open(dim=DIM, policy=COMPRESSED)
    enrolled(gallery, *[new(n, embedding=VECTORS[n]) for n in range(COUNT)])
    gallery.upkeep()
    assert gallery.stats().index_kind != "exact-fp16"
    row_size = gallery._files.vectors.row_size
    answer = ids(gallery.search(VECTORS[7], top_k=COUNT))
    sqlite_place.close()
    path = sqlite_place.file("vectors.bin")
    data = bytearray(path.read_bytes())
    for row in (7, 31):
        data[HEADER + (row + 1) * row_size - 3] ^= 0x40
    path.write_bytes(data)
    return sqlite_place, answer


def test_damaged_rows_are_what_their_crops_say_again(damaged: tuple[Place, list[str]]) -> None:
    place, answer = damaged
    assert len(verify_directory(place.directory).problems) == 2
    assert mend_directory(place.directory, embed) == 2
    assert verify_directory(place.directory).problems == []
    gallery = place.open(dim=DIM, policy=COMPRESSED)
    assert ids(gallery.search(VECTORS[7], top_k=COUNT)) == answer
    assert gallery.stats().damaged_rows == 0


def test_a_sound_gallery_is_left_as_it_is(sqlite_place: Place) -> None:
    gallery = sqlite_place.open(dim=DIM)
    enrolled(gallery, new(0, embedding=VECTORS[0]))
    sqlite_place.close()
    before = sqlite_place.file("vectors.bin").read_bytes()
    assert mend_directory(sqlite_place.directory, embed) == 0
    assert sqlite_place.file("vectors.bin").read_bytes() == before


def test_a_row_whose_crop_is_damaged_too_is_named_and_left(
    damaged: tuple[Place, list[str]],
) -> None:
    place, _ = damaged
    crops = CropFiles(place.directory / "crops")
    path: Path = crops.path(7)
    crops.close()
    path.write_bytes(b"crop 8")
    with pytest.raises(GalleryCorruptError, match=r"row 7 \(entry 'e7'\).*fails its checksum"):
        mend_directory(place.directory, embed)
    path.unlink()
    with pytest.raises(GalleryCorruptError, match=r"row 7 \(entry 'e7'\).*cannot be read"):
        mend_directory(place.directory, embed)
    gallery = place.open(dim=DIM, policy=COMPRESSED)
    gallery.delete("e7")  # the way out that the message names
    place.close()
    assert mend_directory(place.directory, embed) == 1
    gallery = place.open(dim=DIM, policy=COMPRESSED)
    assert len(gallery.list(EntryFilter(), limit=1000).entries) == COUNT - 1
    assert gallery.verify().problems == []
