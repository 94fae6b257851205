"""Processes on one shared gallery, killed at any moment: what was acknowledged holds."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gallery_index.records import EntryFilter
from gallery_index.shared.gallery import SharedGallery
from tests.gallery_index.places import DIM, MODEL, ids
from tests.gallery_index.qdrant_over_grpc import QdrantOverGrpc
from tests.redis_server import RedisServer

ROUNDS, CHILDREN = 3, 2


@contextmanager
def child(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start one process, and end it with SIGKILL."""
    command = [sys.executable, "-m", "tests.gallery_index.sharing_child", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until_killed(places: list[str], number: int, draw: random.Random) -> list[str]:
    """Run children side by side, kill them after some lines; returns whole lines of all."""
    said = []
    with child(*places, str(number)) as one, child(*places, str(number + 1)) as other:
        for process in (one, other):
            assert process.stdout is not None
            said += [process.stdout.readline() for _ in range(draw.randrange(5, 40))]
        for process in (one, other):
            process.kill()
            assert process.stdout is not None
            said += process.stdout.readlines()
    assert all(said)
    return [line.strip() for line in said if line.endswith("\n")]


def test_what_killed_processes_acknowledged_is_there_and_nothing_else(
    empty_redis: RedisServer, directory: Path
) -> None:
    draw = random.Random(3)
    said: list[str] = []
    with QdrantOverGrpc() as qdrant:
        places = [empty_redis.url, qdrant.url, f"file://{directory}"]
        for number in range(0, ROUNDS * CHILDREN, CHILDREN):
            said += lines_until_killed(places, number + 1, draw)
        redis_url, qdrant_url, crop_store = places
        gallery = SharedGallery.open(
            redis_url=redis_url,
            qdrant_url=qdrant_url,
            crop_store=crop_store,
            model_id=MODEL,
            embedding_dim=DIM,
        )
        there = set(ids(gallery.list(limit=1000).entries))
        bobs = set(ids(gallery.list(EntryFilter(person_id="bob"), limit=1000).entries))
        gallery._records.take_back(age_s=0)
        for mark in gallery._records.overdue_marks(age_s=0):
            gallery._upkeep.renew(mark)
        report = gallery.verify()
        crops = gallery._crops.rows()
        gallery.close()
    acknowledged = {line[1:] for line in said if line[0] == "+"}
    begun = {line[1:] for line in said if line[0] == "?"}
    deleted = {line[1:] for line in said if line[0] == "-"}
    changed = {line[1:] for line in said if line[0] == "="}
    assert len(acknowledged) > 10
    assert acknowledged - begun <= there  # every acknowledged entry is there
    assert not deleted & there  # every deleted one is gone
    # A child does one thing at a time: beyond its last word there is at most one entry.
    assert len(there - acknowledged) <= ROUNDS * CHILDREN
    assert changed - begun <= bobs
    assert (report.problems, report.unfinished) == ([], [])
    assert report.entries == report.crops == report.index_positions == len(crops) == len(there)
