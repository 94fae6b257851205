"""Snapshots spare the next opening the rows they cover, and are never needed."""

import pytest

from gallery_index.records import EntryFilter
from gallery_index.vector_file import VectorFile
from tests.gallery_index.places import Place, enrolled, ids, new, vector

ANY = EntryFilter()


def rows_scanned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Note which rows an opening reads."""
    scan = VectorFile.scan
    seen: list[tuple[int, int]] = []

    def noted(file: VectorFile, start: int, stop: int):  # type: ignore[no-untyped-def]
        seen.append((start, stop))
        return scan(file, start, stop)

    monkeypatch.setattr(VectorFile, "scan", noted)
    return seen


def test_an_opening_reads_only_the_rows_after_the_snapshot(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(5)])
    gallery.snapshot()
    enrolled(gallery, new(5), new(6))
    place.crash()
    seen = rows_scanned(monkeypatch)
    gallery = place.open()
    assert seen == [(5, 7)]
    for seed in range(7):
        assert ids(gallery.search(vector(seed), top_k=1)) == [f"e{seed}"]
    assert gallery.verify().problems == []


def test_closing_writes_a_snapshot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    enrolled(place.open(), *[new(seed) for seed in range(5)])
    place.close()
    seen = rows_scanned(monkeypatch)
    assert ids(place.open().search(vector(4), top_k=1)) == ["e4"]
    assert seen == [(5, 5)]


def test_two_snapshots_are_kept_and_the_older_serves_if_the_newer_is_damaged(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    for seed in range(4):
        enrolled(gallery, new(seed))
        gallery.snapshot()
    snapshots = gallery._files.snapshots
    assert len(list(snapshots.directory.iterdir())) == 4
    newest = snapshots.manifests()[0].with_suffix(".index")
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    sqlite_place.crash()
    seen = rows_scanned(monkeypatch)
    assert ids(sqlite_place.open().search(vector(3), top_k=1)) == ["e3"]
    assert seen == [(3, 4)]


def test_a_snapshot_without_a_manifest_was_never_finished(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    gallery.snapshot()
    (sqlite_place.directory / "snapshots" / "000000000009-beef.index").write_bytes(b"half")
    (sqlite_place.directory / "snapshots" / "000000000009-feed.tmp").write_bytes(b"half")
    sqlite_place.crash()
    gallery = sqlite_place.open()
    left = [path.name for path in gallery._files.snapshots.directory.iterdir()]
    assert len(left) == 2
    assert not any("beef" in name or "feed" in name for name in left)


def test_nothing_new_is_nothing_to_write(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, new(0))
    gallery.snapshot()
    gallery.snapshot()
    assert len(gallery._files.snapshots.manifests()) == 1
