"""What a gallery promises, the same on SQLite and on Redis."""

import gc
import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from gallery_index.errors import (
    CursorError,
    EntryConflictError,
    EntryNotFoundError,
    GalleryError,
    InvalidEntryError,
    PersonNotFoundError,
)
from gallery_index.records import Added, EntryChanges, EntryFilter, GalleryEntry, NewEntry
from gallery_index.table.entry_table import EntryTable
from gallery_index.table.growing_array import GrowingArray
from tests.gallery_index.places import DIM, MODEL, Place, enrolled, ids, new, vector

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ANY = EntryFilter()
PLAIN = (dict, list, tuple, set, frozenset)


def in_memory(held: object) -> bytes:
    """Return every text, byte string and array that an object of ours leads to.

    Of an array that grows only what has been written: its room may be memory of anybody before.
    """
    found, seen, left = [b""], set[int](), [held]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        if isinstance(each, PLAIN) or type(each).__module__.startswith("gallery_index"):
            left += gc.get_referents(each)
        if isinstance(each, str):
            found.append(each.encode())
        elif isinstance(each, bytes):
            found.append(each)
        elif isinstance(each, GrowingArray):
            found.append(each.values.tobytes())
    return b"\n".join(found)


def test_an_entry_comes_back_as_it_was_enrolled(place: Place) -> None:
    sent = NewEntry(
        embedding=vector(1),
        crop=b"\xff\xd8 bytes",
        media_type="image/jpeg",
        modality="infrared",
        entry_id="cam3:0001.jpg",
        person_id="Ähre 7",
        camera_id="cam3",
        captured_at=datetime(2026, 5, 1, 14, 0, tzinfo=timezone(timedelta(hours=2))),
        attributes={"height_m": 1.8, "tags": ["hat", None], "note": {"a": True}},
    )
    with_place = place.open()
    (entry,) = enrolled(with_place, sent)
    place.crash()
    gallery = place.open()
    again = gallery.get("cam3:0001.jpg")
    assert again == entry
    assert again.person_id == "Ähre 7"
    assert again.captured_at == NOON
    assert again.attributes == sent.attributes
    assert (again.model_id, again.modality, again.camera_id) == (MODEL, "infrared", "cam3")
    assert gallery.crop("cam3:0001.jpg") == (b"\xff\xd8 bytes", "image/jpeg")


def test_an_entry_without_an_id_gets_one_that_sorts_by_time(place: Place) -> None:
    gallery = place.open()
    entries = [
        NewEntry(vector(seed), b"crop", "image/png", "visible", entry_id=None) for seed in range(2)
    ]
    first, second = enrolled(gallery, *entries)
    assert len({first.entry_id, second.entry_id}) == 2
    assert [first.row, second.row] == [0, 1]


def test_the_same_id_and_bytes_is_the_same_entry(place: Place) -> None:
    gallery = place.open()
    (entry,) = enrolled(gallery, new(1))
    (again,) = gallery.add([new(1)])
    assert again == Added(entry, replayed=True)
    assert gallery.existing("e1", b"crop 1", "visible") == Added(entry, replayed=True)
    assert gallery.existing("e2", b"crop 1", "visible") is None
    assert len(gallery) == 1


@pytest.mark.parametrize("change", [{"crop": b"other"}, {"modality": "infrared"}])
def test_the_same_id_for_another_crop_or_modality_is_a_conflict(
    place: Place, change: dict[str, str]
) -> None:
    gallery = place.open()
    enrolled(gallery, new(1))
    (result,) = gallery.add([new(1, **change)])  # type: ignore[arg-type]
    assert isinstance(result, EntryConflictError)
    assert "e1" in str(result)
    assert gallery.crop("e1")[0] == b"crop 1"
    with pytest.raises(EntryConflictError, match="e1"):
        gallery.existing("e1", **{"crop": b"crop 1", "modality": "visible", **change})  # type: ignore[arg-type]


def test_bad_items_do_not_spoil_their_neighbours(place: Place) -> None:
    gallery = place.open()
    results = gallery.add(
        [
            new(1),
            new(2, embedding=np.full(DIM, np.nan, np.float32)),
            new(3, embedding=np.zeros(DIM, np.float32)),
            new(4, embedding=np.full(DIM, np.inf, np.float32)),
            new(5, embedding=np.ones(DIM + 1, np.float32)),
            new(6, entry_id="../up"),
            new(7, modality="thermal"),
            new(8, captured_at=datetime(2026, 5, 1)),
            new(1),
            new(1, crop=b"other"),
            new(9, crop=b""),
            new(10),
        ]
    )
    assert isinstance(results[0], Added)
    assert not results[0].replayed
    assert [type(result) for result in results[1:8]] == [InvalidEntryError] * 7
    assert results[8] == Added(results[0].entry, replayed=True)
    assert isinstance(results[9], EntryConflictError)
    assert isinstance(results[10], InvalidEntryError)
    assert isinstance(results[11], Added)
    assert ids(gallery.list(ANY).entries) == ["e1", "e10"]
    message = str(results[4])
    assert str(DIM) in message
    assert str(DIM + 1) in message


def test_a_listing_goes_on_where_it_stopped_whatever_is_written_meanwhile(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(5)])
    first = gallery.list(ANY, limit=2)
    assert ids(first.entries) == ["e0", "e1"]
    gallery.delete("e1")
    gallery.delete("e2")
    enrolled(gallery, new(5))
    second = gallery.list(ANY, limit=2, cursor=first.next_cursor)
    assert ids(second.entries) == ["e3", "e4"]
    last = gallery.list(ANY, limit=2, cursor=second.next_cursor)
    assert ids(last.entries) == ["e5"]
    assert last.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "e30", "!!!", "é", "AAAA" * 50])
def test_a_cursor_of_nobody_is_refused(place: Place, cursor: str) -> None:
    gallery = place.open()
    with pytest.raises(CursorError, match="cursor"):
        gallery.list(ANY, cursor=cursor)


def test_a_cursor_of_another_gallery_is_refused(sqlite_place: Place, directory: Path) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    cursor = gallery.list(ANY, limit=1).next_cursor
    other = Place(directory / "other")
    with pytest.raises(CursorError, match="another gallery"):
        other.open().list(ANY, cursor=cursor)
    other.close()


def test_time_filters_take_the_start_and_leave_the_end(place: Place) -> None:
    gallery = place.open()
    second = timedelta(seconds=1)
    enrolled(
        gallery,
        new(0, captured_at=NOON - timedelta(microseconds=1)),
        new(1, captured_at=NOON),
        new(2, captured_at=NOON + second),
        new(3),
    )
    after = gallery.list(EntryFilter(captured_after=NOON))
    before = gallery.list(EntryFilter(captured_before=NOON + second))
    assert ids(after.entries) == ["e1", "e2"]
    assert ids(before.entries) == ["e0", "e1"]


def test_filters_that_name_something_unknown_match_nothing(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, new(0, person_id="p", camera_id="c"), new(1))
    assert gallery.list(EntryFilter(person_id="q")).entries == []
    assert gallery.list(EntryFilter(camera_id="q")).entries == []
    assert ids(gallery.list(EntryFilter(exclude_camera_id="q")).entries) == ["e0", "e1"]
    assert ids(gallery.list(EntryFilter(exclude_camera_id="c")).entries) == ["e1"]


def test_changes_replace_some_fields_and_survive(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, new(0, person_id="p", camera_id="c", captured_at=NOON), new(1))
    gallery.update("e0", EntryChanges(person_id="q", captured_at=None, attributes={"a": 1}))
    place.crash()
    gallery = place.open()
    entry = gallery.get("e0")
    assert (entry.person_id, entry.camera_id, entry.captured_at) == ("q", "c", None)
    assert entry.attributes == {"a": 1}
    assert ids(gallery.list(EntryFilter(person_id="q")).entries) == ["e0"]
    assert gallery.list(EntryFilter(person_id="p")).entries == []
    assert gallery.stats().persons == 1
    with pytest.raises(EntryNotFoundError, match="e7"):
        gallery.update("e7", EntryChanges(person_id="q"))


def test_a_deleted_entry_leaves_nothing(place: Place) -> None:
    gallery = place.open()
    entries = enrolled(gallery, new(0), new(1))
    gallery.snapshot()
    stored = gallery._memory.index.stage.codes(0, 2)
    assert gallery._files.crops.rows() == {0, 1}
    gallery.delete("e0")
    assert gallery._files.crops.rows() == {1}
    for path in gallery._files.snapshots.directory.iterdir():
        assert stored[0].tobytes() not in path.read_bytes()
    (data,) = gallery._files.snapshots.directory.glob("*.data")
    assert stored[1].tobytes() in data.read_bytes()
    assert gallery._files.vectors.is_erased(entries[0].row)
    assert not gallery._files.vectors.is_erased(entries[1].row)
    assert not gallery._memory.index.stage.codes(0, 1).any()
    assert np.array_equal(gallery._memory.index.stage.codes(1, 2), stored[1:])
    for call in (gallery.get, gallery.crop, gallery.delete):
        with pytest.raises(EntryNotFoundError, match="e0"):
            call("e0")
    assert ids(gallery.search(vector(0), top_k=5)) == ["e1"]
    assert gallery.verify().problems == []


def test_an_id_is_free_again_after_its_entry_is_deleted(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, new(0))
    gallery.delete("e0")
    (entry,) = enrolled(gallery, new(0, crop=b"second life"))
    assert entry.row == 1
    place.crash()
    gallery = place.open()
    assert gallery.crop("e0")[0] == b"second life"
    assert ids(gallery.search(vector(0), top_k=5)) == ["e0"]


def test_erasing_a_person_takes_everything_of_theirs_and_nothing_else(place: Place) -> None:
    gallery = place.open()
    people = {0: "ann", 1: "bob", 2: "ann", 3: None}
    enrolled(gallery, *[new(seed, person_id=person) for seed, person in people.items()])
    receipt = gallery.erase_person("ann")
    assert receipt.entry_ids == ["e0", "e2"]
    assert (receipt.entries, receipt.vectors, receipt.crops) == (2, 2, 2)
    assert receipt.erased_at.tzinfo is UTC
    with pytest.raises(PersonNotFoundError, match="ann"):
        gallery.erase_person("ann")
    place.crash()
    gallery = place.open()
    assert ids(gallery.list(ANY).entries) == ["e1", "e3"]
    assert gallery.stats().persons == 1


def test_an_erased_persons_name_is_in_no_file_of_the_directory(place: Place) -> None:
    gallery = place.open()
    name = "very-recognisable-name"
    enrolled(gallery, new(0, person_id=name, crop=b"very-recognisable-bytes"), new(1))
    gallery.snapshot()
    assert name.encode() in in_memory(gallery._memory.index)
    gallery.erase_person(name)
    for path in place.directory.rglob("*"):
        assert path.is_dir() or b"very-recognisable" not in path.read_bytes(), path
    assert name.encode() not in in_memory(gallery._memory.index)


def test_an_erasure_that_a_kill_cut_short_is_finished_at_the_next_start_in_every_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: object, **kwargs: object) -> int:
        raise SystemExit

    gallery = place.open()
    name = "very-recognisable-name"
    enrolled(gallery, new(0, person_id=name, crop=b"very-recognisable-bytes"), new(1))
    with monkeypatch.context() as patched:
        patched.setattr("gallery_index.writer.erase_in_files", die)
        with pytest.raises(SystemExit):
            gallery.erase_person(name)
    killed = place.directory.with_name("killed")  # closing would tidy SQLite's log up
    shutil.copytree(place.directory, killed)
    place.crash()
    place.directory = killed
    place.open()
    for path in killed.rglob("*"):
        assert path.is_dir() or b"very-recognisable" not in path.read_bytes(), path


def test_an_entry_can_be_got_while_it_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, new(0, person_id="ann"))
    put, got = EntryTable.put, list[GalleryEntry]()
    reader = Thread(target=lambda: got.append(gallery.get("e0")))

    def read_meanwhile(table: EntryTable, entry: GalleryEntry) -> None:
        reader.start()
        reader.join(0.1)
        assert got == []  # it waits for the whole of the change
        put(table, entry)

    monkeypatch.setattr(EntryTable, "put", read_meanwhile)
    gallery.update("e0", EntryChanges(person_id="bob"))
    reader.join()
    assert [entry.person_id for entry in got] == ["bob"]
    assert gallery.stats().persons == 1


def test_a_search_finds_the_nearest_first(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(20)])
    (best, *_) = gallery.search(3 * vector(7), top_k=3)
    assert best.entry.entry_id == "e7"
    assert best.similarity == pytest.approx(1.0, abs=2e-3)


def test_equal_similarities_come_in_the_order_of_enrolment(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed, embedding=vector(0)) for seed in range(60)])
    assert ids(gallery.search(vector(0), top_k=5)) == ["e0", "e1", "e2", "e3", "e4"]


def test_grouping_finds_every_person_behind_a_long_tracklet(place: Place) -> None:
    gallery = place.open()
    rng = np.random.default_rng(0)
    near = [vector(0) + 0.01 * rng.standard_normal(DIM).astype(np.float32) for _ in range(150)]
    enrolled(gallery, *[new(i, person_id="busy", embedding=v) for i, v in enumerate(near)])
    enrolled(gallery, new(200, person_id="ann"), new(201, person_id="bob"), new(202), new(203))
    found = gallery.search(vector(0), top_k=10, group_by="person")
    people = [match.entry.person_id for match in found]
    assert people[0] == "busy"
    assert sorted(map(str, people)) == ["None", "None", "ann", "bob", "busy"]


def test_a_search_of_an_empty_gallery_finds_nothing(place: Place) -> None:
    gallery = place.open()
    assert gallery.search(vector(0), top_k=10) == []
    assert gallery.list(ANY).entries == []


@pytest.mark.parametrize("top_k", [0, 1001])
def test_top_k_has_bounds(sqlite_place: Place, top_k: int) -> None:
    with pytest.raises(InvalidEntryError, match="top_k"):
        sqlite_place.open().search(vector(0), top_k=top_k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_query_without_a_direction_is_refused(sqlite_place: Place, bad: float) -> None:
    with pytest.raises(InvalidEntryError, match="query"):
        sqlite_place.open().search(np.full(DIM, bad, np.float32), top_k=1)


def test_a_query_of_another_dimension_is_refused_naming_both(sqlite_place: Place) -> None:
    with pytest.raises(InvalidEntryError, match=rf"{DIM} dimensions.*\({DIM - 1},\)"):
        sqlite_place.open().search(vector(0, DIM - 1), top_k=1)


def test_stats_say_what_holds(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, new(0, person_id="p"), new(1, person_id="p"), new(2))
    gallery.delete("e2")
    stats = gallery.stats()
    assert (stats.entries, stats.persons, stats.rows) == (2, 1, 3)
    assert stats.store == ("redis" if place.redis_url else "sqlite")
    assert (stats.durability, stats.ready) == ("power-loss", True)
    assert (stats.model_id, stats.embedding_dim, stats.damaged_rows) == (MODEL, DIM, 0)


def test_a_closed_gallery_says_so(place: Place) -> None:
    gallery = place.open()
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.search(vector(0), top_k=1)
    with pytest.raises(GalleryError, match="closed"):
        gallery.add([new(0)])
