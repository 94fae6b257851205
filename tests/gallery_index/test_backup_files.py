"""The files of a backup: readable by ordinary tools, and no damage to them goes unnoticed."""

import hashlib
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from gallery_index.backup.manifest import BackupManifest, Part, read_manifest, write_manifest
from gallery_index.backup.parts import KeptEntry, PartWriter, check_part, read_part
from gallery_index.errors import GalleryCorruptError, GalleryError, GalleryMismatchError
from gallery_index.records import GalleryEntry

DIM = 6
WHEN = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
ROWS = (0, 1, 5, 600)


def kept(row: int, *, model_id: str = "m") -> KeptEntry:
    crop = bytes([row % 251]) * (row + 3)
    record = GalleryEntry(
        entry_id=f"e{row}",
        person_id="Zoë",
        camera_id=None,
        modality="infrared",
        captured_at=None,
        attributes={"n": [1, "ü"]},
        model_id=model_id,
        crop_sha256=hashlib.sha256(crop).hexdigest(),
        media_type="image/png",
        enrolled_at=WHEN,
        row=row,
    )
    return KeptEntry(record, np.arange(row, row + DIM).astype(np.float16), crop)


def written(directory: Path, *entries: KeptEntry) -> BackupManifest:
    """A finished backup of one part."""
    with PartWriter(directory, 0) as writer:
        for entry in entries:
            writer.add(entry)
        part = writer.finish()
    manifest = BackupManifest("2026-01-01", "g", "m", DIM, 700, part.entries, (part,))
    write_manifest(directory, manifest)
    return manifest


def read_back(directory: Path) -> list[KeptEntry]:
    manifest = read_manifest(directory)
    found: list[KeptEntry] = []
    for part in manifest.parts:
        check_part(directory, part)
        found += read_part(directory, manifest, part)
    return found


def test_what_was_written_is_read(directory: Path) -> None:
    entries = [kept(row) for row in ROWS]
    manifest = written(directory, *entries)
    assert read_manifest(directory) == manifest
    found = read_back(directory)
    assert [entry.record for entry in found] == [entry.record for entry in entries]
    assert [entry.crop for entry in found] == [entry.crop for entry in entries]
    for one, other in zip(found, entries, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)


def test_the_files_can_be_read_without_us(directory: Path) -> None:
    written(directory, *[kept(row) for row in ROWS])
    vectors = np.fromfile(directory / "vectors-000000.f16", "<f2").reshape(-1, DIM)
    np.testing.assert_array_equal(vectors[:, 0], ROWS)
    with tarfile.open(directory / "crops-000000.tar") as tar:
        assert tar.getnames() == ["000000000000", "000000000001", "000000000005", "000000000600"]
        member = tar.extractfile("000000000005")
        assert member is not None
        assert member.read() == b"\5" * 8
    lines = (directory / "records-000000.txt").read_text("ascii").splitlines()
    assert [json.loads(line.split(" ")[1][8:])["entry_id"] for line in lines] == [
        "e0",
        "e1",
        "e5",
        "e600",
    ]
    manifest = json.loads((directory / "manifest.json").read_text())
    for kind in ("records", "vectors", "crops"):
        file = manifest["backup"]["parts"][0][kind]
        content = (directory / file["name"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_part_written_again_replaces_the_longer_one_before(directory: Path) -> None:
    written(directory, *[kept(row) for row in ROWS])
    written(directory, kept(1))
    assert [entry.record.entry_id for entry in read_back(directory)] == ["e1"]


def test_an_empty_part_holds_nothing(directory: Path) -> None:
    written(directory)
    assert read_back(directory) == []


@pytest.mark.parametrize(
    "name", ["manifest.json", "records-000000.txt", "vectors-000000.f16", "crops-000000.tar"]
)
def test_every_flipped_bit_is_noticed_or_changes_nothing(directory: Path, name: str) -> None:
    manifest = written(directory, *[kept(row) for row in ROWS])
    path = directory / name
    sound = path.read_bytes()
    refusals = []
    rng = np.random.default_rng(2)
    for offset in rng.integers(0, len(sound), 150):
        flipped = bytearray(sound)
        flipped[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            read_back(directory)
            assert name == "manifest.json"
            assert read_manifest(directory) == manifest  # white space between its fields
        except GalleryError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(str(path) in refusal for refusal in refusals)


@pytest.mark.parametrize(
    "name", ["manifest.json", "records-000000.txt", "vectors-000000.f16", "crops-000000.tar"]
)
def test_every_cut_off_or_missing_file_is_named(directory: Path, name: str) -> None:
    written(directory, *[kept(row) for row in ROWS])
    path = directory / name
    sound = path.read_bytes()
    for size in (0, 1, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:size])
        with pytest.raises(GalleryCorruptError, match=name):
            read_manifest(directory)
    path.write_bytes(sound + b"\0")
    with pytest.raises(GalleryCorruptError, match=name):
        read_manifest(directory)
    path.unlink()
    expected = GalleryMismatchError if name == "manifest.json" else GalleryCorruptError
    with pytest.raises(expected, match=name):
        read_manifest(directory)


def test_a_directory_without_a_manifest_holds_no_finished_backup(directory: Path) -> None:
    with pytest.raises(GalleryMismatchError, match="no finished backup in"):
        read_manifest(directory)


def test_a_manifest_of_another_format_is_refused(directory: Path) -> None:
    written(directory, kept(0))
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(GalleryMismatchError, match="format 2, expected 1"):
        read_manifest(directory)


def test_a_manifest_cannot_name_files_elsewhere(directory: Path) -> None:
    manifest = written(directory, kept(0))
    part = manifest.parts[0]
    elsewhere = type(part.crops)("../crops-000000.tar", part.crops.bytes, part.crops.sha256)
    moved = Part(part.entries, part.records, part.vectors, elsewhere)
    write_manifest(directory, BackupManifest("2026-01-01", "g", "m", DIM, 700, 1, (moved,)))
    with pytest.raises(GalleryCorruptError, match="other files than its own"):
        read_manifest(directory)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [kept(0), kept(1, model_id="other")],
            r"'e1' is of model 'other', the backup of model 'm'",
        ),
        ([kept(5), kept(1)], "row 1 follows row 5"),
        ([kept(700)], "row 700 follows row -1 of 700"),
    ],
)
def test_records_that_do_not_belong_are_refused(
    directory: Path, entries: list[KeptEntry], message: str
) -> None:
    written(directory, *entries)
    with pytest.raises(GalleryCorruptError, match=message):
        read_back(directory)


def test_a_crop_that_is_not_the_records_own_is_refused(directory: Path) -> None:
    first, second = kept(0), kept(1)
    written(directory, first, KeptEntry(second.record, second.vector, b"another"))
    with pytest.raises(GalleryCorruptError, match="crop of entry 'e1' fails its checksum"):
        read_back(directory)
