"""The table of entries against a dict: the same moves, the same answers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from gallery_index.records import EntryFilter, GalleryEntry, JsonScalar, JsonValue, Names
from gallery_index.table.entry_table import EntryTable
from gallery_index.table.text_hash import TextHash

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("ann", "bob", "Čapek", "ann2")
SCALARS: tuple[JsonScalar, ...] = (True, False, 0, 1, 1.0, 1.5, "1", "", None, 10**30, 1e30)
Oracle = dict[str, GalleryEntry]

names = st.none() | st.sampled_from(NAMES)
wanted_names = names | st.lists(st.sampled_from((*NAMES, "nobody")), max_size=3).map(tuple)
times = st.none() | st.integers(-3, 3).map(lambda hours: NOON + timedelta(hours=hours))
attributes = st.dictionaries(
    st.sampled_from(("a", "b")), st.sampled_from((*SCALARS, [1], {"a": 1})), max_size=2
)
filters = st.builds(
    EntryFilter,
    person_id=wanted_names,
    exclude_person_id=wanted_names,
    camera_id=wanted_names,
    exclude_camera_id=wanted_names,
    modality=st.sampled_from((None, None, "visible", "infrared")),
    captured_after=times,
    captured_before=times,
    attributes=st.dictionaries(st.sampled_from(("a", "b")), st.sampled_from(SCALARS), max_size=1),
)


def entry(row: int, **fields: Any) -> GalleryEntry:
    """An entry of a row, of which nothing is special but what is said."""
    plain = GalleryEntry(
        entry_id=f"entry-{row}",
        person_id=None,
        camera_id=None,
        modality="visible",
        captured_at=None,
        attributes={},
        model_id="",
        crop_sha256=f"{row + 1:064x}",
        media_type="image/jpeg",
        enrolled_at=NOON + timedelta(microseconds=row),
        row=row,
    )
    return replace(plain, **fields)


def table_of(*entries: GalleryEntry) -> EntryTable:
    """A table with these entries."""
    table = EntryTable()
    table.put_many(entries)
    return table


def is_json_equal(stored: JsonValue, wanted: JsonScalar) -> bool:
    """Python's equality, but for booleans, which it takes for numbers."""
    return isinstance(stored, bool) == isinstance(wanted, bool) and stored == wanted


def among(value: str | None, wanted: Names) -> bool:
    """Whether a name is one of those wanted."""
    return value in ((wanted,) if isinstance(wanted, str) else wanted)


def meets(entry: GalleryEntry, wanted: EntryFilter) -> bool:
    """What `EntryFilter` says, one entry at a time."""
    at = entry.captured_at
    return all(
        (
            wanted.person_id is None or among(entry.person_id, wanted.person_id),
            wanted.camera_id is None or among(entry.camera_id, wanted.camera_id),
            not among(entry.person_id, wanted.exclude_person_id or ()),
            not among(entry.camera_id, wanted.exclude_camera_id or ()),
            wanted.modality is None or entry.modality == wanted.modality,
            wanted.captured_after is None or (at is not None and at >= wanted.captured_after),
            wanted.captured_before is None or (at is not None and at < wanted.captured_before),
            all(
                key in entry.attributes and is_json_equal(entry.attributes[key], value)
                for key, value in wanted.attributes.items()
            ),
        )
    )


def copied(sections: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Sections that may be written, as read from a file."""
    return {name: section.copy() for name, section in sections.items()}


def overwritten(sections: dict[str, NDArray[Any]], *rows: int) -> dict[str, NDArray[Any]]:
    """The sections with the bytes of these rows' records at zero."""
    sections = copied(sections)
    for name, first, end in EntryTable.erase_from(sections, *rows):
        sections[name].view(np.uint8)[first:end] = 0
    return sections


def all_bytes(table: EntryTable) -> bytes:
    """Every byte of a table."""
    return b"|".join(section.tobytes() for section in table.sections().values())


class TableMachine(RuleBasedStateMachine):
    """Moves of a table and of a dict; collisions of hashes are frequent."""

    def __init__(self) -> None:
        super().__init__()
        self.table = EntryTable(TextHash(bits=3))
        self.oracle: Oracle = {}
        self.next_row = 0

    def any_of(self, data: st.DataObject) -> GalleryEntry | None:
        """One of the live entries, if there is one."""
        live = list(self.oracle.values())
        return data.draw(st.sampled_from(live)) if live else None

    def of_fields(self, data: st.DataObject, entry_id: str, row: int) -> GalleryEntry:
        """An entry with drawn fields."""
        return entry(
            row,
            entry_id=entry_id,
            person_id=data.draw(names),
            camera_id=data.draw(names),
            modality=data.draw(st.sampled_from(("visible", "infrared"))),
            captured_at=data.draw(times),
            attributes=data.draw(attributes),
        )

    @rule(data=st.data(), ids=st.lists(st.integers(0, 20), min_size=1, max_size=5, unique=True))
    def add(self, data: st.DataObject, ids: list[int]) -> None:
        """New entries, ids of removed ones among them, with gaps between the rows."""
        fresh = []
        for number in ids:
            if f"e{number}" not in self.oracle:
                self.next_row += data.draw(st.integers(1, 2))
                fresh.append(self.of_fields(data, f"e{number}", self.next_row - 1))
        self.table.put_many(fresh[::-1])
        self.oracle.update((each.entry_id, each) for each in fresh)

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        """Other fields under the same id and row."""
        known = self.any_of(data)
        if known is not None:
            changed = self.of_fields(data, known.entry_id, known.row)
            self.table.put(changed)
            self.oracle[known.entry_id] = changed

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """An entry less."""
        known = self.any_of(data)
        if known is not None:
            self.table.remove(known)
            del self.oracle[known.entry_id]

    @rule()
    def compact(self) -> None:
        """The live positions alone, in their order."""
        before = self.table
        self.table, kept = before.compacted()
        assert self.table.positions == len(self.oracle)
        here = self.table.rows_of(np.arange(self.table.positions))
        assert before.rows_of(kept).tolist() == here.tolist()

    @rule()
    def load(self) -> None:
        """Out of a snapshot."""
        self.table = EntryTable.from_sections(self.table.sections(), TextHash(bits=3))

    @rule(data=st.data())
    def erase_in_snapshot(self, data: st.DataObject) -> None:
        """Out of a snapshot in which entries were overwritten."""
        live = list(self.oracle.values())
        gone = data.draw(st.lists(st.sampled_from(live), unique_by=id)) if live else []
        sections = overwritten(self.table.sections(), *(each.row for each in gone))
        self.table = EntryTable.from_sections(sections, TextHash(bits=3))
        for each in gone:
            del self.oracle[each.entry_id]

    @rule(wanted=filters, after=st.integers(-1, 40), limit=st.integers(1, 6))
    def ask(self, wanted: EntryFilter, after: int, limit: int) -> None:
        """A filter, as a mask and as a page."""
        live = sorted(self.oracle.values(), key=lambda each: each.row)
        matching = [each for each in live if meets(each, wanted)]
        mask = self.table.mask(wanted)
        if mask is None:
            assert len(live) == len(matching) == self.table.positions
        else:
            assert mask.shape == (self.table.positions,)
            found = self.table.rows_of(np.flatnonzero(mask)).tolist()
            assert found == [each.row for each in matching]
        page = [each for each in matching if each.row > after][:limit]
        assert self.table.after(after, wanted, limit) == page

    @invariant()
    def agrees(self) -> None:
        """Everything that can be asked without a filter."""
        live = sorted(self.oracle.values(), key=lambda each: each.row)
        table = self.table
        assert list(table.entries()) == live
        assert len(table) == len(live)
        assert table.rows == self.next_row
        assert table.persons == len({each.person_id for each in live} - {None})
        assert [table.get(f"e{number}") for number in range(21)] == [
            self.oracle.get(f"e{number}") for number in range(21)
        ]
        by_row = {each.row: each for each in live}
        rows = np.arange(self.next_row + 2)
        assert [table.find(int(row)) for row in rows] == [by_row.get(int(row)) for row in rows]
        positions = table.positions_of(rows)
        assert (positions >= 0).tolist() == [int(row) in by_row for row in rows]
        there = positions[positions >= 0]
        assert [table.entry_at(int(position)) for position in there] == live
        codes = table.person_codes(there).tolist()
        assert [code < 0 for code in codes] == [each.person_id is None for each in live]
        pairs = {(each.person_id, code) for each, code in zip(live, codes, strict=True)}
        assert len(pairs) == len({person for person, _ in pairs}) == len(set(codes))
        for name in NAMES:
            of_person = [each for each in live if each.person_id == name]
            assert table.of_person(name) == of_person
        timed = [each for each in live if each.captured_at is not None]
        early = [each.row for each in timed if each.captured_at and each.captured_at < NOON]
        assert table.captured_before(NOON) == early


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


SECRET = {
    "entry_id": "secret-entry",
    "person_id": "secret-person",
    "camera_id": "secret-camera",
    "attributes": {"plate": "secret-plate"},
    "crop_sha256": "5ec2e7" * 10 + "5ec2",
    "captured_at": datetime(1999, 5, 5, 5, 5, 5, 12345, UTC),
    "enrolled_at": datetime(1998, 4, 4, 4, 4, 4, 54321, UTC),
}


def traces(table: EntryTable) -> set[str]:
    """Which parts of the secret entry are in the bytes of a table."""
    data = all_bytes(table)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    microsecond = timedelta(microseconds=1)
    parts = {
        "entry": b"secret-entry",
        "person": b"secret-person",
        "camera": b"secret-camera",
        "attributes": b"secret-plate",
        "digest": bytes.fromhex("5ec2e7" * 10),
        "capture": ((SECRET["captured_at"] - epoch) // microsecond).to_bytes(8, "little"),  # type: ignore[operator]
        "enrolment": ((SECRET["enrolled_at"] - epoch) // microsecond).to_bytes(8, "little"),  # type: ignore[operator]
    }
    return {name for name, part in parts.items() if part in data}


EVERYTHING = {"entry", "person", "camera", "attributes", "digest", "capture", "enrolment"}


def test_a_removed_entry_leaves_no_byte_in_memory() -> None:
    secret = entry(1, **SECRET)
    table = table_of(entry(0), secret, entry(2))
    assert traces(table) == EVERYTHING
    table.remove(secret)
    assert traces(table) == set()


def test_a_changed_record_leaves_nothing_of_what_it_was() -> None:
    secret = entry(1, **SECRET)
    table = table_of(entry(0), secret, entry(2))
    table.put(replace(secret, person_id="other", camera_id=None, attributes={}, captured_at=None))
    assert traces(table) == {"entry", "digest", "enrolment"}


def test_a_name_stays_while_another_entry_has_it() -> None:
    secret = entry(1, **SECRET)
    table = table_of(secret, entry(2, person_id="secret-person"))
    table.remove(secret)
    assert traces(table) == {"person"}
    table.remove(table.at(2))
    assert traces(table) == set()


def test_bytes_named_for_erasure_leave_nothing_in_a_snapshot_and_touch_nothing_else() -> None:
    others = [entry(0, person_id="a"), entry(2, attributes={"plate": "other"})]
    table = table_of(others[0], entry(1, **SECRET), others[1])
    erased = EntryTable.from_sections(overwritten(table.sections(), 1))
    assert traces(erased) == set()
    assert list(erased.entries()) == others
    assert list(table.entries())[::2] == others


def test_a_snapshot_keeps_a_name_that_another_entry_of_it_has() -> None:
    table = table_of(entry(1, **SECRET), entry(2, person_id="secret-person"))
    erased = EntryTable.from_sections(overwritten(table.sections(), 1))
    assert traces(erased) == {"person"}
    assert erased.of_person("secret-person") == [entry(2, person_id="secret-person")]


@pytest.mark.parametrize("together", [True, False])
def test_a_person_erased_from_a_snapshot_takes_the_name_along(together: bool) -> None:
    twin = {**SECRET, "entry_id": "secret-entry-2"}
    sections = table_of(entry(1, **SECRET), entry(2, **twin), entry(3)).sections()
    for rows in [(1, 2)] if together else [(1,), (2,)]:
        sections = overwritten(sections, *rows)
    erased = EntryTable.from_sections(sections)
    assert traces(erased) == set()
    assert list(erased.entries()) == [entry(3)]


def test_a_row_that_is_dead_in_a_snapshot_has_no_bytes_there() -> None:
    table = table_of(entry(1), entry(3))
    table.remove(entry(3))
    assert EntryTable.erase_from(table.sections(), 3) == []
    assert EntryTable.erase_from(table.sections(), 2) == []


def test_compaction_leaves_nothing_of_the_dead_and_counts_their_rows() -> None:
    table = table_of(entry(0), entry(1, **SECRET), entry(5, person_id="a"))
    table.remove(table.at(1))
    compact, kept = table.compacted()
    assert kept.tolist() == [0, 2]
    assert (compact.positions, compact.rows, table.positions) == (2, 6, 3)
    assert list(compact.entries()) == [entry(0), entry(5, person_id="a")]
    assert len(all_bytes(compact)) < len(all_bytes(table))


def test_names_that_come_and_go_take_no_lasting_room() -> None:
    table = table_of(entry(0, person_id="stays"), entry(1))
    for number in range(5000):
        table.put(entry(1, person_id=f"passes-{number}"))
    assert len(table.sections()["person.end"]) < 2500
    assert table.persons == 2
    assert table.of_person("stays") == [entry(0, person_id="stays")]
    assert table.of_person("passes-4999") == [entry(1, person_id="passes-4999")]


def test_many_entries_are_found_by_id_before_and_after_a_snapshot() -> None:
    # More than the latest ids, which are kept apart, and ids of every length.
    entries = [entry(row, entry_id=f"{row}" + "x" * (row % 19)) for row in range(40_000)]
    table = EntryTable()
    for first in range(0, 40_000, 7_000):
        table.put_many(entries[first : first + 7_000])
    table.remove(entries[5])
    for looked_at in (table, EntryTable.from_sections(table.sections()), table.compacted()[0]):
        assert all(looked_at.get(entries[row].entry_id) == entries[row] for row in range(6, 40_000))
        assert looked_at.get(entries[5].entry_id) is None
        assert looked_at.get("no such id") is None


def test_a_removed_id_comes_back_on_a_new_row_alone() -> None:
    table = table_of(entry(0, person_id="a"))
    table.remove(table.at(0))
    again = entry(1, entry_id="entry-0", person_id="b")
    table.put(again)
    assert table.get("entry-0") == again
    assert table.find(0) is None
    assert table.of_person("a") == []


def test_a_filter_on_many_names_takes_any_of_them() -> None:
    table = table_of(*(entry(row, person_id=f"p{row}") for row in range(30)))
    tens = tuple(f"p{row}" for row in range(10, 20))
    assert [each.row for each in table.after(-1, EntryFilter(person_id=tens), 99)] == [
        *range(10, 20)
    ]
    others = table.after(-1, EntryFilter(exclude_person_id=tens), 99)
    assert [each.row for each in others] == [*range(10), *range(20, 30)]


def test_attributes_are_found_after_a_first_search_and_later_writes() -> None:
    table = table_of(entry(0, attributes={"site": "a", "n": 0}), entry(1))
    site_a = EntryFilter(attributes={"site": "a"})
    assert [each.row for each in table.after(-1, site_a, 9)] == [0]
    table.put(entry(2, attributes={"site": "a", "n": 2}))
    table.put(entry(1, attributes={"site": "a"}))
    table.put(entry(0, attributes={"site": "b"}))
    assert [each.row for each in table.after(-1, site_a, 9)] == [1, 2]
    both = EntryFilter(attributes={"site": "a", "n": 2.0})
    assert [each.row for each in table.after(-1, both, 9)] == [2]


@pytest.mark.parametrize(
    ("stored", "wanted", "matches"),
    [
        (1, 1.0, True), (1.0, 1, True), (True, 1, False), (1, True, False), (False, 0, False),
        ("1", 1, False), (None, None, True), (None, False, False), (0, -0.0, True),
        (2**53 + 1, float(2**53), False), ([1], 1, False), ("ü", "ü", True),
    ],
)  # fmt: skip
def test_attributes_compare_as_json_types(
    stored: JsonValue, wanted: JsonScalar, matches: bool
) -> None:
    mask = table_of(entry(0, attributes={"key": stored})).mask(
        EntryFilter(attributes={"key": wanted})
    )
    assert mask is not None
    assert mask.tolist() == [matches]


def test_an_absent_attribute_is_not_null() -> None:
    table = table_of(entry(0), entry(1, attributes={"other": None}))
    assert table.after(-1, EntryFilter(attributes={"key": None}), 9) == []


def test_times_come_back_in_utc_to_the_microsecond() -> None:
    east = datetime(2026, 3, 1, 12, 0, 0, 123457, timezone(timedelta(hours=5, minutes=30)))
    found = table_of(entry(0, captured_at=east, enrolled_at=east)).at(0)
    assert str(found.captured_at) == str(found.enrolled_at) == "2026-03-01 06:30:00.123457+00:00"


def test_a_row_belongs_to_one_id() -> None:
    table = table_of(entry(0), entry(2))
    with pytest.raises(ValueError, match="row 2 is not that of entry 'other'"):
        table.put(entry(2, entry_id="other"))
    with pytest.raises(ValueError, match="row 1 is not that of entry 'entry-1'"):
        table.put(entry(1))
    with pytest.raises(KeyError):
        table.remove(entry(1))
    assert list(table.entries()) == [entry(0), entry(2)]


def test_rows_count_as_written_without_entries() -> None:
    table = table_of(entry(0))
    table.extend(9)
    assert (table.rows, table.positions) == (9, 1)
    table.extend(3)
    assert EntryTable.from_sections(table.sections()).rows == 9


def test_a_loaded_table_does_not_share_memory_with_the_one_it_came_from() -> None:
    table = table_of(entry(0, person_id="a"))
    loaded = EntryTable.from_sections(table.sections())
    loaded.remove(loaded.at(0))
    assert list(table.entries()) == [entry(0, person_id="a")]


Damage = Callable[[dict[str, NDArray[Any]]], object]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda s: s.pop("camera"), "expected sections"),
        (lambda s: s.update(person=s["person"].astype(np.int64)), "person: expected a flat array"),
        (lambda s: s.update(captured_at=s["captured_at"][:1]), "captured_at: expected 2 values"),
        (lambda s: s.update(row=s["row"][::-1].copy()), "row: expected rows ascending"),
        (lambda s: s.update(rows=np.array([1])), "row: expected rows ascending"),
        (lambda s: s["person"].fill(7), "person: expected codes from 0 to 1, got 7 to 7"),
        (lambda s: s["camera"].fill(-1), "camera: expected codes from 0 to 0"),
        (lambda s: s.update({"entry_id.text": s["entry_id.text"][1:]}), "entry_id.text: expected"),
        (lambda s: s["entry_id.end"].put(0, 99), "entry_id.end: expected ends that never go back"),
    ],
)  # fmt: skip
def test_a_section_that_does_not_fit_is_named(damage: Damage, named: str) -> None:
    sections = copied(table_of(entry(0, person_id="a"), entry(1)).sections())
    damage(sections)
    with pytest.raises(ValueError, match=named):
        EntryTable.from_sections(sections)


@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from((1, 7, 64)))
def test_many_hashes_at_a_time_are_the_hashes_one_by_one(texts: list[bytes], bits: int) -> None:
    text_hash = TextHash(bits=bits)
    arena = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    assert text_hash.of_many(arena, ends).tolist() == [text_hash.of(text) for text in texts]
