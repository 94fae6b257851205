"""Snapshots spare the next opening the rows they cover, are erased in place, and never needed."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.durable_files import write_at
from gallery_index.files.vector_file import RowBlock, VectorFile
from gallery_index.gallery import Gallery
from gallery_index.index.first_stage import FirstStage
from gallery_index.records import EntryChanges, EntryFilter
from gallery_index.snapshots.data import SnapshotData
from gallery_index.snapshots.manifest import CODES, Snapshot
from gallery_index.snapshots.writer import SnapshotWriter
from gallery_index.verification import verify_directory
from tests.gallery_index.places import Place, enrolled, ids, new, vector

ANY = EntryFilter()
WIDE = 1024  # 2 KiB a code: 32 codes a block


def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note which rows an opening reads."""
    read = VectorFile.read
    seen: list[int] = []

    def noted(file: VectorFile, rows: NDArray[np.int64]) -> RowBlock:
        seen.extend(rows.tolist())
        return read(file, rows)

    monkeypatch.setattr(VectorFile, "read", noted)
    return seen


def snapshots_of(gallery: Gallery) -> list[Snapshot]:
    """Return the snapshots, newest first."""
    snapshots = gallery._files.snapshots
    return [snapshots.read(manifest) for manifest in snapshots.manifests()]


def is_sound(snapshot: Snapshot) -> bool:
    with closing(SnapshotData(snapshot)) as data:
        return data.damaged_blocks() == 0


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def bytes_below(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def beside(call: Callable[[], Any]) -> Thread:
    """Start a call in a thread of its own."""
    thread = Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_an_opening_reads_only_the_rows_after_the_snapshot(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(5)])
    gallery.snapshot()
    enrolled(gallery, new(5), new(6))
    place.crash()
    seen = rows_read(monkeypatch)
    gallery = place.open()
    assert seen == [5, 6]
    for seed in range(7):
        assert ids(gallery.search(vector(seed), top_k=1)) == [f"e{seed}"]
    assert gallery.verify().problems == []


def test_what_was_changed_and_deleted_after_the_snapshot_is_replayed(place: Place) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed, person_id=f"p{seed}") for seed in range(5)])
    gallery.snapshot()
    gallery.update("e1", EntryChanges(person_id="later"))
    gallery.delete("e2")
    enrolled(gallery, new(2, person_id="again"))
    gallery.update("e2", EntryChanges(camera_id="cam"))
    expected = gallery.list(ANY).entries
    place.crash()
    gallery = place.open()
    assert gallery.list(ANY).entries == expected
    assert [(entry.entry_id, entry.person_id) for entry in expected] == [
        ("e0", "p0"), ("e1", "later"), ("e3", "p3"), ("e4", "p4"), ("e2", "again"),
    ]  # fmt: skip
    assert gallery.stats().persons == 5
    assert ids(gallery.search(vector(2), top_k=9))[0] == "e2"
    assert len(gallery.search(vector(2), top_k=9)) == 5


def test_closing_writes_a_snapshot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    enrolled(place.open(), *[new(seed) for seed in range(5)])
    place.close()
    seen = rows_read(monkeypatch)
    gallery = place.open()
    assert seen == []
    assert ids(gallery.search(vector(4), top_k=1)) == ["e4"]


def test_two_snapshots_are_kept_and_the_older_serves_if_the_newer_is_damaged(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    for seed in range(4):
        enrolled(gallery, new(seed))
        gallery.snapshot()
    assert len(list(gallery._files.snapshots.directory.iterdir())) == 4
    newest = snapshots_of(gallery)[0]
    flip(newest.data_path, newest.section("row").offset)
    sqlite_place.crash()
    seen = rows_read(monkeypatch)
    gallery = sqlite_place.open()
    assert seen == [3]
    assert ids(gallery.search(vector(3), top_k=1)) == ["e3"]


def test_any_damage_to_the_only_snapshot_is_named_and_costs_only_time(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed, person_id="p", camera_id="c") for seed in range(5)])
    gallery.snapshot()
    expected = gallery.list(ANY).entries
    (snapshot,) = snapshots_of(gallery)
    sections = [section for section in snapshot.sections if section.bytes]
    spots = [(snapshot.data_path, section.offset + section.bytes - 1) for section in sections]
    spots += [(snapshot.data_path, snapshot.data_path.stat().st_size - 1), (snapshot.path, 40)]
    kept = {path: path.read_bytes() for path in (snapshot.path, snapshot.data_path)}
    sqlite_place.crash()
    for path, offset in spots:
        flip(path, offset)
        (problem,) = verify_directory(sqlite_place.directory).problems
        assert path.stem in problem
        gallery = sqlite_place.open()
        assert gallery.list(ANY).entries == expected
        for seed in range(5):
            assert ids(gallery.search(vector(seed), top_k=5))[0] == f"e{seed}"
        sqlite_place.crash()
        for sound, data in kept.items():
            sound.write_bytes(data)


def filled_wide(place: Place) -> tuple[Gallery, Snapshot]:
    gallery = place.open(dim=WIDE)
    enrolled(gallery, *[new(seed, embedding=vector(seed, WIDE)) for seed in range(100)])
    gallery.snapshot()
    (snapshot,) = snapshots_of(gallery)
    return gallery, snapshot


def test_a_damaged_block_of_codes_costs_the_rows_of_that_block(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, snapshot = filled_wide(sqlite_place)
    codes = gallery._memory.index.stage.codes(0, 100)
    start, block = snapshot.section(CODES).offset, 1 << 16
    spot = start + 50 * 2 * WIDE
    first, end = spot // block * block, (spot // block + 1) * block
    touched = [row for row in range(100) if start + row * 2048 < end]
    touched = [row for row in touched if start + (row + 1) * 2048 > first]
    flip(snapshot.data_path, spot)
    sqlite_place.crash()
    seen = rows_read(monkeypatch)
    gallery = sqlite_place.open(dim=WIDE)
    assert seen == touched
    assert 32 <= len(touched) <= 33
    assert np.array_equal(gallery._memory.index.stage.codes(0, 100), codes)


def test_a_row_whose_vector_and_code_are_both_damaged_is_named(sqlite_place: Place) -> None:
    gallery, snapshot = filled_wide(sqlite_place)
    flip(snapshot.data_path, snapshot.section(CODES).offset + 50 * 2 * WIDE)
    row_size = gallery._files.vectors.row_size
    flip(sqlite_place.file("vectors.bin"), 4096 + 51 * row_size - 1)
    sqlite_place.crash()
    with pytest.raises(GalleryCorruptError, match=r"row 50 \(entry 'e50'\)"):
        sqlite_place.open(dim=WIDE)


def test_erased_entries_are_in_no_byte_of_any_snapshot_and_its_checksums_hold(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(
        gallery,
        *[new(n, entry_id=f"entry-{n}", person_id=f"person-{n}", camera_id="c") for n in range(4)],
        replace(new(9, entry_id="rare-id"), person_id="rare-person", camera_id="rare-camera",
                attributes={"rare-key": "rare-value"}),
        new(8, entry_id="rare-other", person_id="rare-person"),
    )  # fmt: skip
    gallery.snapshot()
    enrolled(gallery, new(30))
    gallery.snapshot()
    gone = [gallery.get("rare-id"), gallery.get("rare-other"), gallery.get("entry-2")]
    codes = gallery._memory.index.stage.codes_at(np.array([entry.row for entry in gone]))
    traces = [b"rare", b"person-2", b"entry-2", *[code.tobytes() for code in codes]]
    traces += [bytes.fromhex(entry.crop_sha256) for entry in gone]
    directory = place.directory / "snapshots"
    assert all(trace in bytes_below(directory) for trace in traces)
    gallery.erase_person("rare-person")
    gallery.delete("entry-2")
    assert [trace for trace in traces if trace in bytes_below(directory)] == []
    assert [is_sound(snapshot) for snapshot in snapshots_of(gallery)] == [True, True]
    place.crash()
    seen = rows_read(monkeypatch)
    gallery = place.open()
    assert seen == []
    assert ids(gallery.list(ANY).entries) == ["entry-0", "entry-1", "entry-3", "e30"]
    assert gallery.stats().persons == 3
    assert gallery.verify().problems == []


def test_an_erasure_leaves_the_name_of_a_person_who_has_another_entry(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0, person_id="ann"), new(1, person_id="ann"))
    gallery.snapshot()
    gallery.delete("e0")
    sqlite_place.crash()
    seen = rows_read(monkeypatch)
    gallery = sqlite_place.open()
    assert seen == []
    assert gallery.get("e1").person_id == "ann"
    gallery.delete("e1")
    assert b"ann" not in bytes_below(sqlite_place.directory / "snapshots")


@pytest.mark.parametrize("lost", range(16))
def test_an_erasure_cut_short_in_a_snapshot_is_finished_whatever_reached_the_disk(
    sqlite_place: Place, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("writer", "data"):  # what is lost is a block's alone
        monkeypatch.setattr(f"gallery_index.snapshots.{name}.BLOCK", 64)
    gallery = sqlite_place.open()
    rare = replace(new(9, entry_id="rare-id"), person_id="rare-person", camera_id="rare-camera",
                   attributes={"rare-key": "rare-value"})  # fmt: skip
    enrolled(gallery, new(0), rare, new(1))
    gallery.snapshot()
    code = gallery._memory.index.stage.codes(1, 2).tobytes()
    writes: list[int] = []

    def power_fails(descriptor: int, data: bytes, offset: int) -> None:
        """One write never reaches the disk; nor does any after the last but the checksums'."""
        if len(writes) != lost:
            write_at(descriptor, data, offset)
        writes.append(offset)

    def dies(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gallery_index.snapshots.data.write_at", power_fails)
        patched.setattr("gallery_index.snapshots.data.sync_data", dies)
        with pytest.raises(KeyboardInterrupt):
            gallery.delete("rare-id")
    sqlite_place.crash()
    gallery = sqlite_place.open()
    left = bytes_below(sqlite_place.directory / "snapshots")
    assert b"rare" not in left
    assert code not in left
    assert ids(gallery.list(ANY).entries) == ["e0", "e1"]
    assert gallery.verify().problems == []


def test_a_snapshot_without_a_manifest_was_never_finished(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    gallery.snapshot()
    names = ["000000000009-000001.data", "000000000009-000002.tmp", "000000000009-000003.json.tmp"]
    for name in names:
        (sqlite_place.directory / "snapshots" / name).write_bytes(b"half")
    sqlite_place.crash()
    gallery = sqlite_place.open()
    left = sorted(path.name for path in gallery._files.snapshots.directory.iterdir())
    assert left == ["000000000001-000001.data", "000000000001-000001.json"]


def test_nothing_new_is_nothing_to_write(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    gallery.snapshot()
    gallery.snapshot()
    assert len(gallery._files.snapshots.manifests()) == 1


def test_of_several_snapshots_of_one_commit_the_last_counts(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    for number in range(1, 13):
        gallery._memory.reshaped = True
        gallery.snapshot()
        names = [path.stem for path in gallery._files.snapshots.manifests()]
        assert names[0] == f"000000000001-{number:06d}"
    assert len(names) == 2


def test_a_snapshot_of_another_history_of_the_store_is_refused(
    sqlite_place: Place, directory: Path
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    sqlite_place.close()
    shutil.rmtree(sqlite_place.directory / "snapshots")
    path = sqlite_place.file("metadata.sqlite")
    kept = path.read_bytes()
    enrolled(sqlite_place.open(), new(2), new(3))
    sqlite_place.close()  # a snapshot of four entries
    path.write_bytes(kept)
    assert ids(sqlite_place.open().list(ANY).entries) == ["e0", "e1"]
    # The same number of commits and rows as the snapshot, but others.
    enrolled(sqlite_place.opened[-1], new(12), new(13))
    sqlite_place.crash()
    gallery = sqlite_place.open()
    assert ids(gallery.list(ANY).entries) == ["e0", "e1", "e12", "e13"]
    assert ids(gallery.search(vector(12), top_k=1)) == ["e12"]
    assert gallery.search(vector(2), top_k=1)[0].similarity < 0.95
    assert gallery.verify().problems == []


def test_the_snapshot_of_another_gallery_is_refused(sqlite_place: Place, directory: Path) -> None:
    other = Place(directory / "other")
    for each, seed in ((sqlite_place, 0), (other, 7)):
        enrolled(each.open(), new(seed))
        each.close()
    shutil.rmtree(sqlite_place.directory / "snapshots")
    shutil.copytree(other.directory / "snapshots", sqlite_place.directory / "snapshots")
    assert any("is of" in text for text in verify_directory(sqlite_place.directory).problems)
    assert ids(sqlite_place.open().search(vector(7), top_k=5)) == ["e0"]


def test_searches_and_additions_go_on_beside_a_snapshot_and_an_erasure_waits_for_it(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed) for seed in range(5)])
    code = gallery._memory.index.stage.codes(2, 3).tobytes()
    finish = SnapshotWriter.finish
    erasing: list[Thread] = []

    def meanwhile(writer: SnapshotWriter) -> Path:
        adding = beside(lambda: enrolled(gallery, new(10)))
        adding.join(10)
        assert ids(gallery.search(vector(10), top_k=1)) == ["e10"]
        erasing.append(beside(lambda: gallery.delete("e2")))
        erasing[0].join(0.1)
        assert erasing[0].is_alive()
        assert gallery.get("e2").row == 2
        return finish(writer)

    monkeypatch.setattr(SnapshotWriter, "finish", meanwhile)
    gallery.snapshot()
    erasing[0].join(10)
    assert code not in bytes_below(sqlite_place.directory / "snapshots")
    assert [is_sound(snapshot) for snapshot in snapshots_of(gallery)] == [True]
    sqlite_place.crash()
    gallery = sqlite_place.open()
    assert ids(gallery.list(ANY).entries) == ["e0", "e1", "e3", "e4", "e10"]
    assert gallery.verify().problems == []


def test_codes_do_not_move_while_a_snapshot_copies_them(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    codes = FirstStage.codes
    adding: list[Thread] = []

    def meanwhile(stage: FirstStage, start: int, stop: int) -> NDArray[np.uint8]:
        adding.append(beside(lambda: enrolled(gallery, new(2))))
        adding[0].join(0.1)
        assert len(stage) == 2
        return codes(stage, start, stop)

    monkeypatch.setattr(FirstStage, "codes", meanwhile)
    gallery.snapshot()
    adding[0].join(10)
    assert len(gallery) == 3
