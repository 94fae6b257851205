"""The RegDB layout: `idx/{train,test}_{visible,thermal}_{1..10}.txt`, lines `path label`.

Owns the layout only; the evaluation protocol is `training.protocols.regdb`. RegDB has one camera a
modality: 1 is visible, 2 is thermal.
"""

from pathlib import Path

from model.config import Modality
from training.datasets.index_files import read_index
from training.datasets.sample import Dataset, Sample, hold_out
from training.errors import DatasetError

SPLITS = range(1, 11)
HOLD_OUT_EVERY = 10
FILES = (("visible", Modality.VISIBLE, 1), ("thermal", Modality.INFRARED, 2))


def read_regdb(root: Path, split: int = 1) -> Dataset:
    """Read one of the ten splits of a dataset in the RegDB layout.

    RegDB publishes no validation identities: every tenth training identity is held out. Labels
    count from 0 in each part, so `person_id` tells persons apart within train and within test only.

    Raises:
        DatasetError: the folder, an index file or a listed image is missing, a line is malformed,
            or an image is in both parts.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such dataset folder")
    if split not in SPLITS:
        raise DatasetError(f"{root}: RegDB splits are 1 to 10, not {split}")
    trained = _read_part(root, "train", split)
    tested = _read_part(root, "test", split)
    shared = {sample.path for sample in trained} & {sample.path for sample in tested}
    if shared:
        raise DatasetError(
            f"{root / 'idx'}: {len(shared)} images are in both train and test of split {split},"
            f" the first is {min(shared)}"
        )
    kept, held = hold_out(trained, HOLD_OUT_EVERY)
    return Dataset("regdb", root, kept, held, tested)


def available_splits(root: Path) -> list[int]:
    """The splits whose test index files exist, ascending."""
    return [
        split
        for split in SPLITS
        if all((root / "idx" / f"test_{word}_{split}.txt").is_file() for word, _, _ in FILES)
    ]


def _read_part(root: Path, part: str, split: int) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for word, modality, camera_id in FILES:
        index = root / "idx" / f"{part}_{word}_{split}.txt"
        rows = _read_index(index, root)
        samples.extend(Sample(path, label, camera_id, modality) for path, label in rows)
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        raise DatasetError(
            f"{root}: {len(missing)} of {len(samples)} images that the {part} lists of split"
            f" {split} name are missing, the first is {missing[0]}"
        )
    return tuple(sorted(samples, key=lambda sample: (sample.modality.value, sample.path)))


def _read_index(index: Path, root: Path) -> list[tuple[Path, int]]:
    rows = []
    for number, line in enumerate(read_index(index).splitlines(), start=1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal():
            raise DatasetError(f"{index}:{number}: expected 'path label', found {line!r}")
        rows.append((root / path, int(label)))
    return rows
