"""The records of a gallery that several processes write: Redis alone, nothing kept in memory.

Owns who gets a row, whose an entry id is, and the notes of what remains to be done in the index and
among the crops. Every row ever handed out is in one of four places: `enrolling`, a record,
`pending` (to be erased), or done with; so whatever a killed process leaves is found without a
search for it.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.records import Durability, GalleryEntry, GalleryIdentity
from gallery_index.shared import scripts as shared_scripts
from gallery_index.stores.record_codec import (
    decode_entry,
    decode_identity,
    encode_entry,
    encode_identity,
)
from gallery_index.stores.redis_connection import RedisConnection

_PREFIX = "{mpanet:gallery}"
_IDENTITY, _IDS, _ENTRIES, _ENROLLING, _RENEWING, _PENDING, _PERSONS, _NEXT_ROW, _SEQUENCE = (
    f"{_PREFIX}:{name}"
    for name in (
        *("identity", "ids", "entries", "enrolling", "renewing", "pending", "persons"),
        *("next_row", "sequence"),
    )
)
ENROLMENT_S = 600
"""How long an enrolment may take between its row and its record, in seconds."""
RENEWAL_S = 60
"""After how many seconds another process renews what a change left stale in the index."""
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Reservation:
    """Rows for an enrolment, one after another from the first, and the number of the change."""

    first_row: int
    seq: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Entries, persons with an entry, rows ever handed out."""

    entries: int
    persons: int
    rows: int


class SharedRecords:
    """Records of one gallery, written and read by any number of processes.

    Every method may raise StoreUnavailableError (a write may then have happened: look),
    GalleryMismatchError if the database is no longer this gallery's.
    """

    def __init__(self, url: str) -> None:
        """Connect. Raises: StoreUnavailableError, StoreConfigurationError."""
        self._server = RedisConnection(url)
        try:
            self._server.check()
        except BaseException:
            self._server.close()
            raise
        self._redis = self._server.client
        self._identity = ""
        self._scripts: dict[str, Any] = {}

    @property
    def location(self) -> str:
        """Where the records are, for messages; without a password."""
        return self._server.location

    @property
    def durability(self) -> Durability:
        """What a commit survives, by the server's settings when they were last looked at."""
        return self._server.durability

    def ready(self) -> bool:
        """Whether the server answers now."""
        return self._server.ready()

    def scrub(self) -> None:
        """Have deleted records removed from the server's log, as far as it can be made to."""
        self._server.scrub()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def settle_identity(self, wanted: GalleryIdentity) -> GalleryIdentity:
        """Return whose records these are: `wanted`, if nobody's yet. Every call needs it first."""
        text = encode_identity(wanted)
        self._identity = str(self._run(shared_scripts.CREATE, [_IDENTITY], [text]))
        return decode_identity(self._identity)

    def counts(self) -> Counts:
        """Return how much there is."""
        with self._server.reported():
            pipe = self._redis.pipeline(transaction=True)
            pipe.get(_IDENTITY)
            pipe.hlen(_ENTRIES)
            pipe.get(_PERSONS)
            pipe.get(_NEXT_ROW)
            identity, entries, persons, rows = pipe.execute()
        self._check(identity)
        return Counts(int(entries), int(persons or 0), int(rows or 0))

    def by_id(self, entry_ids: Sequence[str]) -> dict[str, GalleryEntry]:
        """Return the entries of these ids, as far as there are any."""
        found: dict[str, GalleryEntry] = {}
        for part in _parts(entry_ids):
            identity, *pairs = self._run(
                shared_scripts.READ, [_IDENTITY, _IDS, _ENTRIES], list(part)
            )
            self._check(identity)
            for entry_id, row, record in zip(part, pairs[::2], pairs[1::2], strict=True):
                if row is not None:
                    found[entry_id] = self._record_of(entry_id, row, record)
        return found

    def at(self, rows: Sequence[int]) -> dict[int, GalleryEntry]:
        """Return the entries of these rows, as far as there are any."""
        found: dict[int, GalleryEntry] = {}
        for part in _parts(rows):
            with self._server.reported():
                records = cast(
                    "list[str | None]", self._redis.hmget(_ENTRIES, [str(row) for row in part])
                )
            found |= {
                row: decode_entry(record, row=row)
                for row, record in zip(part, records, strict=True)
                if record is not None
            }
        return found

    def of_person(self, person_id: str, most: int) -> list[GalleryEntry]:
        """Return up to `most` entries of a person."""
        with self._server.reported():
            rows = cast("list[str]", self._redis.srandmember(_person(person_id), most))
        return list(self.at([int(row) for row in rows]).values())

    def reserve(self, count: int) -> Reservation:
        """Hand out rows for an enrolment, which has ENROLMENT_S seconds from here."""
        found = self._run(
            shared_scripts.RESERVE,
            [_IDENTITY, _NEXT_ROW, _ENROLLING, _SEQUENCE],
            [self._identity, count],
        )
        if not found:
            raise self._lost()
        return Reservation(int(found[0]), int(found[1]))

    def enrol(self, entries: Sequence[GalleryEntry]) -> list[int]:
        """Commit entries at rows of a reservation, each for itself.

        Returns for each: 1 committed, 0 its id is taken, -1 its row was taken back. Rows of the
        last two are pending then.
        """
        persons = _Persons(5)
        arguments = [
            part
            for e in entries
            for part in (e.entry_id, e.row, encode_entry(e), persons.place(e.person_id))
        ]
        keys = [_IDS, _ENTRIES, _ENROLLING, _PENDING, _PERSONS, *persons.keys]
        return [int(outcome) for outcome in self._run(shared_scripts.ENROL, keys, arguments)]

    def abandon(self, rows: Sequence[int]) -> None:
        """Give rows of a reservation back: they are pending then."""
        with self._server.reported():
            pipe = self._redis.pipeline(transaction=True)
            pipe.sadd(_PENDING, *rows)
            pipe.zrem(_ENROLLING, *rows)
            pipe.execute()

    def change(self, old: GalleryEntry, new: GalleryEntry) -> tuple[int, str] | None:
        """Replace a record and mark its row as stale in the index.

        Returns the number of the change and the mark; None if the record is not `old` any more.
        """
        mark = f"{new.row}:{uuid.uuid4().hex}"
        before, after = old.person_id, new.person_id
        keys = [
            _ENTRIES,
            _RENEWING,
            _PERSONS,
            _SEQUENCE,
            _person(before or ""),
            _person(after or ""),
        ]
        seq = self._run(
            shared_scripts.CHANGE,
            keys,
            [
                *(new.row, encode_entry(old), encode_entry(new), mark),
                *(int(before is not None), int(after is not None)),
            ],
        )
        return None if seq is None else (int(seq), mark)

    def erase(self, entries: Sequence[GalleryEntry]) -> list[bool]:
        """Remove records, each for itself; their rows are pending then.

        Returns for each whether it is gone; false if the record is not that any more.
        """
        persons = _Persons(4)
        arguments = [
            part
            for e in entries
            for part in (e.entry_id, e.row, encode_entry(e), persons.place(e.person_id))
        ]
        keys = [_IDS, _ENTRIES, _PENDING, _PERSONS, *persons.keys]
        return [bool(outcome) for outcome in self._run(shared_scripts.ERASE, keys, arguments)]

    def stale(self) -> list[int]:
        """Return the rows whose fields in the index may not be those of their record."""
        with self._server.reported():
            pipe = self._redis.pipeline(transaction=True)
            pipe.get(_IDENTITY)
            pipe.zrange(_RENEWING, 0, -1)
            identity, marks = pipe.execute()
        self._check(identity)
        return sorted({row_of(mark) for mark in marks})

    def overdue_marks(self, age_s: float = RENEWAL_S) -> list[str]:
        """Return marks of rows that a change left stale and nobody renewed."""
        return list(self._run(shared_scripts.OVERDUE, [_RENEWING], [int(age_s), _AT_ONCE]))

    def renewed(self, mark: str) -> None:
        """Take a mark away: the index has the fields of the record."""
        with self._server.reported():
            self._redis.zrem(_RENEWING, mark)

    def pending(self, most: int = _AT_ONCE) -> list[int]:
        """Return up to `most` rows to be erased from the index and the crops."""
        with self._server.reported():
            return [int(row) for row in self._redis.srandmember(_PENDING, most) or ()]

    def erased(self, rows: Sequence[int]) -> None:
        """Take notes of pending erasures away."""
        if rows:
            with self._server.reported():
                self._redis.srem(_PENDING, *rows)

    def take_back(self, age_s: float = ENROLMENT_S) -> int:
        """Make rows pending whose enrolment did not end in time; returns how many."""
        return int(
            self._run(shared_scripts.TAKE_BACK, [_ENROLLING, _PENDING], [int(age_s), _AT_ONCE])
        )

    def adopt(self, rows: Iterable[int]) -> list[int]:
        """Make those of the rows pending that belong to nothing; returns them."""
        keys = [_ENTRIES, _ENROLLING, _PENDING]
        return [
            int(row)
            for part in _parts(list(rows))
            for row in self._run(shared_scripts.ADOPT, keys, list(part))
        ]

    def _record_of(self, entry_id: str, row: str, record: str | None) -> GalleryEntry:
        entry = None if record is None else decode_entry(record, row=int(row))
        if entry is None or entry.entry_id != entry_id:
            found = "no record" if entry is None else f"the record of {entry.entry_id!r}"
            raise GalleryCorruptError(f"{self.location} has {found} at row {row} for {entry_id!r}")
        return entry

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        with self._server.reported():
            self._server.check_anew()
            known = self._scripts.get(script)
            if known is None:
                known = self._scripts[script] = self._redis.register_script(script)
            return known(keys=keys, args=arguments)

    def _check(self, identity: object) -> None:
        if identity != self._identity:
            raise self._lost()

    def _lost(self) -> GalleryMismatchError:
        return GalleryMismatchError(f"{self.location} has lost the records of this gallery")


class _Persons:
    """The keys of the persons in one script, and their places among all of its keys."""

    def __init__(self, keys_before: int) -> None:
        self._before = keys_before
        self._places: dict[str, int] = {}

    def place(self, person_id: str | None) -> int:
        if person_id is None:
            return 0
        return self._places.setdefault(person_id, self._before + len(self._places) + 1)

    @property
    def keys(self) -> list[str]:
        return [_person(person_id) for person_id in self._places]


def row_of(mark: str) -> int:
    """Return the row of a mark."""
    return int(mark.partition(":")[0])


def _person(person_id: str) -> str:
    return f"{_PREFIX}:person:{person_id}"


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
