"""`SharedGallery`: one gallery that several processes serve, for when one machine is too small.

The same methods as `Gallery`, with nothing kept in this process: records in Redis, vectors in
Qdrant, crops in an object store or a shared directory. A record is the truth; points and crops
without one are seen by nobody and cleared away.

An enrolment: row handed out -> crop -> point -> record -> acknowledged. A deletion: record gone and
the row noted -> point -> crop -> note gone. Whoever comes next finishes what was interrupted.
"""

import builtins
import hashlib
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gallery_index import query_reranking, validation
from gallery_index.backup.parts import KeptEntry
from gallery_index.candidates import Ask, StoredVectors
from gallery_index.cursors import decode_cursor, encode_cursor
from gallery_index.errors import (
    EntryNotFoundError,
    GalleryCorruptError,
    GalleryError,
    ModelChangedError,
    PersonNotFoundError,
    StoreUnavailableError,
)
from gallery_index.files.crops import read_checked
from gallery_index.index.half_precision import similarities
from gallery_index.records import (
    Added,
    EntryChanges,
    EntryFilter,
    ErasureReceipt,
    GalleryEntry,
    GalleryIdentity,
    GalleryStats,
    GroupBy,
    Match,
    NewEntry,
    Page,
    VerificationReport,
)
from gallery_index.shared.crops import SharedCrops
from gallery_index.shared.enrolment import Enrolment, keeps_changing
from gallery_index.shared.opening import settle_identity, settle_index
from gallery_index.shared.qdrant_connection import connect
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.records import Counts, SharedRecords
from gallery_index.shared.search import listed, nearest
from gallery_index.shared.upkeep import Upkeep
from gallery_index.shared.verification import verify_shared
from gallery_index.upkeep import UpkeepThread

_LOG = logging.getLogger(__name__)
_ANY = EntryFilter()
_ATTEMPTS = 20
UPKEEP_EVERY_S = 30.0


class SharedGallery:
    """Entries, crops and vectors that any number of processes enrol, search and erase at once.

    Safe to call from several threads. Every method may raise StoreUnavailableError while Redis,
    Qdrant or the crop store is away: a write so answered may have happened, and is found by asking.
    """

    def __init__(
        self,
        identity: GalleryIdentity,
        records: SharedRecords,
        index: QdrantIndex,
        crops: SharedCrops,
        *,
        retention_days: int | None = None,
        upkeep_every_s: float | None = None,
    ) -> None:
        """Use parts that belong together; see `open`. Without a period `upkeep` is the caller's."""
        self._identity = identity
        self._records = records
        self._index = index
        self._crops = crops
        self._upkeep = Upkeep(records, index, crops)
        self._enrolment = Enrolment(identity, records, index, crops, self._upkeep)
        self._counts = Counts(0, 0, 0)
        self._damaged: set[int] = set()
        self._retention_days = retention_days
        self._thread = UpkeepThread(self.upkeep, upkeep_every_s) if upkeep_every_s else None

    @classmethod
    def open(
        cls,
        *,
        redis_url: str,
        qdrant_url: str,
        crop_store: str,
        model_id: str,
        embedding_dim: int,
        retention_days: int | None = None,
    ) -> "SharedGallery":
        """Open or create the gallery of a Redis database; a thread clears away what others left.

        Entries expire `retention_days` after they were taken, if that is set.

        Raises: GalleryMismatchError, StoreUnavailableError, StoreConfigurationError.
        """
        records = SharedRecords(redis_url)
        try:
            identity = settle_identity(records, model_id, embedding_dim)
            crops = SharedCrops(crop_store, identity.gallery_id)
            index = connect(qdrant_url, identity)
            settle_index(records, index)
        except BaseException:
            records.close()
            raise
        return cls(
            identity,
            records,
            index,
            crops,
            retention_days=retention_days,
            upkeep_every_s=UPKEEP_EVERY_S,
        )

    @property
    def model_id(self) -> str:
        """The model of the vectors; it stays what it is."""
        return self._identity.model_id

    def add(
        self, entries: Sequence[NewEntry], *, model_id: str | None = None
    ) -> builtins.list[Added | GalleryError]:
        """Enrol crops, each for itself; see `Gallery.add`."""
        return self._enrolment.add(entries)

    def take_in(self, kept: Sequence[KeptEntry]) -> int:
        """Enrol entries of another gallery of this model; returns how many were not there yet.

        Raises: EntryConflictError for an id that another crop has; nothing is enrolled then.
        """
        return self._enrolment.take_in(kept)

    def existing(self, entry_id: str, crop: bytes, modality: str) -> Added | None:
        """Answer a repeated enrolment without an embedding; see `Gallery.existing`."""
        entry = self._find(validation.check_entry_id(entry_id))
        if entry is None:
            return None
        validation.check_same(entry, hashlib.sha256(crop).hexdigest(), modality)
        return Added(entry, replayed=True)

    def get(self, entry_id: str) -> GalleryEntry:
        """Return one entry. Raises: EntryNotFoundError."""
        entry = self._find(entry_id)
        if entry is None:
            raise EntryNotFoundError(entry_id)
        return entry

    def crop(self, entry_id: str) -> tuple[bytes, str]:
        """Return the bytes as enrolled and their media type; see `Gallery.crop`."""
        entry = self.get(entry_id)
        try:
            return read_checked(self._crops, entry), entry.media_type
        except GalleryCorruptError:
            self.get(entry_id)  # deleted meanwhile: not found
            raise

    def list(
        self, filter: EntryFilter = _ANY, *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return entries in the order of their rows, a page at a time; see `Gallery.list`.

        Rows are handed out before their entries are committed: an entry that another process was
        enrolling while a page was read may come to lie before it.
        """
        validation.check_filter(filter)
        validation.check_count("limit", limit, validation.MAX_LIMIT)
        gallery_id = self._identity.gallery_id
        last_row = -1 if cursor is None else decode_cursor(gallery_id, cursor)
        found = listed(self._records, self._index, filter, last_row, limit + 1)
        entries = found[:limit]
        more = len(found) > limit
        return Page(entries, encode_cursor(gallery_id, entries[-1].row) if more else None)

    def update(self, entry_id: str, changes: EntryChanges) -> GalleryEntry:
        """Change the fields that may change; see `Gallery.update`."""
        fields = validation.changed_fields(changes)
        for _ in range(_ATTEMPTS):
            entry = self.get(entry_id)
            changed = replace(entry, **fields)
            if changed == entry:
                return entry
            committed = self._records.change(entry, changed)
            if committed is not None:
                self._renew(*committed)
                return changed
        raise keeps_changing(entry_id)

    def delete(self, entry_id: str) -> None:
        """Erase one entry, its vector and crop. Raises: EntryNotFoundError.

        Found missing, an entry is gone from index and crops too, or StoreUnavailableError says
        that this cannot be seen to now.
        """
        for _ in range(_ATTEMPTS):
            entry = self._find(entry_id)
            if entry is None:
                self._upkeep.erase_pending()
                raise EntryNotFoundError(entry_id)
            if self._records.erase([entry]) == [True]:
                self._upkeep.erase([entry.row])
                return
        raise keeps_changing(entry_id)

    def erase_person(self, person_id: str) -> ErasureReceipt:
        """Erase every entry of a person, and what Redis's log keeps of them.

        Raises: PersonNotFoundError.
        """
        erased: builtins.list[GalleryEntry] = []
        while some := self._records.of_person(person_id, validation.MAX_LIMIT):
            gone = self._records.erase(some)
            erased += [entry for entry, is_gone in zip(some, gone, strict=True) if is_gone]
        if not erased:
            self._upkeep.erase_pending()
            raise PersonNotFoundError(person_id)
        erased.sort(key=lambda entry: entry.row)
        crops = self._upkeep.erase([entry.row for entry in erased])
        self._records.scrub()
        return ErasureReceipt(
            person_id=person_id,
            entry_ids=[entry.entry_id for entry in erased],
            entries=len(erased),
            vectors=len(erased),
            crops=crops,
            erased_at=datetime.now(UTC),
        )

    def search(
        self,
        query: NDArray[np.float32],
        *,
        top_k: int,
        filter: EntryFilter = _ANY,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
        model_id: str | None = None,
    ) -> builtins.list[Match]:
        """Return the entries most similar to a query (D,), best first; see `Gallery.search`.

        Exact among what Qdrant's graph finds, and over everything where Qdrant compares everything:
        in small galleries and under narrow filters.
        """
        vector = validation.normalised(query, self._identity.embedding_dim, "query")
        validation.check_filter(filter)
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        ask = Ask(top_k, group_by, min_similarity)
        found, sighting = nearest(self._records, self._index, vector, filter, ask)
        self._damaged |= sighting.damaged
        return [Match(sighting.entries[each.row], each.similarity) for each in found]

    def reranked(
        self,
        matches: Sequence[Match],
        *,
        top_k: int,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
        model_id: str | None = None,
    ) -> builtins.list[Match]:
        """Return the best of what `search` found in the order of re-ranking; see `Gallery`."""
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        ask = Ask(top_k, group_by, min_similarity)
        return query_reranking.reranked(
            matches, ask, lambda rows: self._index.vectors(rows).comparable()
        )

    def count(self, filter: EntryFilter = _ANY) -> int:
        """Return how many entries a search with this filter compares, by what the index says.

        It knows capture times to within a tenth of a millisecond.
        """
        validation.check_filter(filter)
        return len(self) if filter == _ANY else self._index.count(filter)

    def individuals(self) -> int:
        """Return how many persons there are; where there are none, how many entries."""
        counts = self._records.counts()
        return counts.persons or counts.entries

    def random_matches(
        self, query: NDArray[np.float32], n: int, *, model_id: str | None = None
    ) -> builtins.list[Match]:
        """Return up to `n` entries drawn at random with their similarity; see `Gallery`."""
        vector = validation.normalised(query, self._identity.embedding_dim, "query")
        written = self._records.counts().rows
        entries = self._records.at(sorted(random.sample(range(written), min(n, written))))
        stored = self._index.vectors(np.array(list(entries), np.int64))
        values = similarities(vector, stored.values).tolist()
        return [
            Match(entry, value)
            for entry, value, is_sound in zip(entries.values(), values, stored.sound, strict=True)
            if is_sound
        ]

    def upkeep(self) -> None:
        """Do what is due: what others left to be done, expiry. Raises: StoreUnavailableError."""
        self._upkeep.once()
        if self._retention_days is not None:
            self._upkeep.expire(self._retention_days)

    def vectors(self, rows: NDArray[np.int64], model_id: str) -> StoredVectors:
        """Read the vectors of rows; see `Gallery.vectors`."""
        if model_id != self.model_id:
            raise ModelChangedError(model_id, self.model_id)
        return self._index.vectors(rows)

    def verify(self) -> VerificationReport:
        """Read everything and report whatever disagrees; others go on writing meanwhile."""
        return verify_shared(self._records, self._index, self._crops, self._upkeep)

    def stats(self) -> GalleryStats:
        """Return counts, durability and readiness; asks every part whether it answers."""
        index = self._index.stats()
        ready = self._records.ready() and index.ready and self._crops.ready()
        with suppress(StoreUnavailableError):
            self._counts = self._records.counts()
        return GalleryStats(
            entries=self._counts.entries,
            persons=self._counts.persons,
            rows=self._counts.rows,
            store="shared",
            durability=self._records.durability,
            index_kind=index.kind,
            ready=ready,
            model_id=self._identity.model_id,
            embedding_dim=self._identity.embedding_dim,
            damaged_rows=len(self._damaged),
        )

    def __len__(self) -> int:
        return self._records.counts().entries

    def close(self) -> None:
        """End the upkeep and close the connections; again: does nothing."""
        if self._thread is not None:
            self._thread.stop()
        self._index.close()
        self._records.close()

    def _find(self, entry_id: str) -> GalleryEntry | None:
        return self._records.by_id([entry_id]).get(entry_id)

    def _renew(self, seq: int, mark: str) -> None:
        try:
            self._upkeep.renew(mark, seq)
        except StoreUnavailableError as error:
            # The record has changed, and searches look at it: the row is marked as stale.
            _LOG.warning("a changed entry waits for its renewal in the index: %s", error)
