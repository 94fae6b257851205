"""The order in which a write reaches the disk, as the kernel sees it."""

import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from gallery_index.files.durable_files import punch_hole
from gallery_index.records import EntryFilter
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.table.entry_table import EntryTable
from tests.gallery_index.places import Place, enrolled, new, vector

ANY = EntryFilter()
WHOLE_WRITE = [
    "pwrite crop",
    "fsync crop",
    "fsync shard",
    "pwrite vectors.bin",
    "fdatasync vectors.bin",
    "commit",
    "memory",
]


def watch(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every write, sync, unlink and commit in the gallery's directory, by file."""
    events: list[str] = []
    gallery = place.opened[-1]

    def name(path: Path) -> str:
        found = path.relative_to(place.directory)
        if found.parts[0] != "crops":
            return str(found)
        return {1: "crops", 2: "shard", 3: "crop"}[len(found.parts)]

    def note(function: str) -> None:
        original: Callable[..., object] = getattr(os, function)

        def noted(descriptor: int, *args: object) -> object:
            target = Path(f"/proc/self/fd/{descriptor}").readlink()
            result = original(descriptor, *args)
            events.append(f"{function} {name(target)}")
            return result

        monkeypatch.setattr(os, function, noted)

    for function in ("pwrite", "fsync", "fdatasync"):
        note(function)
    unlink = Path.unlink

    def noted_unlink(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        events.append(f"unlink {name(path)}")

    monkeypatch.setattr(Path, "unlink", noted_unlink)

    def noted_hole(descriptor: int, offset: int, length: int) -> None:
        punch_hole(descriptor, offset, length)
        events.append(f"hole in {name(Path(f'/proc/self/fd/{descriptor}').readlink())}")

    monkeypatch.setattr("gallery_index.files.vector_file.punch_hole", noted_hole)
    for method in ("put", "put_many", "remove"):
        original = getattr(EntryTable, method)

        def noted_method(*args: object, original: Callable[..., object] = original) -> None:
            original(*args)
            events.append("memory")

        monkeypatch.setattr(EntryTable, method, noted_method)
    store = gallery._files.store
    assert isinstance(store, SQLiteStore)
    store._connection.set_trace_callback(
        lambda text: events.append("commit") if text == "COMMIT" else None
    )
    return events


def without_repeats(events: list[str]) -> list[str]:
    """Leave out an event right after its like."""
    return [event for event, _ in groupby(events)]


def test_crop_then_row_then_commit_then_memory(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    events = watch(sqlite_place, monkeypatch)
    enrolled(gallery, new(0))
    assert events == [
        "fsync crops",  # the first crop of a shard has a directory made for it
        *WHOLE_WRITE,
    ]
    del events[:]
    enrolled(gallery, new(1))
    assert events == WHOLE_WRITE


def test_a_batch_syncs_the_vectors_once_and_commits_once(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    events = watch(sqlite_place, monkeypatch)
    enrolled(gallery, *[new(seed) for seed in range(10)])
    assert events.count("fdatasync vectors.bin") == 1
    assert events.count("commit") == 1
    assert events.count("fsync crop") == 10
    assert events.count("fsync shard") == 1
    assert max(i for i, e in enumerate(events) if e == "fsync crop") < events.index("fsync shard")
    assert events.index("fsync shard") < events.index("pwrite vectors.bin")


def test_an_erasure_is_committed_before_the_files_are_touched_and_noted_after(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    for seed in (2, 3):
        enrolled(gallery, new(seed))
        gallery.snapshot()
    newer, older = (manifest.stem for manifest in gallery._files.snapshots.manifests())
    events = watch(sqlite_place, monkeypatch)
    gallery.delete("e0")
    assert without_repeats(events) == [
        "commit",
        "memory",
        "pwrite vectors.bin",
        "fdatasync vectors.bin",
        "hole in vectors.bin",
        "unlink crop",
        "fsync shard",
        f"pwrite snapshots/{newer}.data",
        f"fdatasync snapshots/{newer}.data",
        f"pwrite snapshots/{older}.data",
        f"fdatasync snapshots/{older}.data",
        "commit",
    ]


def test_short_writes_and_reads_are_gone_on_with(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    monkeypatch.setattr(
        os, "preadv", lambda fd, parts, at, flags=0: preadv(fd, [parts[0][:5]], at, flags)
    )
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    assert gallery.verify().problems == []
    sqlite_place.crash()
    gallery = sqlite_place.open()
    assert gallery.search(vector(1), top_k=1)[0].entry.entry_id == "e1"
    assert gallery.stats().damaged_rows == 0
