"""The SYSU-MM01 reader: what it finds, and what it says about files that are not as they should."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_crop, write_sysu
from training.datasets.pixels import unreadable_images
from training.datasets.sysu_mm01 import read_sysu_mm01, survey_sysu_mm01
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
    with pytest.raises(DatasetError, match=r"1 id in both train and test: 3$"):
        read_sysu_mm01(root)


def test_ids_without_any_image_are_refused(root: Path) -> None:
    (root / "exp" / "val_id.txt").write_text("77,78\n")
    with pytest.raises(DatasetError, match=r"2 val ids without any image: 77, 78$"):
        read_sysu_mm01(root)


def test_an_id_longer_than_any_number_is_refused(root: Path) -> None:
    (root / "exp" / "val_id.txt").write_text("4," + "9" * 5000)
    with pytest.raises(DatasetError, match=r"val_id\.txt: expected comma-separated ids") as caught:
        read_sysu_mm01(root)
    assert len(str(caught.value)) < 400


def test_byte_order_mark_and_several_lines_of_ids_are_read(root: Path) -> None:
    (root / "exp" / "train_id.txt").write_bytes(b"\xef\xbb\xbf1,\r\n3\r\n")
    assert {sample.person_id for sample in read_sysu_mm01(root).train} == {1, 3}


def test_everything_wrong_is_said_at_once(root: Path) -> None:
    shutil.rmtree(root / "cam2")
    (root / "exp" / "train_id.txt").write_text("1,3,8,9")
    (root / "exp" / "val_id.txt").write_bytes(b"\xff")
    (root / "cam5" / "0001").rename(root / "cam5" / "moved")
    (root / "cam5" / "0001").symlink_to("0001")  # a loop: cannot be listed, and is no folder
    dataset = survey_sysu_mm01(root)
    errors = [str(problem) for problem in dataset.errors]
    assert dataset.remarks == ()  # while a list cannot be read, nobody's folder is a stranger's
    assert errors[0] == "1 of 6 camera folders are missing: cam2"
    assert errors[1].startswith(f"1 unusable index file: {root}/exp/val_id.txt: cannot be read")
    assert errors[2:] == ["1 id in both train and test: 9", "1 train id without any image: 8"]


def test_folders_of_ids_in_no_split_are_remarked(root: Path) -> None:
    write_crop(root / "cam1" / "0007" / "0001.jpg")
    write_crop(root / "cam3" / "0007" / "0001.jpg")
    write_crop(root / "cam3" / "notes" / "0001.jpg")
    (root / "cam1" / "0008").mkdir()
    dataset = read_sysu_mm01(root)
    assert [str(problem) for problem in dataset.remarks] == [
        "2 folders of ids in no split: cam1/0007, cam3/0007"
    ]
    assert len(dataset.train) == 2 * 6 * 2


@pytest.mark.parametrize(
    ("folder", "mode", "message"),
    [
        (
            "cam1/0001",
            0o000,
            "1 folder that cannot be listed: {root}/cam1/0001 (Permission denied)",
        ),
        ("cam1", 0o000, "1 folder that cannot be listed: {root}/cam1 (Permission denied)"),
        (".", 0o444, "6 of 6 camera folders are missing: cam1, cam2, cam3 and 3 more"),
        (
            "exp",
            0o444,
            "3 unusable index files: {root}/exp/train_id.txt: cannot be read: [Errno 13]",
        ),
    ],
)
def test_a_folder_without_permission_is_named(folder: str, mode: int, message: str) -> None:
    with readable_by_all() as root:
        (root / folder).chmod(mode)
        try:
            with as_nobody():
                errors = [str(problem) for problem in survey_sysu_mm01(root).errors]
        finally:
            (root / folder).chmod(0o755)
    assert errors[0].startswith(message.format(root=root))


def test_an_image_without_permission_is_named() -> None:
    with readable_by_all() as root:
        locked = root / "cam1" / "0001" / "0001.jpg"
        locked.chmod(0)
        with as_nobody():
            [problem] = unreadable_images(survey_sysu_mm01(root).train)
    assert str(problem) == f"1 unreadable image: {locked} (Permission denied)"


@contextmanager
def readable_by_all() -> Iterator[Path]:
    """A dataset in a folder that everybody may enter (pytest's own is root's alone)."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        yield write_sysu(Path(parent) / "sysu", train=[1], test=[2], images=1)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
