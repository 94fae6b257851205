"""Backups by another process, while threads add, change and delete in the one that serves."""

import multiprocessing
import random
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

from gallery_index.backup.backup import back_up
from gallery_index.backup.restore import restore
from gallery_index.gallery import Gallery
from gallery_index.records import EntryChanges, EntryFilter
from gallery_index.stores import record_reader
from tests.gallery_index.places import Place, enrolled, ids, new, vector

ANY = EntryFilter()
ROUNDS = 3
LEAST = 100
FIRST, LAST = "e100000", "e100299"


def back_up_by_small_steps(directory: Path, out: Path, redis_url: str | None) -> None:
    """Back up with little in a page and a part, so that much happens in between."""
    record_reader._PAGE_ROWS = 16
    back_up(directory, out, redis_url=redis_url, entries_a_part=32)


class Work:
    """Threads that write to a gallery, and what they tried and were told."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.tried_to_add: set[str] = set()
        self.added: set[str] = set()
        self.tried_to_delete: set[str] = set()
        self.deleted: set[str] = set()
        self._choosing = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(act, number))
            for number, act in enumerate((self._add, self._delete, self._delete, self._change))
        ]

    def __enter__(self) -> "Work":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: Callable[[int, int, random.Random], None], number: int) -> None:
        chance = random.Random(number)
        for turn in count():
            if self._stop.is_set():
                return
            act(number, turn, chance)

    def _add(self, number: int, turn: int, chance: random.Random) -> None:
        first = 1_000_000 * (number + 1) + 10 * turn
        seeds = range(first, first + chance.randint(1, 3))
        names = {f"e{seed}" for seed in seeds}
        self.tried_to_add |= names
        enrolled(self.gallery, *[new(seed, person_id=f"p{seed}") for seed in seeds])
        self.added |= names

    def _delete(self, number: int, turn: int, chance: random.Random) -> None:
        with self._choosing:
            names = sorted(self.added.copy() - self.tried_to_delete - {FIRST, LAST})
            if len(names) < LEAST:
                return
            name = chance.choice(names)
            self.tried_to_delete.add(name)
        if turn % 2:
            self.gallery.delete(name)
        else:
            self.gallery.erase_person(f"p{name[1:]}")
        self.deleted.add(name)

    def _change(self, number: int, turn: int, chance: random.Random) -> None:
        self.gallery.update(FIRST, EntryChanges(attributes={"turn": turn}))
        self.gallery.update(LAST, EntryChanges(attributes={"turn": turn}))


def names_in(gallery: Gallery) -> set[str]:
    page = gallery.list(ANY, limit=1000)
    found = set(ids(page.entries))
    while page.next_cursor is not None:
        page = gallery.list(ANY, limit=1000, cursor=page.next_cursor)
        found |= set(ids(page.entries))
    return found


def turn_of(gallery: Gallery, entry_id: str) -> int:
    turn = gallery.get(entry_id).attributes["turn"]
    assert isinstance(turn, int)
    return turn


def test_a_backup_holds_what_was_acknowledged_and_nothing_that_was_deleted(
    place: Place, directory: Path
) -> None:
    gallery = place.open()
    work = Work(gallery)
    seeds = range(100_000, 100_300)
    work.tried_to_add |= {f"e{seed}" for seed in seeds}
    enrolled(gallery, *[new(seed, person_id=f"p{seed}") for seed in seeds])
    work.added |= work.tried_to_add
    for name in (FIRST, LAST):
        gallery.update(name, EntryChanges(attributes={"turn": -1}))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.gallery_index.test_backup_while_serving"])
    expected = []
    with work:
        for number in range(ROUNDS):
            added, deleted = work.added.copy(), work.deleted.copy()
            child = context.Process(
                target=back_up_by_small_steps,
                args=(place.directory, directory / f"backup-{number}", place.redis_url),
            )
            child.start()
            child.join()
            assert child.exitcode == 0
            expected.append((added - work.tried_to_delete, deleted, work.tried_to_add.copy()))
    assert (gallery.verify().problems, gallery.verify().unfinished) == ([], [])
    for number, (kept, gone, possible) in enumerate(expected):
        restored = Place(directory / f"restored-{number}")
        restore(directory / f"backup-{number}", restored.directory)
        again = restored.open()
        found = names_in(again)
        assert kept <= found, "an acknowledged entry is not in the backup"
        assert not gone & found, "a deleted entry is in the backup"
        assert found <= possible, "an entry that nobody sent"
        # Two changes in turn, of the first row and of the last: both are of one commit.
        assert turn_of(again, FIRST) - turn_of(again, LAST) in (0, 1)
        for name in random.Random(number).sample(sorted(found), 20):
            assert again.crop(name)[0] == f"crop {name[1:]}".encode()
            assert ids(again.search(vector(int(name[1:])), top_k=1)) == [name]
        assert (again.verify().problems, again.verify().unfinished) == ([], [])
        restored.close()
    assert len(work.deleted) > ROUNDS
