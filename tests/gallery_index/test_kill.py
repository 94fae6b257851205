"""kill -9 at random moments: what was acknowledged is there, what was deleted is not."""

import multiprocessing
import random
from contextlib import suppress

import pytest

from gallery_index.records import EntryFilter
from gallery_index.verification import verify_directory
from tests.gallery_index.enrolling_child import work
from tests.gallery_index.places import Place, ids, vector

ROUNDS = 6


class Journal:
    """What the killed processes said."""

    def __init__(self) -> None:
        self.added: set[str] = set()
        self.deleted: set[str] = set()
        self.tried_to_add: set[str] = set()
        self.tried_to_delete: set[str] = set()

    def read(self, line: str) -> None:
        """Take in one line of the child."""
        stage, *rest = line.split()
        if stage == "open":
            return
        operation, *names = rest
        target = {
            ("try", "add"): self.tried_to_add,
            ("done", "add"): self.added,
            ("try", "delete"): self.tried_to_delete,
            ("done", "delete"): self.deleted,
        }[stage, operation]
        target.update(names)


def run_and_kill(place: Place, first_seed: int, lines: int, journal: Journal) -> None:
    """Let a child work for some lines, kill it, and take in everything it said."""
    # A fork of a server that has imported everything: most of the time goes to the work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.gallery_index.enrolling_child"])
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(
        target=work, args=(place.directory, place.redis_url, first_seed, theirs)
    )
    child.start()
    theirs.close()
    for _ in range(lines):
        journal.read(ours.recv_bytes().decode())
    child.kill()
    with ours, suppress(EOFError):
        while True:
            journal.read(ours.recv_bytes().decode())
    child.join()


@pytest.mark.parametrize("seed", [1])
def test_everything_acknowledged_survives_and_nothing_else_appears(place: Place, seed: int) -> None:
    chance, journal = random.Random(seed), Journal()
    for number in range(ROUNDS):
        run_and_kill(place, 100_000 * number, chance.randint(2, 60), journal)
        report = verify_directory(place.directory, redis_url=place.redis_url)
        assert report.problems == []
        gallery = place.open()
        found = set(ids(gallery.list(EntryFilter(), limit=1000).entries))
        assert journal.added - journal.tried_to_delete <= found, "an acknowledged entry is gone"
        assert not journal.deleted & found, "a deleted entry is back"
        assert found <= journal.tried_to_add, "an entry that nobody sent"
        for name in found:
            seed_of_it = int(name[1:])
            assert gallery.crop(name)[0] == f"crop {seed_of_it}".encode()
            best = gallery.search(vector(seed_of_it), top_k=1)[0]
            assert best.entry.entry_id == name
            assert best.similarity == pytest.approx(1.0, abs=2e-3)
        report = gallery.verify()
        assert (report.problems, report.unfinished) == ([], [])
        place.crash()
    assert len(journal.added) > ROUNDS
    assert journal.deleted
