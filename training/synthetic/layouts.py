"""Where a rendered data set's files lie: the folders and index files of each data set we read.

Owns names and splits; rendering and writing are elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from training.synthetic.cameras import SYSU_CAMERAS

LAYOUTS: tuple[str, ...] = ("sysu-mm01", "regdb", "llcm", "manifest")
MAX_PERSONS = 9999
"""Identity folders have four digits."""

SYSU_VAL_SHARE = 99 / 491
SYSU_TEST_SHARE = 96 / 491
REGDB_SPLITS = 10
REGDB_CAMERAS: dict[str, int] = {"Visible": 2, "Thermal": 3}
LLCM_TEST_SHARE = 351 / 1064
LLCM_CAMERAS: dict[str, dict[int, int]] = {
    "vis": {1: 1, 2: 2, 3: 5, 4: 4, 5: 1, 6: 2, 7: 5, 8: 4, 9: 1},
    "nir": {1: 6, 2: 3, 4: 6, 5: 3, 6: 3, 7: 6, 8: 6, 9: 3},
}
"""LLCM's camera -> the rendered camera that stands for it; it has no infrared camera 3."""
OWN_CAMERAS: dict[int, str] = {
    1: "hall",
    2: "gate",
    3: "gate-night",
    4: "yard",
    5: "shop",
    6: "yard-night",
}
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

    def apart(self, persons: int, test_persons: int | None, seed: int) -> frozenset[int]:
        """The persons whose files lie elsewhere because they are in the test split."""
        ...

    def crops(self, person: int, images: int, *, apart: bool = False) -> list[CropFile]:
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

    def apart(self, persons: int, test_persons: int | None, seed: int) -> frozenset[int]:
        """Nobody: index files alone tell the splits."""
        return frozenset()

    def crops(self, person: int, images: int, *, apart: bool = False) -> list[CropFile]:
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
        parts = _sysu_parts(persons, test_persons, seed)
        return {
            f"exp/{name}_id.txt": ",".join(str(n) for n in sorted(part)) + "\n"
            for name, part in parts.items()
        }


class RegdbLayout:
    """`{Visible,Thermal}/{id}/{n}.jpg` and `idx/{train,test}_{visible,thermal}_{1..10}.txt`.

    The thermal camera is the renderer's infrared camera 3; camera 2 stands at the same place.
    """

    default_images = 10

    def apart(self, persons: int, test_persons: int | None, seed: int) -> frozenset[int]:
        """Nobody: index files alone tell the splits."""
        return frozenset()

    def crops(self, person: int, images: int, *, apart: bool = False) -> list[CropFile]:
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


class LlcmLayout:
    """`{vis,nir}/{id:04d}/` to train on, `test_{vis,nir}/cam{n}/{id:04d}/` to test on, and `idx/`.

    Every person is seen by nine visible and eight infrared cameras; six are rendered, so several
    stand at one place.
    """

    default_images = 1

    def apart(self, persons: int, test_persons: int | None, seed: int) -> frozenset[int]:
        """The persons of the test split."""
        return frozenset(number - 1 for number in _llcm_test_ids(persons, test_persons, seed))

    def crops(self, person: int, images: int, *, apart: bool = False) -> list[CropFile]:
        """Every file of one person: `images` for each of seventeen cameras."""
        return [
            CropFile(_llcm_path(word, person, camera, n, apart), rendered_by, camera * images + n)
            for word, cameras in LLCM_CAMERAS.items()
            for camera, rendered_by in cameras.items()
            for n in range(images)
        ]

    def index_files(
        self, persons: int, images: int, test_persons: int | None, seed: int
    ) -> dict[str, str]:
        """The test ids on one line; for training the paths with labels counted from 0."""
        test = _llcm_test_ids(persons, test_persons, seed)
        train = sorted(set(range(1, persons + 1)) - set(test))
        files = {"idx/test_id.txt": ",".join(str(number) for number in test) + "\n"}
        for word, cameras in LLCM_CAMERAS.items():
            files[f"idx/train_{word}.txt"] = "".join(
                f"{_llcm_path(word, number - 1, camera, n, False)} {label}\n"
                for label, number in enumerate(train)
                for camera in cameras
                for n in range(images)
            )
        return files


class ManifestLayout:
    """Own cameras: `{camera}/{id:04d}_{n:02d}.jpg` and a `manifest.csv` that says the rest."""

    default_images = 4

    def apart(self, persons: int, test_persons: int | None, seed: int) -> frozenset[int]:
        """Nobody: the manifest alone tells the splits."""
        return frozenset()

    def crops(self, person: int, images: int, *, apart: bool = False) -> list[CropFile]:
        """Every file of one person: `images` for each of six cameras."""
        return [
            CropFile(f"{OWN_CAMERAS[c.number]}/{person + 1:04d}_{n + 1:02d}.jpg", c.number, n)
            for c in SYSU_CAMERAS
            for n in range(images)
        ]

    def index_files(
        self, persons: int, images: int, test_persons: int | None, seed: int
    ) -> dict[str, str]:
        """A row for each file; splits at random, in SYSU-MM01's proportions."""
        modality = {c.number: c.modality for c in SYSU_CAMERAS}
        parts = _sysu_parts(persons, test_persons, seed)
        split = {number: name for name, part in parts.items() for number in part}
        rows = [
            f"{file.path},p{person + 1:04d},{OWN_CAMERAS[file.camera_number]},"
            f"{modality[file.camera_number]},{split[person + 1]}\n"
            for person in range(persons)
            for file in self.crops(person, images)
        ]
        return {"manifest.csv": "path,person_id,camera_id,modality,split\n" + "".join(rows)}


def _sysu_parts(persons: int, test_persons: int | None, seed: int) -> dict[str, list[int]]:
    """Ids at random, in SYSU-MM01's proportions unless `test_persons` is given."""
    ids = _shuffled_ids(persons, seed, 0)
    test = max(1, round(persons * SYSU_TEST_SHARE)) if test_persons is None else test_persons
    val = min(round(persons * SYSU_VAL_SHARE), persons - test)
    return {"test": ids[:test], "val": ids[test : test + val], "train": ids[test + val :]}


def _llcm_test_ids(persons: int, test_persons: int | None, seed: int) -> list[int]:
    test = max(1, round(persons * LLCM_TEST_SHARE)) if test_persons is None else test_persons
    return sorted(_shuffled_ids(persons, seed, 0)[:test])


def _llcm_path(word: str, person: int, camera: int, image: int, apart: bool) -> str:
    folder = f"{person + 1:04d}"
    name = f"{folder}_c{camera:02d}_s{person + 1:06d}_f{image + 1:04d}_{word}.jpg"
    return f"test_{word}/cam{camera}/{folder}/{name}" if apart else f"{word}/{folder}/{name}"


def _regdb_path(folder: str, person: int, image: int) -> str:
    letter = folder[0].lower()
    return f"{folder}/{person + 1}/{letter}_{image + 1:05d}.jpg"


def layout_of(name: str) -> Layout:
    """Find a layout by its name. Raises KeyError for another name."""
    layouts: dict[str, Layout] = {
        "sysu-mm01": SysuLayout(),
        "regdb": RegdbLayout(),
        "llcm": LlcmLayout(),
        "manifest": ManifestLayout(),
    }
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
