"""`Gallery`: the one class through which a gallery is used.

Owns who waits for whom and what may be asked. How a write reaches the disk is `writer`'s, how an
opening recovers is `opening`'s, how an answer is made exact is `exact_search`'s.
"""

import builtins
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gallery_index import validation
from gallery_index.candidates import Ask, StoredVectors
from gallery_index.cursors import decode_cursor, encode_cursor
from gallery_index.errors import (
    EntryConflictError,
    EntryNotFoundError,
    GalleryCorruptError,
    GalleryError,
    ModelChangedError,
    PersonNotFoundError,
)
from gallery_index.exact_search import exact_search
from gallery_index.files.crops import CropStore, read_checked
from gallery_index.generations.refresh import Refresh
from gallery_index.group_commit import GroupCommit
from gallery_index.index.half_precision import similarities
from gallery_index.index_care import IndexCare
from gallery_index.opening import GalleryFiles, open_files
from gallery_index.query_reranking import reranked
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
    OtherGeneration,
    Page,
    VerificationReport,
)
from gallery_index.recovery import GalleryMemory, recover
from gallery_index.refreshable import Check, EmbedCrops, WithoutCrop, nothing
from gallery_index.retention import expired
from gallery_index.upkeep import UpkeepPolicy, UpkeepThread
from gallery_index.validation import PreparedEntry
from gallery_index.verification import verify_files
from gallery_index.writer import Writer

_LOG = logging.getLogger(__name__)
_RECENT_SEARCHES = 64
_EXPIRED_AT_ONCE = 256
_ANY = EntryFilter()


class Gallery:
    """Entries, their crops and vectors in one directory, searched by similarity.

    Safe to call from several threads: reads run beside one another and beside the disk work of a
    write. Every write is durable when its method returns (how durable: `stats().durability`).
    """

    def __init__(
        self, files: GalleryFiles, memory: GalleryMemory, policy: UpkeepPolicy, *, upkeep: bool
    ) -> None:
        """Take over opened files; use `Gallery.open`."""
        self._files = files
        self._memory = memory
        self._index = memory.index
        self._write_lock = Lock()
        self._writer = Writer(files, memory)
        self._adds = GroupCommit(self._writing, self._enrol)
        self._care = IndexCare(files, memory, policy, self._writing)
        self._refresh = Refresh(files, memory, self._care, self._writing)
        self._policy = policy
        self._scored_per_query = 0.0
        self._closed = False
        self._upkeep = UpkeepThread(self.upkeep, policy.every_s) if upkeep else None

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        model_id: str,
        embedding_dim: int,
        redis_url: str | None = None,
        crops: CropStore | None = None,
        policy: UpkeepPolicy | None = None,
        upkeep: bool = False,
    ) -> "Gallery":
        """Open or create the gallery of a directory; the records are in Redis if a URL is given.

        With `upkeep` a thread does what is due by the policy; without, `upkeep()` does when it is
        called. `crops` stands for the crop files in the directory.

        Raises: GalleryLockedError, GalleryMismatchError, GalleryCorruptError,
        StoreUnavailableError, StoreConfigurationError, StorageFullError.
        """
        files = open_files(
            directory,
            model_id=validation.check_model_id(model_id),
            embedding_dim=embedding_dim,
            redis_url=redis_url,
            create=True,
            crops=crops,
        )
        try:
            policy = policy or UpkeepPolicy()
            return cls(files, recover(files, policy.exact_below), policy, upkeep=upkeep)
        except BaseException:
            files.close()
            raise

    @property
    def model_id(self) -> str:
        """The model whose vectors are searched now."""
        return self._files.identity.model_id

    def add(
        self, entries: Sequence[NewEntry], *, model_id: str | None = None
    ) -> builtins.list[Added | GalleryError]:
        """Enrol crops in one group commit, together with what other threads add meanwhile.

        A bad item never spoils its neighbours. The result of each, in order: `Added`, or the
        InvalidEntryError or EntryConflictError that it would have raised alone. The same id and
        crop again is the same entry (`replayed`).
        Raises, for the whole call: ModelChangedError, StorageFullError, StoreUnavailableError.
        """
        self._care.keep_up()
        with self._reading():
            self._check_model(model_id)
            identity = self._files.identity
        results = self._adds.submit([self._prepare(entry, identity) for entry in entries])
        for result in results:
            if isinstance(result, ModelChangedError):
                raise result
        return results

    def _enrol(
        self, prepared: Sequence[PreparedEntry | GalleryError]
    ) -> builtins.list[Added | GalleryError]:
        results: builtins.list[Added | GalleryError] = []
        fresh: dict[str, PreparedEntry] = {}
        for item in prepared:
            if (
                isinstance(item, PreparedEntry)
                and item.model_id == self.model_id
                and self._is_free(item, fresh)
            ):
                fresh[item.entry_id] = item
        if fresh:
            self._writer.enrol(list(fresh.values()))
        for item in prepared:
            if isinstance(item, GalleryError):
                results.append(item)
            elif self._is_free(item, {}):
                results.append(ModelChangedError(item.model_id, self.model_id))
            else:
                replayed = fresh.get(item.entry_id) is not item
                results.append(self._acknowledge(item, replayed=replayed))
        return results

    def existing(self, entry_id: str, crop: bytes, modality: str) -> Added | None:
        """Answer a repeated enrolment without an embedding; None if the id is free.

        Raises: EntryConflictError if the id belongs to another crop or modality.
        """
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
        """Return the bytes as enrolled and their media type.

        Raises: EntryNotFoundError, GalleryCorruptError if the file is not what was enrolled.
        """
        entry = self.get(entry_id)
        try:
            return read_checked(self._files.crops, entry), entry.media_type
        except GalleryCorruptError:
            self.get(entry_id)  # deleted meanwhile: not found
            raise

    def list(
        self, filter: EntryFilter = _ANY, *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return entries in the order of enrolment, a page at a time; stable under writes.

        Raises: CursorError, InvalidEntryError for a filter or a limit (1 to 1000).
        """
        validation.check_filter(filter)
        validation.check_count("limit", limit, validation.MAX_LIMIT)
        gallery_id = self._files.identity.gallery_id
        last_row = -1 if cursor is None else decode_cursor(gallery_id, cursor)
        with self._reading():
            found = self._index.table.after(last_row, filter, limit + 1)
        entries = found[:limit]
        more = len(found) > limit
        return Page(entries, encode_cursor(gallery_id, entries[-1].row) if more else None)

    def update(self, entry_id: str, changes: EntryChanges) -> GalleryEntry:
        """Change the fields that may change. Raises: EntryNotFoundError, InvalidEntryError."""
        fields = validation.changed_fields(changes)
        with self._writing():
            entry = self.get(entry_id)
            changed = replace(entry, **fields)
            if changed != entry:
                self._writer.change(changed)
        return changed

    def delete(self, entry_id: str) -> None:
        """Erase one entry, its vector and crop. Raises: EntryNotFoundError."""
        with self._erasing():
            self._writer.erase([self.get(entry_id)], scrub=False)

    def erase_person(self, person_id: str) -> ErasureReceipt:
        """Erase every entry of a person, and what the store's logs keep of them.

        Raises: PersonNotFoundError.
        """
        with self._erasing():
            entries = self._index.table.of_person(person_id)
            if not entries:
                raise PersonNotFoundError(person_id)
            erased = self._writer.erase(entries, scrub=True)
        return ErasureReceipt(
            person_id=person_id,
            entry_ids=[entry.entry_id for entry in entries],
            entries=len(entries),
            vectors=erased.vectors,
            crops=erased.crops,
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
        """Return the entries most similar to a query (D,), best first, exactly scored.

        Complete while no more than 4,096 entries match; beyond, as far as the recall says that
        `stats` shows. Equal similarities come in the order of enrolment. Grouped by person, the
        best entry of each person; an entry without a person stands for itself.
        Raises: InvalidEntryError for a query, filter or `top_k` (1 to 1000) that cannot be;
        ModelChangedError if the query is of another `model_id` than the vectors.
        """
        validation.check_filter(filter)
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        ask = Ask(top_k, group_by, min_similarity)
        with self._reading():
            self._check_model(model_id)
            vector = validation.normalised(query, self._files.identity.embedding_dim, "query")
            found, scored = exact_search(
                vector,
                ask,
                find=lambda n: self._index.candidates(vector, n, filter),
                read_vectors=self._index.vectors,
            )
            self._scored_per_query += (scored - self._scored_per_query) / _RECENT_SEARCHES
            return [Match(self._index.table.at(hit.row), hit.similarity) for hit in found]

    def reranked(
        self,
        matches: Sequence[Match],
        *,
        top_k: int,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
        model_id: str | None = None,
    ) -> builtins.list[Match]:
        """Return the best of what `search` found, in the order of k-reciprocal re-ranking.

        `matches` should be ungrouped and many: `query_reranking.CANDIDATES` take part. Entries
        deleted since are left out. Raises: InvalidEntryError as `search`.
        """
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        ask = Ask(top_k, group_by, min_similarity)
        with self._reading():
            self._check_model(model_id)
            current = [
                replace(match, entry=entry)
                for match in matches
                if (entry := self._index.table.find(match.entry.row)) is not None
            ]
            return reranked(current, ask, lambda rows: self._index.vectors(rows).comparable())

    def count(self, filter: EntryFilter = _ANY) -> int:
        """Return how many entries a search with this filter compares. Raises: InvalidEntryError."""
        validation.check_filter(filter)
        with self._reading():
            mask = self._index.table.searchable(filter)
            return self._index.table.positions if mask is None else int(np.count_nonzero(mask))

    def individuals(self) -> int:
        """Return how many persons there are, one for each entry without a person."""
        with self._reading():
            return self._index.table.individuals

    def random_matches(
        self, query: NDArray[np.float32], n: int, *, model_id: str | None = None
    ) -> builtins.list[Match]:
        """Return up to `n` entries drawn at random, with their similarity to a query (D,).

        Each entry is as likely as any other; fewer come where entries were deleted or are damaged.
        Raises: InvalidEntryError for a query that cannot be; ModelChangedError as `search`.
        """
        with self._reading():
            self._check_model(model_id)
            vector = validation.normalised(query, self._files.identity.embedding_dim, "query")
            rows = self._index.random_rows(n)
            stored = self._index.vectors(rows)
            values = similarities(vector, stored.values)[stored.sound].tolist()
            sound = rows[stored.sound].tolist()
            return [
                Match(self._index.table.at(row), value)
                for row, value in zip(sound, values, strict=True)
            ]

    def other(self) -> OtherGeneration | None:
        """Return the generation beside the one searched; see `RefreshableGallery`."""
        self._check_open()
        return self._refresh.other()

    def without_crop(self) -> builtins.list[GalleryEntry]:
        """Return the live entries whose crop was not kept, in the order of enrolment."""
        with self._reading():
            return self._index.table.without_crop()

    def begin_refresh(self, model_id: str, embedding_dim: int) -> OtherGeneration:
        """Make the other generation of a model, or go on with it. Raises: RefreshStateError."""
        self._refresh.begin(model_id, embedding_dim)
        other = self.other()
        assert other is not None
        return other

    def missing(self, limit: int) -> builtins.list[GalleryEntry]:
        """Return entries that have no vector in the other generation yet, by row."""
        return self._refresh.missing(limit)

    def lost(self) -> builtins.list[GalleryEntry]:
        """Return what `missing` passed over for want of a crop. Raises: RefreshStateError."""
        return self._refresh.lost()

    def fill(
        self, vectors: Mapping[int, NDArray[np.float32]], *, model_id: str | None = None
    ) -> int:
        """Give the other generation vectors (D,) by row; returns how many were still alive."""
        return self._refresh.fill(vectors, model_id)

    def vectors(self, rows: NDArray[np.int64], model_id: str) -> StoredVectors:
        """Read the vectors of rows by one of the two models. Raises: ModelChangedError."""
        with self._reading():
            if model_id == self.model_id:
                return self._index.live_vectors(rows)
        return self._refresh.vectors(rows, model_id)

    def give_up(self, rows: Sequence[int], how: WithoutCrop) -> int:
        """Erase entries, or leave them out of the other generation; returns how many there were."""
        if how == "leave_out":
            return self._refresh.leave_out(rows)
        return self._erase_rows(rows)

    def prepare_switch(self, check: Check = nothing) -> None:
        """Build the other generation's index. Raises: RefreshStateError, what `check` raises."""
        self._refresh.prepare_switch(check)

    def switch(self, embed: EmbedCrops) -> str:
        """Search the other generation from now on and keep the one before; returns its model id.

        Raises: RefreshStateError, RefreshIncompleteError, StorageFullError; nothing changes then.
        """
        return self._refresh.switch(embed)

    def drop_other(self) -> int:
        """Remove the other generation; returns the bytes freed. Raises: RefreshStateError."""
        return self._refresh.drop_other()

    def snapshot(self) -> None:
        """Write what memory holds beside the vectors, so that the next opening is quick.

        Searches do not wait, erasures do. Raises: StorageFullError, StoreUnavailableError.
        """
        self._check_open()
        self._care.snapshot()

    def upkeep(self) -> None:
        """Do what is due: expiry, training, recall, compaction, snapshot.

        Raises: GalleryError for what could not be done.
        """
        if self._closed:
            return
        self._expire()
        self._care.run_due()

    def _expire(self) -> None:
        days = self._policy.retention_days
        while days is not None:
            with self._reading():
                rows = expired(self._index.table, datetime.now(UTC), days)[:_EXPIRED_AT_ONCE]
            if not rows:
                return
            _LOG.info("%d entries expired", self._erase_rows(rows))

    def _erase_rows(self, rows: Sequence[int]) -> int:
        with self._erasing():
            table = self._index.table
            entries = [entry for row in rows if (entry := table.find(row)) is not None]
            if entries:
                self._writer.erase(entries, scrub=True)
        return len(entries)

    def verify(self) -> VerificationReport:
        """Read everything and report whatever disagrees; writes wait meanwhile."""
        with self._writing():
            return verify_files(self._files, self._index)

    def rebuild(self) -> int:
        """Build the index anew from the vector file and replace the snapshots.

        Rows that fail their checksum are first written anew, where memory has them exactly;
        returns how many. Raises: GalleryCorruptError naming those that it has not.
        """
        mended = self._care.mend()
        self._care.train_anew()
        self._care.measure_recall()
        self._care.snapshot(kept=1)
        return mended

    def stats(self) -> GalleryStats:
        """Return counts, durability and readiness; asks the store whether it answers."""
        identity, memory = self._files.identity, self._memory
        self._check_open()
        ready = self._files.store.ready()  # may wait: outside the lock
        with self._reading():
            table, stage = self._index.table, self._index.stage
            return GalleryStats(
                entries=len(table),
                persons=table.persons,
                rows=table.rows,
                store=self._files.store.kind,
                durability=self._files.store.durability(),
                index_kind=stage.kind,
                ready=ready,
                model_id=identity.model_id,
                embedding_dim=identity.embedding_dim,
                damaged_rows=len(self._index.damaged),
                recall_at_10=memory.recall.value,
                recall_target=self._policy.recall_target,
                recall_measured_at=memory.recall.measured_at,
                index_bytes=stage.bytes_used + table.bytes_used + self._beside_bytes(),
                dead_positions=table.positions - len(table),
                snapshot_age_s=memory.snapshot_age_s,
                rows_since_snapshot=memory.rows_since_snapshot,
                candidates_per_query=self._scored_per_query,
            )

    def _beside_bytes(self) -> int:
        beside = self._index.beside
        return 0 if beside is None else beside.bytes_used

    def __len__(self) -> int:
        return len(self._index.table)

    def close(self) -> None:
        """Write a snapshot if one is due and release the directory; again: does nothing."""
        if self._closed:
            return
        self._care.stop()
        if self._upkeep is not None:
            self._upkeep.stop()
        try:
            self._care.snapshot()
        except GalleryError as error:  # the next opening reads more
            _LOG.error("no snapshot at closing: %s", error)
        with self._write_lock, self._index.view.writing():
            if not self._closed:
                self._closed = True
                self._files.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._write_lock:
            self._check_open()
            self._writer.settle()
            yield

    @contextmanager
    def _erasing(self) -> Iterator[None]:
        with self._care.erasing, self._writing():
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._index.view.reading():
            self._check_open()
            yield

    def _check_model(self, model_id: str | None) -> None:
        """Whoever reads or writes calls it again when nothing can be switched any more."""
        if model_id is not None and model_id != self.model_id:
            raise ModelChangedError(model_id, self.model_id)

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"the gallery in {self._files.directory} is closed")

    def _find(self, entry_id: str) -> GalleryEntry | None:
        with self._reading():
            return self._index.table.get(entry_id)

    def _prepare(self, entry: NewEntry, identity: GalleryIdentity) -> PreparedEntry | GalleryError:
        try:
            return validation.prepare(entry, identity.embedding_dim, identity.model_id)
        except GalleryError as error:
            return error

    def _is_free(self, item: PreparedEntry, fresh: dict[str, PreparedEntry]) -> bool:
        return item.entry_id not in fresh and self._index.table.get(item.entry_id) is None

    def _acknowledge(self, item: PreparedEntry, *, replayed: bool) -> Added | GalleryError:
        entry = self.get(item.entry_id)
        try:
            validation.check_same(entry, item.crop_sha256, item.source.modality)
        except EntryConflictError as error:
            return error
        return Added(entry, replayed)
