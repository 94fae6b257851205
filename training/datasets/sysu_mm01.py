"""The SYSU-MM01 layout: `cam{1..6}/{id:04d}/{n:04d}.jpg` and `exp/{train,val,test}_id.txt`.

Owns the layout only; the evaluation protocol is `training.protocols.sysu_mm01`.
"""

from collections import defaultdict
from pathlib import Path

from model.config import Modality
from training.datasets.index_files import read_index
from training.datasets.sample import Dataset, Sample
from training.errors import DatasetError

CAMERAS = range(1, 7)
INFRARED_CAMERAS = (3, 6)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def read_sysu_mm01(root: Path) -> Dataset:
    """Read a dataset in the SYSU-MM01 layout.

    Raises:
        DatasetError: a camera folder or an index file is missing or unreadable, an identity is in
            two splits, or a split names identities and none of them has an image.
    """
    _check_folders(root)
    ids = {split: _read_ids(root / "exp" / f"{split}_id.txt") for split in ("train", "val", "test")}
    _check_disjoint(ids, root)
    by_person = _samples_by_person(root)
    splits = {
        split: tuple(sample for person_id in ids[split] for sample in by_person.get(person_id, ()))
        for split in ids
    }
    for split, samples in splits.items():
        if ids[split] and not samples:
            raise DatasetError(f"{root}: none of the {len(ids[split])} {split} ids has an image")
    return Dataset("sysu-mm01", root, splits["train"], splits["val"], splits["test"])


def modality_of(camera_id: int) -> Modality:
    """The modality of a SYSU-MM01 camera: 3 and 6 are infrared."""
    return Modality.INFRARED if camera_id in INFRARED_CAMERAS else Modality.VISIBLE


def _check_folders(root: Path) -> None:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such dataset folder")
    wanted = [f"cam{camera}" for camera in CAMERAS]
    missing = [name for name in wanted if not (root / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{root}: not the SYSU-MM01 layout, {len(missing)} of 6 camera folders are missing:"
            f" {', '.join(missing)}"
        )


def _read_ids(path: Path) -> list[int]:
    fields = [
        field.strip() for field in read_index(path).replace("\n", ",").split(",") if field.strip()
    ]
    bad = [field for field in fields if not field.isdecimal()]
    if bad:
        raise DatasetError(f"{path}: expected comma-separated ids, found {bad[0]!r}")
    return sorted({int(field) for field in fields})


def _check_disjoint(ids: dict[str, list[int]], root: Path) -> None:
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = sorted(set(ids[one]) & set(ids[other]))
        if shared:
            raise DatasetError(
                f"{root / 'exp'}: {len(shared)} ids are in both {one} and {other},"
                f" the first is {shared[0]}"
            )


def _samples_by_person(root: Path) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = defaultdict(list)
    for camera_id in CAMERAS:
        for folder in sorted((root / f"cam{camera_id}").iterdir()):
            if not (folder.is_dir() and folder.name.isdecimal()):
                continue
            person_id = int(folder.name)
            found[person_id].extend(
                Sample(path, person_id, camera_id, modality_of(camera_id))
                for path in sorted(folder.iterdir())
                if path.suffix.lower() in IMAGE_SUFFIXES
            )
    return found
