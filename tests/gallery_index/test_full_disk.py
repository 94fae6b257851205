"""A disk with no room: the write is refused as such, and nothing has changed."""

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from gallery_index.errors import GalleryError, StorageFullError
from gallery_index.gallery import Gallery
from gallery_index.records import EntryChanges, EntryFilter
from gallery_index.stores.sqlite_store import SQLiteStore
from tests.gallery_index.bases import EVERYBODY, OPERATIONS, Base, prepare
from tests.gallery_index.doomed import Unharmed, live
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.gallery_index.scripts import Left, Operation, check, check_open, perform, states
from tests.gallery_index.steps import Step, Watch

ANY = EntryFilter()


def fill_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> list[int]:
    """Let the disk be full at the n-th call of an os function, after half of a write."""
    original = getattr(os, name)
    calls: list[int] = []

    def full(descriptor: int, *args: object) -> object:
        calls.append(descriptor)
        if len(calls) == call and name == "pwrite":
            data, offset = args
            assert isinstance(data, memoryview)
            return original(descriptor, data[: len(data) // 2], offset)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor, *args)

    monkeypatch.setattr(os, name, full)
    return calls


@pytest.mark.parametrize("name", ["pwrite", "fsync", "fdatasync"])
@pytest.mark.parametrize("call", range(6))
def test_an_enrolment_on_a_full_disk_changes_nothing(
    place: Place, name: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, new(0))
    calls = fill_at(monkeypatch, name, call)
    accepted: list[str] = []
    try:
        gallery.add([new(1), new(2)])
        accepted = ["e1", "e2"]
    except StorageFullError:
        pass
    # Without an error, the write needed no more calls than the disk had room for.
    assert bool(accepted) == (len(calls) <= call)
    monkeypatch.undo()
    assert ids(gallery.list(ANY).entries) == ["e0", *accepted]
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    enrolled(gallery, new(3))
    place.crash()
    assert ids(place.open().list(ANY).entries) == ["e0", *accepted, "e3"]


def test_a_full_sqlite_file_changes_nothing(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    store = gallery._files.store
    assert isinstance(store, SQLiteStore)
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count={pages}").fetchall()
    many = [new(seed, person_id="x" * 250) for seed in range(1, 100)]
    with pytest.raises(StorageFullError, match=r"metadata\.sqlite"):
        gallery.add(many)
    with pytest.raises(StorageFullError):
        gallery.update("e0", EntryChanges(attributes={"much": "y" * 9000}))
    store._connection.execute(f"PRAGMA max_page_count={1 << 30}").fetchall()
    assert ids(gallery.list(ANY).entries) == ["e0"]
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    enrolled(gallery, *many)
    assert len(gallery) == 100


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_file_sizes_changes_nothing(sqlite_place: Place) -> None:
    gallery = sqlite_place.open(dim=4096)
    enrolled(gallery, new(0, embedding=vector(0, 4096)))
    many = [new(seed, embedding=vector(seed, 4096)) for seed in range(1, 40)]
    with (
        file_size_limit(sqlite_place.file("vectors.bin").stat().st_size + 20_000),
        pytest.raises(GalleryError),
    ):
        gallery.add(many)
    assert ids(gallery.list(ANY).entries) == ["e0"]
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    enrolled(gallery, *many)
    sqlite_place.crash()
    assert len(sqlite_place.open(dim=4096)) == 40


def test_a_snapshot_on_a_full_disk_leaves_the_last_one(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    gallery.snapshot()
    kept = sorted(gallery._files.snapshots.directory.iterdir())
    enrolled(gallery, new(1))
    for name in ("pwrite", "fsync"):
        for call in range(2):
            fill_at(monkeypatch, name, call)
            with pytest.raises(StorageFullError):
                gallery.snapshot()
            monkeypatch.undo()
            assert sorted(gallery._files.snapshots.directory.iterdir()) == kept
    assert ids(gallery.search(vector(1), top_k=1)) == ["e1"]


def test_closing_on_a_full_disk_still_lets_go(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    fill_at(monkeypatch, "fsync", 0)
    gallery.close()
    monkeypatch.undo()
    again: Gallery = sqlite_place.open()
    assert ids(again.list(ANY).entries) == ["e0"]


NEEDS_ROOM = {"pwrite", "open", "mkdir", "fsync", "fdatasync", "rename", "replace", "fallocate"}


class FullDisk:
    """Has no room from a step on, after half of a write, until it is `over`."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.over = False

    def __call__(self, step: Step) -> object:
        if self.over or not step.number or step.number < self._number:
            return step.perform()
        if step.call == "pwrite" and step.number == self._number:
            data, offset = step.arguments
            whole = memoryview(data).cast("B")
            return step.perform(whole[: len(whole) // 2], offset)
        if step.call in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if step.call == "sqlite COMMIT":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        if step.call == "redis EVALSHA":
            raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
        return step.perform()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_is_full_from_any_step_on_changes_nothing_or_all(
    place: Place, base: Base, name: str
) -> None:
    held = prepare(place, base)
    script: list[Operation] = [("open",), *OPERATIONS[name]]
    expected = states(script[1:], held)
    refusals = 0
    for number in live(place, script, 1, Unharmed()).telling_steps:
        base.restore()
        note = f"no room from step {number} of {name} on"
        full = FullDisk(number)
        allowed = expected
        with Watch(place.directory, full) as watch:
            watch.counting = False
            gallery = place.open()
            watch.counting = True
            try:
                perform(place, script[1])
            except StorageFullError:
                refusals += 1
                allowed = expected[:1]
            except GalleryError as error:
                refusals += 1
                allowed = expected[-1:] if "deleted, but not yet overwritten" in str(error) else []
            full.over = True
            if name != "closing":
                check_open(place, gallery, Left(allowed, EVERYBODY), note)
                place.crash()
        check(place, Left(allowed, EVERYBODY), note)
    assert refusals or name == "closing"
