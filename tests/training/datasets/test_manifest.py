"""Own cameras by manifest."""

from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_crop
from training.datasets.manifest import read_manifest
from training.errors import DatasetError

HEADER = "path,person_id,camera_id,modality,split\n"


def _write(root: Path, rows: list[str], header: str = HEADER) -> Path:
    for row in rows:
        write_crop(root / row.split(",")[0])
    (root / "manifest.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return root


def test_rows_become_samples_with_numbered_persons_and_cameras(tmp_path: Path) -> None:
    rows = [
        "b.png,anna,gate,visible,train",
        "a.png,anna,yard,infrared,train",
        "c.png,bob,gate,visible,val",
        "d.png,carl,yard,infrared,test",
    ]
    dataset = read_manifest(_write(tmp_path, rows))
    first, second = dataset.train
    assert (first.path.name, first.person_id, first.camera_id) == ("a.png", 1, 2)
    assert (second.path.name, second.modality) == ("b.png", Modality.VISIBLE)
    assert [sample.person_id for sample in dataset.validation] == [2]
    assert [sample.person_id for sample in dataset.test] == [3]


def test_without_val_rows_every_tenth_person_is_held_out(tmp_path: Path) -> None:
    rows = [f"{number:02d}.png,p{number:02d},gate,visible,train" for number in range(1, 21)]
    dataset = read_manifest(_write(tmp_path, rows))
    assert [sample.person_id for sample in dataset.validation] == [10, 20]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,anna,gate,thermal,train", "a.png: modality is visible or infrared, not 'thermal'"),
        ("a.png,anna,gate,visible,dev", "a.png: split is train, val or test, not 'dev'"),
        ("a.png,,gate,visible,train", "the row of 'a.png' has an empty field"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_manifest(_write(tmp_path, [row]))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the columns camera_id, split are missing"):
        read_manifest(_write(tmp_path, [], header="path,person_id,modality\n"))


def test_missing_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    root = _write(tmp_path, ["a.png,anna,gate,visible,train", "b.png,anna,gate,infrared,train"])
    (root / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 images are missing, the first is .*b\.png"):
        read_manifest(root)


def test_a_person_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = ["a.png,anna,gate,visible,train", "b.png,anna,gate,infrared,test"]
    with pytest.raises(DatasetError, match="its person is in both train and test"):
        read_manifest(_write(tmp_path, rows))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.csv: no such manifest"):
        read_manifest(tmp_path)
