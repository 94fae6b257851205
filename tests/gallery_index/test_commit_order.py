"""The order in which a write reaches the disk, as the kernel sees it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gallery_index.entry_table import EntryTable
from gallery_index.records import EntryFilter
from gallery_index.sqlite_store import SQLiteStore
from tests.gallery_index.places import Place, enrolled, new, vector

ANY = EntryFilter()


def watch(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every write, sync, unlink and commit in the gallery's directory, by file."""
    events: list[str] = []
    gallery = place.opened[-1]

    def name(path: Path) -> str:
        found = path.relative_to(place.directory)
        if found.parts[0] != "crops":
            return str(found)
        return "crop" if len(found.parts) == 3 else "crop's directory"

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
    for method in ("put", "remove"):
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


def test_crop_then_row_then_commit_then_memory(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    events = watch(sqlite_place, monkeypatch)
    enrolled(gallery, new(0))
    assert events == [
        "pwrite crop",
        "fsync crop",
        "fsync crop's directory",
        "pwrite vectors.bin",
        "fdatasync vectors.bin",
        "commit",
        "memory",
    ]


def test_a_batch_syncs_the_vectors_once_and_commits_once(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    events = watch(sqlite_place, monkeypatch)
    enrolled(gallery, *[new(seed) for seed in range(10)])
    assert events.count("fdatasync vectors.bin") == 1
    assert events.count("commit") == 1
    assert events.count("fsync crop") == 10
    assert max(i for i, e in enumerate(events) if "crop" in e) < events.index("pwrite vectors.bin")


def test_an_erasure_is_committed_before_the_files_are_touched_and_noted_after(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    gallery.snapshot()
    (index,) = (path.name for path in gallery._files.snapshots.directory.glob("*.index"))
    events = watch(sqlite_place, monkeypatch)
    gallery.delete("e0")
    assert events == [
        "commit",
        "memory",
        "pwrite vectors.bin",
        "fdatasync vectors.bin",
        "unlink crop",
        "fsync crop's directory",
        f"unlink snapshots/{index.replace('.index', '.json')}",
        f"unlink snapshots/{index}",
        "fsync snapshots",
        "fsync snapshots",
        "commit",
    ]


def test_short_writes_and_reads_are_gone_on_with(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: preadv(fd, [parts[0][:5]], at))
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    assert gallery.verify().problems == []
    sqlite_place.crash()
    gallery = sqlite_place.open()
    assert gallery.search(vector(1), top_k=1)[0].entry.entry_id == "e1"
    assert gallery.stats().damaged_rows == 0
