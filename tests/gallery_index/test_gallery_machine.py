"""Random lives of a gallery, against a list and brute force; restarts and crashes among them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gallery_index.errors import EntryNotFoundError, PersonNotFoundError
from gallery_index.records import EntryChanges, EntryFilter
from tests.gallery_index.places import BruteForce, Place, enrolled, ids, new, vector

PEOPLE = st.sampled_from([None, "ann", "bob"])
ANY = EntryFilter()


class GalleryLife(RuleBasedStateMachine):
    """Every operation, mirrored in a list."""

    def __init__(self, root: Path, redis_url: str | None) -> None:
        super().__init__()
        if redis_url is not None:
            client = redis.Redis.from_url(redis_url)
            client.flushall()
            client.close()
        self._directory = tempfile.TemporaryDirectory(dir=root)
        self._place = Place(Path(self._directory.name) / "gallery", redis_url)
        self._gallery = self._place.open()
        self._oracle = BruteForce()
        self._next = 0

    def _pick(self, number: int) -> str:
        kept = self._oracle.entries
        return kept[number % len(kept)].entry_id if kept else "nobody"

    @rule(people=st.lists(PEOPLE, min_size=1, max_size=4), copy=st.booleans())
    def enrol(self, people: list[str | None], copy: bool) -> None:
        seeds = range(self._next, self._next + len(people))
        self._next += len(people)
        embeddings = [vector(0 if copy else seed) for seed in seeds]
        sent = [
            new(seed, person_id=person, embedding=embedding)
            for seed, person, embedding in zip(seeds, people, embeddings, strict=True)
        ]
        for entry, embedding in zip(enrolled(self._gallery, *sent), embeddings, strict=True):
            self._oracle.add(entry, embedding)

    @rule(number=st.integers(0, 30))
    def delete(self, number: int) -> None:
        entry_id = self._pick(number)
        if entry_id == "nobody":
            with pytest.raises(EntryNotFoundError):
                self._gallery.delete(entry_id)
        else:
            self._gallery.delete(entry_id)
        self._forget({entry_id})

    @rule(person=st.sampled_from(["ann", "bob"]))
    def erase(self, person: str) -> None:
        theirs = {e.entry_id for e in self._oracle.entries if e.person_id == person}
        if theirs:
            assert set(self._gallery.erase_person(person).entry_ids) == theirs
        else:
            with pytest.raises(PersonNotFoundError):
                self._gallery.erase_person(person)
        self._forget(theirs)

    @precondition(lambda self: self._oracle.entries)
    @rule(number=st.integers(0, 30), person=PEOPLE)
    def rename(self, number: int, person: str | None) -> None:
        entry_id = self._pick(number)
        when = datetime(2026, 1, 1 + number % 28, tzinfo=UTC)
        changed = self._gallery.update(entry_id, EntryChanges(person_id=person, captured_at=when))
        assert (changed.person_id, changed.captured_at) == (person, when)
        self._oracle.entries = [
            changed if e.entry_id == entry_id else e for e in self._oracle.entries
        ]

    @rule()
    def snapshot(self) -> None:
        self._gallery.snapshot()

    @rule()
    def restart(self) -> None:
        self._gallery.close()
        self._gallery = self._place.open()

    @rule()
    def crash(self) -> None:
        self._place.crash()
        self._gallery = self._place.open()

    @rule(query=st.integers(0, 20), top_k=st.integers(1, 8), grouped=st.booleans(), person=PEOPLE)
    def search(self, query: int, top_k: int, grouped: bool, person: str | None) -> None:
        wanted = EntryFilter(person_id=person)
        found = self._gallery.search(
            vector(query), top_k=top_k, filter=wanted, group_by="person" if grouped else "entry"
        )
        expected = self._oracle.search(
            vector(query), top_k, wanted, "person" if grouped else "entry"
        )
        assert ids(found) == [entry_id for entry_id, _ in expected]

    @rule()
    def verify(self) -> None:
        report = self._gallery.verify()
        assert (report.problems, report.unfinished) == ([], [])
        assert report.entries == report.crops == len(self._oracle.entries)

    @invariant()
    def the_listing_is_what_was_acknowledged(self) -> None:
        assert self._gallery.list(ANY, limit=1000).entries == self._oracle.matching(ANY)

    def teardown(self) -> None:
        self._place.close()
        self._directory.cleanup()

    def _forget(self, gone: set[str]) -> None:
        self._oracle.entries = [e for e in self._oracle.entries if e.entry_id not in gone]


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_gallery_is_what_was_acknowledged_whatever_happens(
    store: str, memory_root: Path, request: pytest.FixtureRequest
) -> None:
    url = None
    if store == "redis":
        url = request.getfixturevalue("empty_redis").url
    run_state_machine_as_test(
        lambda: GalleryLife(memory_root, url),  # type: ignore[arg-type]
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None),
    )
