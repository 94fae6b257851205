"""Where a test keeps a gallery, entries to put in it, and brute force to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.gallery import Gallery
from gallery_index.generations.pointer import active_vectors
from gallery_index.opening import read_identity
from gallery_index.person_gallery import PersonGallery
from gallery_index.records import Added, EntryFilter, GalleryEntry, GroupBy, Match, NewEntry
from gallery_index.upkeep import UpkeepPolicy
from tests.gallery_index.early import EARLY

DIM = 16
MODEL = "model-a"
OTHER_MODEL = "model-b"
DIMS = {MODEL: DIM, OTHER_MODEL: 24}
"""The second model of the tests has another dimension, and every crop another direction."""


@dataclass
class Place:
    """A directory and a store. `crash` opens anew what was never closed, as after kill -9.

    With a `first_stage` galleries opened without a policy are `early`, and compressed so by who
    has called `early.compress_with`.
    """

    directory: Path
    redis_url: str | None = None
    opened: list[Gallery] = field(default_factory=list)
    first_stage: str | None = None

    def open(
        self,
        *,
        model_id: str | None = None,
        dim: int | None = None,
        policy: UpkeepPolicy | None = None,
        upkeep: bool = False,
    ) -> Gallery:
        """Open the gallery; unless told otherwise, with the model that it is of."""
        if model_id is None:
            model_id = self.model_id
        if dim is None:
            dim = DIMS.get(model_id, DIM)
        gallery = Gallery.open(
            self.directory,
            model_id=model_id,
            embedding_dim=dim,
            redis_url=self.redis_url,
            policy=policy or (EARLY if self.first_stage else None),
            upkeep=upkeep,
        )
        self.opened.append(gallery)
        return gallery

    @property
    def model_id(self) -> str:
        """The model whose vectors are searched in the directory."""
        if not active_vectors(self.directory).exists():
            return MODEL
        return read_identity(self.directory).model_id

    def crash(self) -> None:
        """Let go of the files as the kernel would: nothing is flushed or put in order."""
        gallery = self.opened[-1]
        gallery._files.close()
        gallery._closed = True

    def close(self) -> None:
        """Close whatever is open."""
        for gallery in self.opened:
            gallery.close()

    def file(self, pattern: str) -> Path:
        """Return the one file that matches."""
        (found,) = self.directory.glob(pattern)
        return found


def vector(seed: int, dim: int = DIM) -> NDArray[np.float32]:
    """A random direction, the same for the same seed."""
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def vector_by(model_id: str, seed: int) -> NDArray[np.float32]:
    """The direction of a seed's crop by one of the two models of the tests."""
    return vector(seed) if model_id == MODEL else vector(seed + 10**8, DIMS[model_id])


def embed(model_id: str, crops: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
    """Embed crops of seeds by one of the two models of the tests; other bytes cannot be."""
    return [
        vector_by(model_id, int(crop[5:])) if crop.startswith(b"crop ") else None for crop in crops
    ]


def new(
    seed: int,
    *,
    entry_id: str | None = None,
    person_id: str | None = None,
    camera_id: str | None = None,
    modality: str = "visible",
    captured_at: datetime | None = None,
    crop: bytes | None = None,
    embedding: NDArray[np.float32] | None = None,
) -> NewEntry:
    """An entry whose vector, crop and id come from a seed."""
    return NewEntry(
        embedding=vector(seed) if embedding is None else embedding,
        crop=f"crop {seed}".encode() if crop is None else crop,
        media_type="image/png",
        modality=modality,
        entry_id=f"e{seed}" if entry_id is None else entry_id,
        person_id=person_id,
        camera_id=camera_id,
        captured_at=captured_at,
    )


def enrolled(gallery: PersonGallery, *entries: NewEntry) -> list[GalleryEntry]:
    """Add entries that must all be accepted."""
    results = gallery.add(entries)
    assert all(isinstance(result, Added) for result in results), results
    return [result.entry for result in results if isinstance(result, Added)]


def ids(found: list[Match] | list[GalleryEntry]) -> list[str]:
    """Return the entry ids in order."""
    return [item.entry.entry_id if isinstance(item, Match) else item.entry_id for item in found]


@dataclass
class BruteForce:
    """The gallery as a list: the vectors as sent, everything else as returned."""

    entries: list[GalleryEntry] = field(default_factory=list)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def add(self, entry: GalleryEntry, embedding: NDArray[np.float32]) -> None:
        """Remember an entry."""
        self.entries.append(entry)
        self.vectors[entry.entry_id] = embedding

    def matching(self, wanted: EntryFilter) -> list[GalleryEntry]:
        """Return the entries that pass a filter, in the order of enrolment."""
        kept = sorted(self.entries, key=lambda entry: entry.row)
        return [entry for entry in kept if _passes(entry, wanted)]

    def search(
        self,
        query: NDArray[np.float32],
        top_k: int,
        wanted: EntryFilter,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
    ) -> list[tuple[str, float]]:
        """Return (entry id, similarity) by comparing everything with everything."""
        direction = _unit(query).astype(np.float64)
        scored = []
        for entry in self.matching(wanted):
            stored = _unit(self.vectors[entry.entry_id]).astype(np.float16)
            scored.append((float(np.float32(stored.astype(np.float64) @ direction)), entry))
        scored.sort(key=lambda pair: (-pair[0], pair[1].row))
        answer: list[tuple[str, float]] = []
        persons: list[str] = []
        for similarity, entry in scored:
            if min_similarity is not None and similarity < min_similarity:
                continue
            if group_by == "person" and entry.person_id in persons:
                continue
            if entry.person_id is not None:
                persons.append(entry.person_id)
            answer.append((entry.entry_id, similarity))
        return answer[:top_k]


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = values.astype(np.float64)
    unit: NDArray[np.float32] = (wide / np.sqrt((wide * wide).sum())).astype(np.float32)
    return unit


def _passes(entry: GalleryEntry, wanted: EntryFilter) -> bool:
    when = entry.captured_at
    after, before = wanted.captured_after, wanted.captured_before
    return (
        _is_among(entry.person_id, wanted.person_id, otherwise=True)
        and not _is_among(entry.person_id, wanted.exclude_person_id, otherwise=False)
        and _is_among(entry.camera_id, wanted.camera_id, otherwise=True)
        and not _is_among(entry.camera_id, wanted.exclude_camera_id, otherwise=False)
        and (wanted.modality is None or entry.modality == wanted.modality)
        and (after is None or (when is not None and when >= after))
        and (before is None or (when is not None and when < before))
        and all(_says(entry, name, value) for name, value in wanted.attributes.items())
    )


def _is_among(name: str | None, wanted: str | tuple[str, ...] | None, *, otherwise: bool) -> bool:
    if wanted is None:
        return otherwise
    return name in ([wanted] if isinstance(wanted, str) else wanted)


def _says(entry: GalleryEntry, name: str, value: object) -> bool:
    """JSON knows booleans apart from numbers, and one kind of number."""
    found = entry.attributes.get(name, ...)
    return (type(found) is bool) == (type(value) is bool) and found == value
