"""Random lives of a gallery, against a list and brute force; restarts and crashes among them.

The gallery is an early one: it compresses at six entries, compacts at two dead places and writes
snapshots whenever it looks after itself, so that all of that lies between any two other moves.
`GALLERY_LIVES` says how many lives are tried.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
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
from numpy.typing import NDArray

from gallery_index.errors import EntryConflictError, EntryNotFoundError, PersonNotFoundError
from gallery_index.records import Added, EntryChanges, EntryFilter, GroupBy, JsonValue
from tests.gallery_index.early import EARLY, compress_with
from tests.gallery_index.places import DIMS, BruteForce, Place, enrolled, ids, new, vector_by
from tests.gallery_index.scripts import other_model

EXAMPLES = int(os.environ.get("GALLERY_LIVES", "25"))
RETENTION_DAYS = 1000
POLICY = replace(EARLY, retention_days=RETENTION_DAYS)
EXPIRED = datetime.now(UTC) - timedelta(days=RETENTION_DAYS + 1)
DAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)
PEOPLE = st.sampled_from([None, "ann", "bob"])
CAMERAS = st.sampled_from([None, "1", "2"])
MODALITIES = st.sampled_from(["visible", "infrared"])
TIMES = st.sampled_from([None, DAY, DAY + timedelta(hours=1)])
ATTRIBUTES = st.sampled_from([{}, {"colour": "red"}, {"colour": "blue", "seen": 1}, {"seen": True}])
NUMBERS = st.integers(0, 40)
ANY = EntryFilter()
FILTERS = st.builds(
    EntryFilter,
    person_id=st.sampled_from([None, None, "ann", ("ann", "bob")]),
    exclude_person_id=st.sampled_from([None, None, "bob"]),
    camera_id=st.sampled_from([None, None, "1", "nowhere"]),
    exclude_camera_id=st.sampled_from([None, None, "2"]),
    modality=st.sampled_from([None, None, "infrared"]),
    captured_after=st.sampled_from([None, None, DAY + timedelta(minutes=1)]),
    captured_before=st.sampled_from([None, None, DAY + timedelta(minutes=1)]),
    attributes=st.sampled_from([{}, {}, {"colour": "red"}, {"seen": 1}]),
)


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
        self._gallery = self._place.open(policy=POLICY)
        self._oracle = BruteForce()
        self._next = 0
        self._shown: dict[str, int] = {}  # the seed that an entry's vectors come from

    def _vector(self, entry_id: str) -> NDArray[np.float32]:
        return vector_by(self._gallery.model_id, self._shown[entry_id])

    def _pick(self, number: int) -> str:
        kept = self._oracle.entries
        return kept[number % len(kept)].entry_id if kept else "nobody"

    @rule(
        people=st.lists(PEOPLE, min_size=1, max_size=6), camera=CAMERAS, modality=MODALITIES,
        when=st.sampled_from([None, DAY, DAY + timedelta(hours=1), EXPIRED]),
        attributes=ATTRIBUTES, copy=st.booleans(),
    )  # fmt: skip
    def enrol(
        self,
        people: list[str | None],
        camera: str | None,
        modality: str,
        when: datetime | None,
        attributes: dict[str, JsonValue],
        copy: bool,
    ) -> None:
        seeds = range(self._next, self._next + len(people))
        self._next += len(people)
        self._shown.update({f"e{seed}": 0 if copy else seed for seed in seeds})
        embeddings = [self._vector(f"e{seed}") for seed in seeds]
        sent = [
            replace(
                new(seed, person_id=person, embedding=embedding, modality=modality),
                camera_id=camera,
                captured_at=when,
                attributes=attributes,
            )
            for seed, person, embedding in zip(seeds, people, embeddings, strict=True)
        ]
        for entry, embedding in zip(enrolled(self._gallery, *sent), embeddings, strict=True):
            assert (entry.camera_id, entry.captured_at) == (camera, when)
            assert (entry.modality, entry.attributes) == (modality, attributes)
            self._oracle.add(entry, embedding)

    @precondition(lambda self: self._oracle.entries)
    @rule(number=NUMBERS, same=st.booleans())
    def enrol_again(self, number: int, same: bool) -> None:
        entry = self._oracle.entries[number % len(self._oracle.entries)]
        seed = int(entry.entry_id[1:])
        crop = f"crop {seed}".encode() if same else b"another crop"
        vector = self._vector(entry.entry_id)
        sent = new(seed, crop=crop, modality=entry.modality, embedding=vector)
        (result,) = self._gallery.add([sent])
        if same:
            assert result == Added(entry, replayed=True)
        else:
            assert isinstance(result, EntryConflictError)

    @rule(number=NUMBERS)
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
    @rule(number=NUMBERS, person=PEOPLE, when=TIMES, attributes=ATTRIBUTES)
    def change(
        self,
        number: int,
        person: str | None,
        when: datetime | None,
        attributes: dict[str, JsonValue],
    ) -> None:
        entry_id = self._pick(number)
        changes = EntryChanges(person_id=person, captured_at=when, attributes=attributes)
        changed = self._gallery.update(entry_id, changes)
        assert (changed.person_id, changed.captured_at) == (person, when)
        assert changed.attributes == attributes
        self._oracle.entries = [
            changed if e.entry_id == entry_id else e for e in self._oracle.entries
        ]

    @rule()
    def snapshot(self) -> None:
        self._gallery.snapshot()

    @rule()
    def look_after(self) -> None:
        self._gallery.upkeep()
        old = {e.entry_id for e in self._oracle.entries if e.captured_at == EXPIRED}
        self._forget(old)
        stats = self._gallery.stats()
        assert stats.dead_positions < EARLY.dead_places
        assert len(self._oracle.entries) < EARLY.exact_below or stats.recall_at_10 is not None

    @rule()
    def rebuild(self) -> None:
        assert self._gallery.rebuild() == 0

    @rule()
    def restart(self) -> None:
        self._gallery.close()
        self._gallery = self._place.open(policy=POLICY)

    @rule()
    def crash(self) -> None:
        self._place.crash()
        self._gallery = self._place.open(policy=POLICY)

    @rule(query=NUMBERS, top_k=st.integers(1, 8), grouped=st.booleans(), wanted=FILTERS)
    def search(self, query: int, top_k: int, grouped: bool, wanted: EntryFilter) -> None:
        asked = vector_by(self._gallery.model_id, query)
        group_by: GroupBy = "person" if grouped else "entry"
        found = self._gallery.search(asked, top_k=top_k, filter=wanted, group_by=group_by)
        expected = self._oracle.search(asked, top_k, wanted, group_by)
        assert ids(found) == [entry_id for entry_id, _ in expected]

    @rule(wanted=FILTERS)
    def filter(self, wanted: EntryFilter) -> None:
        assert self._gallery.list(wanted, limit=1000).entries == self._oracle.matching(wanted)

    @rule(query=NUMBERS)
    def rerank(self, query: int) -> None:
        asked = vector_by(self._gallery.model_id, query)
        matches = self._gallery.search(asked, top_k=30)
        again = self._gallery.reranked(matches, top_k=30)
        assert sorted(ids(again)) == sorted(ids(matches))

    @precondition(lambda self: self._gallery.other() is None)
    @rule()
    def begin_refresh(self) -> None:
        model_id = other_model(self._gallery)
        begun = self._gallery.begin_refresh(model_id, DIMS[model_id])
        assert (begun.model_id, begun.missing) == (model_id, len(self._oracle.entries))

    @precondition(lambda self: self._gallery.other() is not None)
    @rule(most=st.integers(1, 6))
    def fill(self, most: int) -> None:
        missing = self._gallery.missing(most)
        model_id = other_model(self._gallery)
        given = {e.row: vector_by(model_id, self._shown[e.entry_id]) for e in missing}
        assert self._gallery.fill(given) == len(missing)

    @precondition(lambda self: self._gallery.other() is not None)
    @rule()
    def prepare_switch(self) -> None:
        self._gallery.prepare_switch()

    @rule()
    def switch(self) -> None:
        model_id = other_model(self._gallery)
        if self._gallery.other() is None:
            self._gallery.begin_refresh(model_id, DIMS[model_id])

        def embed(crops: Sequence[bytes]) -> list[NDArray[np.float32]]:
            return [vector_by(model_id, self._shown[f"e{int(crop[5:])}"]) for crop in crops]

        assert self._gallery.switch(embed) == model_id
        other = self._gallery.other()
        assert other is not None
        assert (other.kept, other.missing) == (True, 0)
        for entry in self._oracle.entries:
            self._oracle.vectors[entry.entry_id] = self._vector(entry.entry_id)
        self._oracle.entries = [replace(e, model_id=model_id) for e in self._oracle.entries]

    @precondition(lambda self: self._gallery.other() is not None)
    @rule()
    def drop_other(self) -> None:
        self._gallery.drop_other()
        assert self._gallery.other() is None

    @rule()
    def verify(self) -> None:
        report = self._gallery.verify()
        assert (report.problems, report.unfinished) == ([], [])
        assert report.entries == report.crops == len(self._oracle.entries)

    @invariant()
    def the_listing_is_what_was_acknowledged(self) -> None:
        assert self._gallery.list(ANY, limit=1000).entries == self._oracle.matching(ANY)
        assert self._gallery.stats().damaged_rows == 0

    def teardown(self) -> None:
        self._place.close()
        self._directory.cleanup()

    def _forget(self, gone: set[str]) -> None:
        self._oracle.entries = [e for e in self._oracle.entries if e.entry_id not in gone]


@pytest.mark.parametrize(("store", "first_stage"), [("sqlite", "pca"), ("redis", "rabitq")])
def test_a_gallery_is_what_was_acknowledged_whatever_happens(
    store: str,
    first_stage: str,
    memory_root: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = None
    if store == "redis":
        url = request.getfixturevalue("empty_redis").url
    compress_with(first_stage, monkeypatch.setattr)
    run_state_machine_as_test(
        lambda: GalleryLife(memory_root, url),  # type: ignore[arg-type]
        settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None),
    )
