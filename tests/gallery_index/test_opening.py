"""Who may open a directory, with what, and what is found half done."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryLockedError,
    GalleryMismatchError,
    StoreUnavailableError,
)
from gallery_index.files.vector_file import VectorFile
from gallery_index.records import EntryFilter, VerificationReport
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import Transaction
from gallery_index.verification import verify_directory
from tests.gallery_index.places import DIM, MODEL, Place, enrolled, ids, new

ANY = EntryFilter()
_HOLD = """
import sys
from pathlib import Path
from gallery_index.gallery import Gallery
gallery = Gallery.open(Path(sys.argv[1]), model_id=sys.argv[2], embedding_dim=int(sys.argv[3]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_has_the_directory(sqlite_place: Place) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(sqlite_place.directory), MODEL, str(DIM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(GalleryLockedError, match=rf"process {holder.pid} on .* since 20"):
            sqlite_place.open()
        holder.kill()
        holder.wait()
    # What a killed process leaves in the lock file is no obstacle.
    assert str(holder.pid) in sqlite_place.file("lock").read_text()
    assert len(sqlite_place.open()) == 0


def test_one_process_cannot_open_a_directory_twice(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    with pytest.raises(GalleryLockedError, match="process"):
        sqlite_place.open()
    gallery.close()
    sqlite_place.open()


def test_another_model_is_refused_naming_both(place: Place) -> None:
    place.open().close()
    with pytest.raises(GalleryMismatchError, match=r"model model-a.*with model-b"):
        place.open(model_id="model-b")


def test_another_dimension_is_refused_naming_both(place: Place) -> None:
    place.open().close()
    with pytest.raises(GalleryMismatchError, match=rf"dimension {DIM}.*with {DIM + 1}"):
        place.open(dim=DIM + 1)


def test_another_store_is_refused(sqlite_place: Place) -> None:
    sqlite_place.open().close()
    sqlite_place.redis_url = "redis://127.0.0.1:1/0"
    with pytest.raises(GalleryMismatchError, match=r"store sqlite.*with redis"):
        sqlite_place.open()


@pytest.mark.parametrize(
    ("name", "error"),
    [("vectors.bin", GalleryMismatchError), ("metadata.sqlite", GalleryCorruptError)],
)
def test_a_directory_without_one_of_its_files_is_refused_not_begun_anew(
    sqlite_place: Place, name: str, error: type[Exception]
) -> None:
    enrolled(sqlite_place.open(), new(0))
    sqlite_place.close()
    kept = sqlite_place.file(name).read_bytes()
    sqlite_place.file(name).unlink()
    for _ in range(2):
        with pytest.raises(error, match=name):
            sqlite_place.open()
    (sqlite_place.directory / name).write_bytes(kept)
    assert ids(sqlite_place.open().list(ANY).entries) == ["e0"]


def test_the_records_of_another_gallery_are_refused(sqlite_place: Place, directory: Path) -> None:
    other = Place(directory / "other")
    for each in (sqlite_place, other):
        enrolled(each.open(), new(0))
        each.close()
    sqlite_place.file("metadata.sqlite").write_bytes(other.file("metadata.sqlite").read_bytes())
    with pytest.raises(GalleryMismatchError, match="belongs to gallery"):
        sqlite_place.open()


@pytest.mark.parametrize(
    "step", [(VectorFile, "create"), (SQLiteStore, "create"), (Path, "rename")]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_creation_that_was_killed_at_any_step_is_gone_through_again(
    sqlite_place: Place, step: tuple[type, str], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = step
    original = getattr(owner, name)

    def killed(*args: object) -> object:
        if when == "after":
            original(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        sqlite_place.open()
    monkeypatch.undo()
    enrolled(sqlite_place.open(), new(0))
    sqlite_place.crash()
    assert ids(sqlite_place.open().list(ANY).entries) == ["e0"]


def test_rows_and_crops_without_a_record_are_cleared_away(place: Place) -> None:
    gallery = place.open()
    (entry,) = enrolled(gallery, new(0))
    gallery._files.crops.write({1: b"never committed"})
    gallery._files.vectors.append(1, ["e1"], gallery._files.vectors.read(np.array([0])).vectors)
    place.crash()
    report = _verify(place)
    assert report.problems == []
    assert len(report.unfinished) == 2
    gallery = place.open()
    assert gallery.list(ANY).entries == [entry]
    assert gallery._files.vectors.whole_rows() == 1
    assert gallery._files.crops.rows() == {0}
    assert gallery.verify().unfinished == []


@pytest.mark.parametrize(
    "step", ["vectors.erase", "crops.unlink", "snapshots.manifests", "snapshots.read"]
)
def test_an_erasure_that_was_killed_is_finished_at_the_next_opening(
    place: Place, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    entries = enrolled(gallery, new(0), new(1))
    gallery.snapshot()
    code = gallery._memory.index.stage.codes(0, 1)
    part, method = step.split(".")

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(getattr(gallery._files, part)), method, killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.delete("e0")
    monkeypatch.undo()
    place.crash()
    assert _verify(place).problems == []
    gallery = place.open()
    assert ids(gallery.list(ANY).entries) == ["e1"]
    assert gallery._files.vectors.is_erased(entries[0].row)
    assert gallery._files.crops.rows() == {1}
    for path in gallery._files.snapshots.directory.glob("*.data"):
        assert code.tobytes() not in path.read_bytes()
    assert gallery._memory.pending == {}
    assert gallery.verify().problems == []


def test_a_deletion_whose_last_note_fails_is_acknowledged_and_noted_later(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    commit = SQLiteStore.commit
    calls: list[Transaction] = []

    def fails_the_second_time(store: SQLiteStore, transaction: Transaction) -> None:
        calls.append(transaction)
        if len(calls) == 2:
            store._in_doubt = _unheard_of(store._head)
            raise StoreUnavailableError("gone")
        commit(store, transaction)

    monkeypatch.setattr(SQLiteStore, "commit", fails_the_second_time)
    gallery.delete("e0")
    monkeypatch.undo()
    enrolled(gallery, new(2))
    assert gallery._memory.pending == {}
    assert gallery.verify().problems == []


def _unheard_of(head: StoreHead) -> StoreHead:
    return replace(head, token="never committed")


def _verify(place: Place) -> VerificationReport:
    return verify_directory(place.directory, redis_url=place.redis_url)
