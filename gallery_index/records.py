"""The values that go into a gallery and come out of it. Holds no behaviour and no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonScalar: TypeAlias = "bool | int | float | str | None"
Names: TypeAlias = str | tuple[str, ...]
GroupBy: TypeAlias = Literal["entry", "person"]
StoreKind: TypeAlias = Literal["sqlite", "redis", "shared"]
Durability: TypeAlias = Literal["power-loss", "process-crash", "unknown"]


@dataclass(frozen=True, slots=True)
class GalleryIdentity:
    """What a gallery is. In its metadata store the model is the one that it began with."""

    gallery_id: str
    model_id: str
    embedding_dim: int
    store: StoreKind


class Unset(Enum):
    """The type of `UNSET`: a field that a change leaves as it is (`None` clears it)."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """One enrolled crop, as stored.

    `row` is its row in the vector file: it grows with enrolment and is never used twice.
    Times are aware and in UTC. `crop_sha256` is the digest of the crop's bytes in hex. `media_type`
    is empty where the crop was not kept. `model_id` is that of the vectors searched now.
    """

    entry_id: str
    person_id: str | None
    camera_id: str | None
    modality: str
    captured_at: datetime | None
    attributes: dict[str, JsonValue]
    model_id: str
    crop_sha256: str
    media_type: str
    enrolled_at: datetime
    row: int

    @property
    def has_crop(self) -> bool:
        """Whether the crop was kept."""
        return bool(self.media_type)


@dataclass(frozen=True, slots=True, eq=False)
class NewEntry:
    """A crop to enrol with its embedding, float32 (D,); normalised by the gallery.

    Without an `entry_id` the gallery makes one. `modality` is `visible` or `infrared`.
    `keep_crop`: whether the crop's bytes are stored; without them the entry can be embedded by no
    other model later, so `other_embedding` has its vector by the model of the gallery's other
    generation, `other_model_id`, if there is one (`RefreshableGallery.other`).
    """

    embedding: NDArray[np.float32]
    crop: bytes
    media_type: str
    modality: str
    entry_id: str | None = None
    person_id: str | None = None
    camera_id: str | None = None
    captured_at: datetime | None = None
    attributes: dict[str, JsonValue] = field(default_factory=dict)
    keep_crop: bool = True
    other_embedding: NDArray[np.float32] | None = None
    other_model_id: str | None = None


@dataclass(frozen=True, slots=True)
class EntryChanges:
    """New values of the fields that may change; `UNSET` keeps a field, `None` clears it."""

    person_id: str | Unset | None = UNSET
    camera_id: str | Unset | None = UNSET
    captured_at: datetime | Unset | None = UNSET
    attributes: dict[str, JsonValue] | Unset | None = UNSET


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries take part: those that meet every condition; `None` is no condition.

    Several names in a tuple mean any of them. An entry without a person matches no `person_id` and
    is not excluded by `exclude_person_id`; with cameras it is the same. `captured_after` is
    inclusive, `captured_before` exclusive; an entry without a capture time matches neither.
    Every attribute named must be there, at the top level, and equal as JSON: 1 equals 1.0, `true`
    does not equal 1, and `null` equals a `null` but not an attribute that is absent.
    """

    person_id: Names | None = None
    camera_id: Names | None = None
    exclude_camera_id: Names | None = None
    modality: str | None = None
    captured_after: datetime | None = None
    captured_before: datetime | None = None
    exclude_person_id: Names | None = None
    attributes: Mapping[str, JsonScalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """An entry and its similarity to the query: the inner product, in [-1, 1] up to rounding."""

    entry: GalleryEntry
    similarity: float


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order of enrolment, and where to go on; `None` at the end."""

    entries: list[GalleryEntry]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Added:
    """An acknowledged entry; `replayed` where the same id and bytes were there already."""

    entry: GalleryEntry
    replayed: bool


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased for one person: entries, vectors overwritten, crop files unlinked."""

    person_id: str
    entry_ids: list[str]
    entries: int
    vectors: int
    crops: int
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """The state of a gallery.

    `rows` counts rows ever written, deleted ones included. `ready` is false while the metadata
    store does not answer: searches go on, writes raise StoreUnavailableError. `damaged_rows` were
    found to fail their checksum since the opening: they are answered from memory, `verify` names
    them and `rebuild` mends them.

    `recall_at_10` is the share of the ten nearest entries that searches found when it was last
    measured against exact search, None before; below `recall_target` the index is built anew,
    finer. `index_bytes` is what the index takes in memory, `dead_positions` those of deleted
    entries in it, which a compaction drops. `snapshot_age_s` is the age of the newest snapshot,
    None without one, `rows_since_snapshot` what a start adds to it. `candidates_per_query` is the
    mean number of vectors that recent searches compared exactly.
    """

    entries: int
    persons: int
    rows: int
    store: StoreKind
    durability: Durability
    index_kind: str
    ready: bool
    model_id: str
    embedding_dim: int
    damaged_rows: int
    recall_at_10: float | None = None
    recall_target: float = 0.99
    recall_measured_at: datetime | None = None
    index_bytes: int = 0
    dead_positions: int = 0
    snapshot_age_s: float | None = None
    rows_since_snapshot: int = 0
    candidates_per_query: float = 0.0


@dataclass(frozen=True, slots=True)
class OtherGeneration:
    """The vectors of another model beside those that are searched: being made, or kept.

    `kept`: it was searched before and can be gone back to; else a refresh is filling it. `missing`
    live entries have no vector in it yet; `left_out` were to be left out for want of a crop.
    `bytes` is what it takes on the disk.
    """

    model_id: str
    embedding_dim: int
    kept: bool
    missing: int
    left_out: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What `verify` read, and everything it found wrong (no problems: the gallery is sound).

    `unfinished` names what a killed process left half done and the next opening puts in order: no
    acknowledged entry is touched by it. `recall_at_10` is that of the index on a sample of the
    entries, None where there is no index or something is not sound.
    """

    entries: int
    rows: int
    crops: int
    index_positions: int
    recall_at_10: float | None
    problems: list[str]
    unfinished: list[str]

    @property
    def ok(self) -> bool:
        """Whether every row, crop, record and index position agrees."""
        return not self.problems
