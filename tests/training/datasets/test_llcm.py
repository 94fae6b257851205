"""The LLCM reader."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_crop, write_llcm
from training.datasets.llcm import read_llcm, survey_llcm
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_llcm(tmp_path / "llcm", train=range(1, 21), test=[21, 25])


def test_training_images_have_the_label_of_the_list_and_the_camera_of_their_name(
    root: Path,
) -> None:
    line = "vis/0007/0007_c09_s185535_f7010_vis.jpg"
    write_crop(root / line)
    with (root / "idx" / "train_vis.txt").open("a") as index:
        index.write(f"{line} 6\n")
    dataset = read_llcm(root)
    [added] = [sample for sample in dataset.train if sample.path == root / line]
    assert (added.person_id, added.camera_id, added.modality) == (6, 9, Modality.VISIBLE)
    assert Counter((sample.camera_id, sample.modality) for sample in dataset.train) == {
        (1, Modality.VISIBLE): 36,
        (2, Modality.VISIBLE): 36,
        (9, Modality.VISIBLE): 1,
        (1, Modality.INFRARED): 36,
        (2, Modality.INFRARED): 36,
    }


def test_every_tenth_training_person_is_held_out(root: Path) -> None:
    dataset = read_llcm(root)
    assert {sample.person_id for sample in dataset.validation} == {9, 19}
    assert len({sample.person_id for sample in dataset.train}) == 18


def test_test_images_have_the_person_and_camera_of_their_folders(root: Path) -> None:
    test = read_llcm(root).test
    assert {sample.person_id for sample in test} == {21, 25}
    cameras = {
        modality: {sample.camera_id for sample in test if sample.modality is modality}
        for modality in Modality
    }
    assert cameras[Modality.VISIBLE] == {1, 2, 3, 4, 5, 6, 7, 8, 9}
    assert cameras[Modality.INFRARED] == {1, 2, 4, 5, 6, 7, 8, 9}
    for sample in test:
        assert sample.path.parent.name == f"{sample.person_id:04d}"
        assert sample.path.parent.parent.name == f"cam{sample.camera_id}"


def test_images_of_a_person_and_camera_are_in_the_order_of_their_names(root: Path) -> None:
    for name in ("0021_c01_s1_f10_vis.jpg", "0021_c01_s1_f9_vis.jpg"):
        write_crop(root / "test_vis" / "cam1" / "0021" / name)
    names = [
        sample.path.name
        for sample in read_llcm(root).test
        if (sample.person_id, sample.camera_id, sample.modality) == (21, 1, Modality.VISIBLE)
    ]
    assert names == [f"0021_c01_s1_f{number}_vis.jpg" for number in (10, 1, 2, 9)]


def test_everything_wrong_is_said_at_once(root: Path) -> None:
    (root / "vis" / "0002" / "0002_c01_s1_f1_vis.jpg").unlink()
    lines = (root / "idx" / "train_nir.txt").read_text().splitlines(keepends=True)
    extra = [lines[3], "../out_c01_.jpg 0\n", "no-label\n"]
    (root / "idx" / "train_nir.txt").write_text("".join([*lines, *extra]))
    (root / "idx" / "test_id.txt").write_text("21,25,400")
    errors = [str(problem) for problem in survey_llcm(root).errors]
    listed = root / "idx" / "train_nir.txt"
    assert errors == [
        f"1 malformed line: {listed}:83: expected 'path label', found 'no-label'",
        f"1 image outside the folder: {listed}:82: '../out_c01_.jpg'",
        f"1 image listed twice: {root}/{lines[3].split()[0]} (train_nir.txt)",
        f"1 of 161 images that the training lists name is missing: {root}"
        "/vis/0002/0002_c01_s1_f1_vis.jpg",
        "1 test id without any image: 400",
    ]


def test_absent_camera_folders_and_strangers_are_remarked(root: Path) -> None:
    shutil.rmtree(root / "test_nir" / "cam8")
    write_crop(root / "test_vis" / "cam1" / "0300" / "a.jpg")
    write_crop(root / "vis" / "0021" / "0021_c01_s1_f1_vis.jpg")
    with (root / "idx" / "train_vis.txt").open("a") as index:
        index.write("vis/0021/0021_c01_s1_f1_vis.jpg 3\n")
    write_crop(root / "nir" / "0001" / "x.jpg")
    with (root / "idx" / "train_nir.txt").open("a") as index:
        index.write("nir/0001/x.jpg 0\n")
    dataset = read_llcm(root)
    assert [sample.camera_id for sample in dataset.train if sample.path.stem == "x"] == [0]
    assert [str(problem) for problem in dataset.remarks] == [
        "1 training image without its camera in its name (as in ..._c01_...):"
        f" {root}/nir/0001/x.jpg",
        "1 of 8 camera folders of test_nir is missing: cam8",
        "1 test folder of another id: test_vis/cam1/0300",
        f"1 training folder of a test id: {root}/vis/0021",
    ]


def test_a_missing_test_folder_is_an_error(root: Path) -> None:
    shutil.rmtree(root / "test_nir")
    with pytest.raises(DatasetError, match=r"1 missing test folder: .*/test_nir$"):
        read_llcm(root)


@pytest.mark.parametrize("name", ["train_vis.txt", "train_nir.txt", "test_id.txt"])
def test_a_missing_index_file_is_named(root: Path, name: str) -> None:
    (root / "idx" / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: missing index file"):
        read_llcm(root)
