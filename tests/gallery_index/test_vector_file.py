"""Rows of the vector file: where they lie, what erasing leaves, what damage is noticed."""

import ctypes
import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.files.vector_file import VectorFile
from gallery_index.records import GalleryIdentity
from tests.gallery_index.embeddings import flat

HEADER = 4096
DIM = 14_336
ROW = 4 + 4 + 8 + 128 + 128 + 2 * DIM
IDENTITY = GalleryIdentity("0" * 32, "model-a", DIM, "sqlite")
COUNT = 8
VECTORS = flat(COUNT, DIM)


@pytest.fixture
def file(directory: Path) -> Iterator[VectorFile]:
    """Eight rows of full dimension."""
    file = VectorFile.create(directory / "vectors.bin", IDENTITY)
    file.append(0, [f"e{row}" for row in range(COUNT)], VECTORS)
    yield file
    file.close()


def rows(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(numbers, np.int64)


def flip(file: VectorFile, row: int, offset: int) -> None:
    with file.path.open("r+b") as raw:
        raw.seek(HEADER + row * ROW + offset)
        byte = raw.read(1)[0]
        raw.seek(HEADER + row * ROW + offset)
        raw.write(bytes([byte ^ 1]))


def test_a_row_lies_at_its_number(file: VectorFile) -> None:
    assert file.row_size == ROW == 28_944
    data = file.path.read_bytes()
    assert len(data) == HEADER + COUNT * ROW
    for row in range(COUNT):
        assert data[HEADER + (row + 1) * ROW - 2 * DIM :].startswith(VECTORS[row].tobytes())


def test_rows_come_in_the_order_asked_for_with_their_ids(file: VectorFile) -> None:
    numbers = [5, 0, 7, 0, *range(COUNT), *range(COUNT), *range(COUNT)]  # several readers
    block = file.read(rows(*numbers))
    assert np.array_equal(block.vectors, VECTORS[numbers])
    assert block.entry_ids() == [f"e{row}" for row in numbers]
    assert block.damage == {}


def test_a_scan_is_every_row_once(file: VectorFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery_index.files.vector_file._SCAN_BYTES", 3 * ROW)
    blocks = [block.rows.tolist() for block in file.scan(1, COUNT)]
    assert blocks == [[1, 2, 3], [4, 5, 6], [7]]


def test_erasing_gives_the_blocks_back_and_leaves_the_neighbours(file: VectorFile) -> None:
    before = file.path.stat()
    file.erase([4, 1, 2, 3, 6])
    after = file.path.stat()
    assert after.st_size == before.st_size
    # Four rows in one hole lose at most a block at each end, a lone row likewise.
    freed = (before.st_blocks - after.st_blocks) * 512
    assert freed >= 5 * ROW - 4 * 4096
    assert [file.is_erased(row) for row in range(COUNT)] == [
        False, True, True, True, True, False, True, False,
    ]  # fmt: skip
    block = file.read(rows(0, 5, 7))
    assert block.damage == {}
    assert np.array_equal(block.vectors, VECTORS[[0, 5, 7]])
    data = file.path.read_bytes()
    for row in (1, 2, 3, 4, 6):
        assert data[HEADER + row * ROW :][:ROW] == bytes(ROW)
    assert sorted(file.read(rows(*range(COUNT))).damage) == [1, 2, 3, 4, 6]


class NoHoles:
    """A C library whose file system has no holes, or fails."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fallocate(self, *_: object) -> int:
        ctypes.set_errno(self._number)
        return -1


def test_where_there_are_no_holes_zeros_are_left(
    file: VectorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery_index.files.durable_files._LIBC", NoHoles(errno.EOPNOTSUPP))
    file.erase([1, 2])
    assert file.path.read_bytes()[HEADER + ROW :][: 2 * ROW] == bytes(2 * ROW)
    assert file.is_erased(1)
    monkeypatch.setattr("gallery_index.files.durable_files._LIBC", NoHoles(errno.EIO))
    with pytest.raises(GalleryError, match=r"vectors\.bin"):
        file.erase([3])


@pytest.mark.parametrize("offset", [0, 3, 4, 8, 16, 16 + 128, 16 + 256, ROW - 1])
def test_a_flipped_bit_anywhere_in_a_row_is_noticed_and_no_other_row(
    file: VectorFile, offset: int
) -> None:
    flip(file, 2, offset)
    assert file.read(rows(1, 2, 3)).damage == {1: "fails its checksum"}


def test_a_bit_that_is_left_of_an_erased_row_is_noticed(file: VectorFile) -> None:
    file.erase([2])
    flip(file, 2, ROW - 1)
    assert not file.is_erased(2)


def test_a_row_in_the_place_of_another_or_of_another_model_is_noticed(
    file: VectorFile, directory: Path
) -> None:
    other = VectorFile.create(
        directory / "other.bin", GalleryIdentity("1" * 32, "model-b", DIM, "sqlite")
    )
    other.append(0, ["f0"], VECTORS[:1])
    with file.path.open("r+b") as raw:
        raw.seek(HEADER + 3 * ROW)
        moved = raw.read(ROW)
        raw.seek(HEADER + 1 * ROW)
        raw.write(moved)
        raw.seek(HEADER)
        raw.write(other.path.read_bytes()[HEADER:])
    other.close()
    damage = file.read(rows(0, 1)).damage
    assert damage == {0: "is of model 'model-b'", 1: "holds row 3"}


def test_what_follows_the_last_row_is_cut_off(file: VectorFile) -> None:
    with file.path.open("ab") as raw:
        raw.write(b"half a row")
    assert file.whole_rows() == COUNT
    assert file.truncate(COUNT) == 10
    assert file.truncate(6) == 2 * ROW
    assert file.truncate(7) == 0
    assert file.whole_rows() == 6
    assert file.read(rows(5, 6)).damage == {1: "fails its checksum"}


def test_a_row_appended_after_a_gap_leaves_the_rows_between_erased(file: VectorFile) -> None:
    file.append(COUNT + 2, ["e10"], VECTORS[:1])
    assert file.is_erased(COUNT)
    assert file.is_erased(COUNT + 1)
    assert file.read(rows(COUNT + 2)).entry_ids() == ["e10"]


@pytest.mark.parametrize("size", [0, 7, 100, HEADER - 1])
def test_a_cut_off_header_is_refused_naming_the_file(file: VectorFile, size: int) -> None:
    copy = file.path.with_name("copy.bin")
    copy.write_bytes(file.path.read_bytes()[:size])
    with pytest.raises(GalleryCorruptError, match=r"copy\.bin"):
        VectorFile(copy)


def test_a_flipped_bit_in_the_header_is_refused(file: VectorFile) -> None:
    data = bytearray(file.path.read_bytes()[:HEADER])
    copy = file.path.with_name("copy.bin")
    for offset in range(len(data.rstrip(b"\0"))):
        data[offset] ^= 4
        copy.write_bytes(data)
        with pytest.raises(GalleryCorruptError, match=r"copy\.bin"):
            VectorFile(copy)
        data[offset] ^= 4
