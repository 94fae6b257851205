"""Writes of several threads go together: each gets its own results, or the error of all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Semaphore, Thread
from typing import Any

import pytest

from gallery_index.errors import StorageFullError
from gallery_index.gallery import Gallery
from gallery_index.group_commit import MOST_TOGETHER, GroupCommit
from gallery_index.records import Added
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import Transaction
from tests.gallery_index.places import Place, ids, new, vector


class Written:
    """Remembers what was written together; an item is answered by its tenfold."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.together: list[list[int]] = []
        self.error: Exception | None = None
        self.waiting = Semaphore(0)

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.waiting.release()
        with self.lock:
            yield

    def write(self, items: Sequence[int]) -> list[int]:
        self.together.append(list(items))
        if self.error is not None:
            raise self.error
        return [10 * item for item in items]


class Submitted(Thread):
    """A thread that submits and keeps what came of it."""

    def __init__(self, submit: Callable[[], list[Any]]) -> None:
        super().__init__(daemon=True)
        self.outcome: list[Any] | Exception | None = None
        self._submit = submit
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._submit()
        except Exception as error:
            self.outcome = error


def submitted_meanwhile(written: Written, parts: list[list[int]]) -> list[Submitted]:
    """Submit parts, in this order, while another holds the lock; return once all are through."""
    group = GroupCommit(written.writing, written.write)
    with written.lock:
        threads = []
        for items in parts:
            threads.append(Submitted(lambda items=items: group.submit(items)))  # type: ignore[misc]
            assert written.waiting.acquire(timeout=10)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return threads


def test_one_alone_is_written_at_once() -> None:
    written = Written()
    group = GroupCommit(written.writing, written.write)
    assert group.submit([3, 1]) == [30, 10]
    assert group.submit([]) == []
    assert written.together == [[3, 1], []]


def test_all_who_wait_are_written_in_one_go_and_each_gets_its_own_results() -> None:
    written = Written()
    threads = submitted_meanwhile(written, [[1], [2, 3], [], [4], [5]])
    assert [thread.outcome for thread in threads] == [[10], [20, 30], [], [40], [50]]
    (together,) = written.together
    assert sorted(together) == [1, 2, 3, 4, 5]


def test_the_error_of_a_write_is_everybodys_whose_items_it_had_and_nobody_elses() -> None:
    written = Written()
    written.error = StorageFullError("no room")
    threads = submitted_meanwhile(written, [[1], [2], [3]])
    assert [thread.outcome for thread in threads] == [written.error] * 3
    assert len(written.together) == 1
    written.error = None
    assert [thread.outcome for thread in submitted_meanwhile(written, [[4], [5]])] == [[40], [50]]


def test_no_more_go_together_than_the_bound() -> None:
    written = Written()
    parts = [[number] * (MOST_TOGETHER // 2 - 1) for number in range(5)]
    threads = submitted_meanwhile(written, parts)
    for number, thread in enumerate(threads):
        assert thread.outcome == [10 * number] * len(parts[number])
    assert [len(items) for items in written.together] == [MOST_TOGETHER - 2] * 2 + [len(parts[0])]


def test_a_part_larger_than_the_bound_is_written_alone() -> None:
    written = Written()
    threads = submitted_meanwhile(written, [[1] * (MOST_TOGETHER + 1), [2]])
    assert [thread.outcome for thread in threads] == [[10] * (MOST_TOGETHER + 1), [20]]
    assert sorted(len(items) for items in written.together) == [1, MOST_TOGETHER + 1]


def test_one_that_is_refused_the_lock_is_forgotten_and_written_by_nobody() -> None:
    written = Written()
    refused = [True]

    @contextmanager
    def lock() -> Iterator[None]:
        if refused.pop():
            raise StorageFullError("closed")
        with written.writing():
            yield

    group = GroupCommit(lock, written.write)
    with pytest.raises(StorageFullError, match="closed"):
        group.submit([1])
    refused.append(False)
    assert group.submit([2]) == [20]
    assert written.together == [[2]]


def added_together(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, count: int
) -> list[Submitted]:
    """Add entries from as many threads while a write is under way, return once all are through."""
    submit, waiting = gallery._adds.submit, Semaphore(0)

    def noted(items):  # type: ignore[no-untyped-def]
        waiting.release()
        return submit(items)

    monkeypatch.setattr(gallery._adds, "submit", noted)
    with gallery._write_lock:
        threads = [
            Submitted(lambda seed=seed: gallery.add([new(seed)]))  # type: ignore[misc]
            for seed in range(count)
        ]
        for _ in threads:
            assert waiting.acquire(timeout=10)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return threads


def commits(monkeypatch: pytest.MonkeyPatch) -> list[Transaction]:
    commit, seen = SQLiteStore.commit, list[Transaction]()

    def noted(store: SQLiteStore, transaction: Transaction) -> None:
        seen.append(transaction)
        commit(store, transaction)

    monkeypatch.setattr(SQLiteStore, "commit", noted)
    return seen


def test_single_adds_of_many_threads_share_few_commits_and_all_are_durable(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    seen = commits(monkeypatch)
    threads = added_together(gallery, monkeypatch, 24)
    for seed, thread in enumerate(threads):
        assert isinstance(thread.outcome, list)
        (added,) = thread.outcome
        assert isinstance(added, Added)
        assert (added.entry.entry_id, added.replayed) == (f"e{seed}", False)
    assert sum(len(transaction.put) for transaction in seen) == 24
    assert len(seen) < 24
    sqlite_place.crash()
    gallery = sqlite_place.open()
    assert len(gallery) == 24
    for seed in range(24):
        assert ids(gallery.search(vector(seed), top_k=1)) == [f"e{seed}"]


def test_a_full_disk_is_told_to_every_thread_and_enrols_nobody(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    with monkeypatch.context() as patched:
        full = StorageFullError("no room")

        def no_room(*args: object) -> None:
            raise full

        patched.setattr("gallery_index.files.vector_file.VectorFile.append", no_room)
        threads = added_together(gallery, patched, 8)
    assert [thread.outcome for thread in threads] == [full] * 8
    assert len(gallery) == 0
    assert isinstance(gallery.add([new(1)])[0], Added)
    assert gallery._files.crops.rows() == {0}
