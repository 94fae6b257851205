"""The RegDB reader."""

from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_crop, write_regdb
from training.datasets.regdb import available_splits, read_regdb, survey_regdb
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_regdb(tmp_path / "regdb", train=range(1, 21), test=range(21, 31))


def test_labels_and_modalities_come_from_the_index_files(root: Path) -> None:
    dataset = read_regdb(root)
    assert {sample.person_id for sample in dataset.test} == set(range(10))
    thermal = [sample for sample in dataset.test if sample.modality is Modality.INFRARED]
    assert len(thermal) == 20
    assert all(sample.path.parent.parent.name == "Thermal" for sample in thermal)


def test_every_tenth_training_person_is_held_out(root: Path) -> None:
    dataset = read_regdb(root)
    assert {sample.person_id for sample in dataset.validation} == {9, 19}
    assert len({sample.person_id for sample in dataset.train}) == 18


def test_available_splits_are_those_with_both_test_lists(root: Path) -> None:
    (root / "idx" / "test_visible_2.txt").write_text("")
    assert available_splits(root) == [1]


def test_a_missing_index_file_is_named(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"train_visible_4\.txt: missing index file"):
        read_regdb(root, split=4)


def test_missing_images_are_counted_and_the_first_named(root: Path) -> None:
    for number in (1, 2):
        (root / "Thermal" / "25" / f"{number}.bmp").unlink()
    with pytest.raises(DatasetError, match=r"2 of 40 images .* missing.*Thermal/25/1.bmp"):
        read_regdb(root)


def test_a_malformed_line_is_named_by_number(root: Path) -> None:
    index = root / "idx" / "test_thermal_1.txt"
    index.write_text("Thermal/21/1.bmp 0\nThermal/21/2.bmp zero\n")
    with pytest.raises(DatasetError, match=r"test_thermal_1\.txt:2: expected 'path label'"):
        read_regdb(root)


def test_an_image_in_both_parts_is_refused(root: Path) -> None:
    lines = (root / "idx" / "train_visible_1.txt").read_text().splitlines(keepends=True)
    with (root / "idx" / "test_visible_1.txt").open("a") as index:
        index.write(lines[0])
    with pytest.raises(DatasetError, match=r"1 image in both train and test: .*/Visible/1/1.bmp$"):
        read_regdb(root)


def test_there_is_no_split_11(root: Path) -> None:
    with pytest.raises(DatasetError, match="splits are 1 to 10, not 11"):
        read_regdb(root, split=11)


def test_a_person_in_both_parts_is_refused_although_no_image_is(root: Path) -> None:
    write_crop(root / "Visible" / "3" / "other.bmp")
    with (root / "idx" / "test_visible_1.txt").open("a") as index:
        index.write("Visible/3/other.bmp 0\n")
    with pytest.raises(DatasetError, match=r"1 person in both train and test: .*/Visible/3$"):
        read_regdb(root)


def test_everything_wrong_is_said_at_once(root: Path) -> None:
    (root / "idx" / "test_thermal_1.txt").unlink()
    (root / "Visible" / "2" / "1.bmp").unlink()
    with (root / "idx" / "train_visible_1.txt").open("a") as index:
        index.write("Visible/5/1.bmp 4\n/etc/hostname 4\nVisible/5/1.bmp ٣\n\n")
    listed = root / "idx" / "train_visible_1.txt"
    assert [str(problem) for problem in survey_regdb(root).errors] == [
        f"1 malformed line: {listed}:43: expected 'path label', found 'Visible/5/1.bmp ٣'",
        f"1 image outside the folder: {listed}:42: '/etc/hostname'",
        f"1 image listed twice: {root}/Visible/5/1.bmp (train_visible_1.txt)",
        f"1 of 81 images that the train lists of split 1 name is missing: {root}/Visible/2/1.bmp",
        f"1 unusable index file: {root}/idx/test_thermal_1.txt: missing index file",
    ]


def test_folders_in_no_list_and_labels_over_two_persons_are_remarked(root: Path) -> None:
    write_crop(root / "Thermal" / "99" / "1.bmp")
    index = root / "idx" / "train_thermal_1.txt"
    index.write_text(index.read_text().replace("Thermal/4/1.bmp 3", "Thermal/4/1.bmp 7"))
    assert [str(problem) for problem in read_regdb(root).remarks] == [
        "1 train label over several persons: label 7 (folders 4, 8)",
        f"1 folder that no list names: {root}/Thermal/99",
    ]
