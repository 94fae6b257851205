"""Where a rendered data set's files lie: the folders and index files of SYSU-MM01 and RegDB.

Owns names and splits; rendering and writing are elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from training.synthetic.cameras import SYSU_CAMERAS

LAYOUTS: tuple[str, ...] = ("sysu-mm01", "regdb")
MAX_PERSONS = 9999
"""Identity folders have four digits."""

SYSU_VAL_SHARE = 99 / 491
SYSU_TEST_SHARE = 96 / 491
REGDB_SPLITS = 10
REGDB_CAMERAS: dict[str, int] = {"Visible": 2, "Thermal": 3}
SPLIT_STREAM = 0x5350_4C54


@dataclass(frozen=True)
class CropFile:
    """One file to render: its path below the root, camera and running number."""

    path: str
    camera_number: int
    image_number: int


class Layout(Protocol):
    """How a data set is laid out on disk. Persons are counted from 0, folders from 1."""

    default_images: int

    def crops(self, person: int, images: int) -> list[CropFile]:
        """Every file of one person."""
        ...

    def index_files(
        self, persons: int, images: int, test_persons: int | None, seed: int
    ) -> dict[str, str]:
        """The text files that name the splits: path below the root -> content."""
        ...


class SysuLayout:
    """`cam{1..6}/{id:04d}/{n:04d}.jpg` and `exp/{train,val,test}_id.txt`."""

    default_images = 4

    def crops(self, person: int, images: int) -> list[CropFile]:
        """Every file of one person: `images` for each of six cameras."""
        return [
            CropFile(f"cam{c.number}/{person + 1:04d}/{n + 1:04d}.jpg", c.number, n)
            for c in SYSU_CAMERAS
            for n in range(images)
        ]

    def index_files(
        self, persons: int, images: int, test_persons: int | None, seed: int
    ) -> dict[str, str]:
        """Split the ids at random, in SYSU-MM01's proportions unless `test_persons` is given."""
        ids = _shuffled_ids(persons, seed, 0)
        test = max(1, round(persons * SYSU_TEST_SHARE)) if test_persons is None else test_persons
        val = min(round(persons * SYSU_VAL_SHARE), persons - test)
        parts = {"test": ids[:test], "val": ids[test : test + val], "train": ids[test + val :]}
        return {
            f"exp/{name}_id.txt": ",".join(str(n) for n in sorted(part)) + "\n"
            for name, part in parts.items()
        }


class RegdbLayout:
    """`{Visible,Thermal}/{id}/{n}.jpg` and `idx/{train,test}_{visible,thermal}_{1..10}.txt`.

    The thermal camera is the renderer's infrared camera 3; camera 2 stands at the same place.
    """

    default_images = 10

    def crops(self, person: int, images: int) -> list[CropFile]:
        """Every file of one person: `images` in each modality."""
        return [
            CropFile(_regdb_path(folder, person, n), camera, n)
            for folder, camera in REGDB_CAMERAS.items()
            for n in range(images)
        ]

    def index_files(
        self, persons: int, images: int, test_persons: int | None, seed: int
    ) -> dict[str, str]:
        """Ten random halves; labels count from 0 within each file."""
        test = max(1, persons // 2) if test_persons is None else test_persons
        files = {}
        for split in range(1, REGDB_SPLITS + 1):
            ids = _shuffled_ids(persons, seed, split)
            for part, chosen in (("test", ids[:test]), ("train", ids[test:])):
                for folder in REGDB_CAMERAS:
                    files[f"idx/{part}_{folder.lower()}_{split}.txt"] = "".join(
                        f"{_regdb_path(folder, number - 1, n)} {label}\n"
                        for label, number in enumerate(sorted(chosen))
                        for n in range(images)
                    )
        return files


def _regdb_path(folder: str, person: int, image: int) -> str:
    letter = folder[0].lower()
    return f"{folder}/{person + 1}/{letter}_{image + 1:05d}.jpg"


def layout_of(name: str) -> Layout:
    """Find a layout by its name. Raises KeyError for another name."""
    layouts: dict[str, Layout] = {"sysu-mm01": SysuLayout(), "regdb": RegdbLayout()}
    return layouts[name]


def _shuffled_ids(persons: int, seed: int, split: int) -> list[int]:
    rng = np.random.default_rng([SPLIT_STREAM, seed, split])
    return [int(n) + 1 for n in rng.permutation(persons)]


def write_index_files(root: Path, files: dict[str, str]) -> None:
    """Write index files below a root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
