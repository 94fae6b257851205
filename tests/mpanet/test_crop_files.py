"""Files in requests of bounded weight, and files that are not what they were."""

import os
from pathlib import Path

import pytest

from mpanet import crop_files
from mpanet.crop_files import MAX_REQUEST_BYTES, Refused, batches, read_files
from mpanet.crop_list import CropSource


def sources(folder: Path, *contents: bytes) -> list[CropSource]:
    found = []
    for index, content in enumerate(contents):
        path = folder / f"{index}.jpg"
        path.write_bytes(content)
        found.append(CropSource(path, path.name, {"modality": "visible"}))
    return found


def test_a_request_holds_so_many_crops(tmp_path: Path) -> None:
    names = [
        [file.source.name for file in batch]
        for batch in batches(sources(tmp_path, b"0", b"1", b"2", b"3", b"4"), 2)
    ]
    assert names == [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"], ["4.jpg"]]


def test_a_request_holds_so_many_bytes_and_a_heavy_file_goes_alone(tmp_path: Path) -> None:
    most = MAX_REQUEST_BYTES
    found = sources(tmp_path, b"0", bytes(most - 1), b"2", bytes(most + 1), b"4")
    sizes = [[file.size for file in batch] for batch in batches(found, 16)]
    assert sizes == [[1, most - 1], [1], [most + 1], [1]]


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    [batch] = batches(sources(tmp_path, b"zero", b"one"), 16)
    assert [crop.content for crop in read_files(batch)] == [b"zero", b"one"]


def test_a_file_that_vanished_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    [batch] = batches(sources(tmp_path, b"zero", b"one"), 16)
    (tmp_path / "0.jpg").unlink()
    gone, there = read_files(batch)
    assert gone.content == Refused("unreadable_file", "No such file or directory")
    assert there.content == b"one"


def test_a_file_that_was_never_there_is_refused(tmp_path: Path) -> None:
    source = CropSource(tmp_path / "no.jpg", "no.jpg", {"modality": "visible"})
    [[file]] = batches([source], 16)
    [crop] = read_files([file])
    assert isinstance(crop.content, Refused)
    assert crop.content.code == "unreadable_file"


@pytest.mark.parametrize("content", [b"longer than before", b"ZERO"])
def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path, content: bytes) -> None:
    [[file]] = batches(sources(tmp_path, b"zero"), 16)
    (tmp_path / "0.jpg").write_bytes(content)
    os.utime(tmp_path / "0.jpg", (1, 1))
    [crop] = read_files([file])
    assert isinstance(crop.content, Refused)
    assert crop.content.code == "changed_file"


def test_a_file_that_no_service_takes_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop_files, "MAX_FILE_BYTES", 4)
    [batch] = batches(sources(tmp_path, b"four", b"five!"), 16)
    small, heavy = read_files(batch)
    assert small.content == b"four"
    assert heavy.content == Refused("too_many_bytes", "the file has 5 bytes; at most 4 fit")
