"""The SYSU-MM01 reader: what it finds, and what it says about files that are not as they should."""

import shutil
from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_sysu
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sysu(tmp_path / "sysu", train=[1, 3], val=[4], test=[2, 9])


def test_every_image_lands_in_the_split_of_its_person(root: Path) -> None:
    dataset = read_sysu_mm01(root)
    assert {sample.person_id for sample in dataset.train} == {1, 3}
    assert {sample.person_id for sample in dataset.validation} == {4}
    assert {sample.person_id for sample in dataset.test} == {2, 9}
    assert len(dataset.train) == 2 * 6 * 2


def test_cameras_3_and_6_are_infrared(root: Path) -> None:
    infrared = {
        sample.camera_id
        for sample in read_sysu_mm01(root).train
        if sample.modality is Modality.INFRARED
    }
    assert infrared == {3, 6}


def test_a_person_may_be_absent_from_a_camera(root: Path) -> None:
    shutil.rmtree(root / "cam4" / "0001")
    assert len(read_sysu_mm01(root).train) == 2 * 6 * 2 - 2


def test_a_dataset_only_for_testing_reads(tmp_path: Path) -> None:
    dataset = read_sysu_mm01(write_sysu(tmp_path, train=[], test=[1, 2]))
    assert (len(dataset.train), len(dataset.test)) == (0, 24)


@pytest.mark.parametrize("missing", ["cam2", "cam6"])
def test_a_missing_camera_folder_is_named(root: Path, missing: str) -> None:
    shutil.rmtree(root / missing)
    with pytest.raises(DatasetError, match=f"1 of 6 camera folders are missing: {missing}"):
        read_sysu_mm01(root)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such dataset folder"):
        read_sysu_mm01(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["train_id.txt", "val_id.txt", "test_id.txt"])
def test_a_missing_index_file_is_named(root: Path, name: str) -> None:
    (root / "exp" / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: missing index file"):
        read_sysu_mm01(root)


def test_an_index_file_of_other_text_is_refused(root: Path) -> None:
    (root / "exp" / "val_id.txt").write_text("4,five\n")
    with pytest.raises(DatasetError, match=r"val_id\.txt: expected comma-separated ids.*'five'"):
        read_sysu_mm01(root)


def test_a_person_in_two_splits_is_refused(root: Path) -> None:
    (root / "exp" / "test_id.txt").write_text("2,3\n")
    with pytest.raises(DatasetError, match="1 ids are in both train and test, the first is 3"):
        read_sysu_mm01(root)


def test_ids_without_any_image_are_refused(root: Path) -> None:
    (root / "exp" / "val_id.txt").write_text("77,78\n")
    with pytest.raises(DatasetError, match="none of the 2 val ids has an image"):
        read_sysu_mm01(root)
