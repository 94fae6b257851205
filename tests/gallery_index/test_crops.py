"""Crop files by row: whole calls or nothing, found again without reading every directory."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gallery_index.errors import StorageFullError
from gallery_index.files.crops import CropFiles


@pytest.fixture
def crops(directory: Path) -> Iterator[CropFiles]:
    """Crops on both sides of two borders between directories."""
    crops = CropFiles(directory / "crops")
    crops.write({row: f"crop {row}".encode() for row in (0, 998, 999, 1000, 1001, 3500)})
    yield crops
    crops.close()


def test_crops_come_back_by_row(crops: CropFiles) -> None:
    assert crops.read(999) == b"crop 999"
    assert crops.read(1000) == b"crop 1000"
    assert crops.rows() == {0, 998, 999, 1000, 1001, 3500}
    with pytest.raises(FileNotFoundError):
        crops.read(1)


def test_a_thousand_rows_share_a_directory(crops: CropFiles) -> None:
    found = sorted(str(path.relative_to(crops.directory)) for path in crops.directory.rglob("*/*"))
    assert found == [
        "0000000/0000000000",
        "0000000/0000000998",
        "0000000/0000000999",
        "0000001/0000001000",
        "0000001/0000001001",
        "0000003/0000003500",
    ]
    assert crops.place(3500) == str(crops.directory / "0000003" / "0000003500")


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (0, [0, 998, 999, 1000, 1001, 3500]),
        (999, [999, 1000, 1001, 3500]),
        (1000, [1000, 1001, 3500]),
        (1001, [1001, 3500]),
        (1002, [3500]),
        (3501, []),
        (9000, []),
    ],
)
def test_the_crops_from_a_row_on_are_found(
    crops: CropFiles, first: int, expected: list[int]
) -> None:
    assert crops.beyond(first) == expected


def test_only_directories_of_rows_that_could_be_beyond_are_read(
    crops: CropFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir, read = os.listdir, list[str]()

    def noted(path: Path) -> list[str]:
        read.append(Path(path).name)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", noted)
    crops.beyond(1001)
    assert read == ["crops", "0000001", "0000003"]


def test_unlinking_says_how_many_were_there(crops: CropFiles) -> None:
    assert crops.unlink([999, 1000, 7, 5000]) == 2
    assert crops.unlink([999]) == 0
    assert crops.rows() == {0, 998, 1001, 3500}


def test_a_call_of_which_one_crop_fails_leaves_none(
    crops: CropFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if bytes(data) == b"unlucky":
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageFullError, match="crops"):
        crops.write({4000 + row: b"unlucky" if row == 9 else b"lucky" for row in range(20)})
    assert crops.beyond(4000) == []


def test_a_row_that_a_killed_process_left_is_written_over(crops: CropFiles) -> None:
    crops.write({3500: b"short"})
    assert crops.read(3500) == b"short"


def test_files_of_others_are_no_crops(crops: CropFiles) -> None:
    (crops.directory / "lost+found").mkdir()
    (crops.directory / "0000001" / ".nfs1234").write_bytes(b"")
    assert crops.rows() == {0, 998, 999, 1000, 1001, 3500}
