"""Index files that cannot be used are one DatasetError that names them."""

from pathlib import Path

import pytest

from training.datasets.index_files import read_index
from training.errors import DatasetError


def test_missing_index_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"test_id\.txt: missing index file"):
        read_index(tmp_path / "test_id.txt")


def test_index_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_id.txt").write_bytes(b"1,2,\xff")
    with pytest.raises(DatasetError, match=r"test_id\.txt: cannot be read"):
        read_index(tmp_path / "test_id.txt")


def test_folder_in_the_place_of_an_index_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_id.txt").mkdir()
    with pytest.raises(DatasetError, match=r"test_id\.txt: cannot be read"):
        read_index(tmp_path / "test_id.txt")
