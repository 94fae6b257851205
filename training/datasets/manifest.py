"""Own cameras: `manifest.csv` with the columns path, person_id, camera_id, modality, split.

`split` is `train`, `val` or `test`; without any `val` row every tenth training identity is held
out for validation. Ids may be any text: persons and cameras are numbered in sorted order.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from model.config import Modality
from training.datasets.sample import Dataset, Sample, hold_out
from training.errors import DatasetError

COLUMNS = ("path", "person_id", "camera_id", "modality", "split")
SPLITS = ("train", "val", "test")
HOLD_OUT_EVERY = 10


def read_manifest(root: Path) -> Dataset:
    """Read `root/manifest.csv`; paths in it are relative to `root`.

    Raises:
        DatasetError: the file or a column is missing, a row has an unknown modality or split or a
            missing image, an identity is in two splits, or there is no training row.
    """
    rows = _read_rows(root / "manifest.csv")
    persons = _numbers(row["person_id"] for row in rows)
    cameras = _numbers(row["camera_id"] for row in rows)
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for row in rows:
        splits[row["split"]].append(
            Sample(
                root / row["path"],
                persons[row["person_id"]],
                cameras[row["camera_id"]],
                Modality(row["modality"]),
            )
        )
    _check(root, splits)
    train, validation = tuple(splits["train"]), tuple(splits["val"])
    if not validation:
        train, validation = hold_out(train, HOLD_OUT_EVERY)
    return Dataset("manifest", root, train, validation, tuple(splits["test"]))


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path}: the columns {', '.join(missing)} are missing")
            rows = sorted(reader, key=lambda row: row["path"] or "")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such manifest") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    for row in rows:
        if any(not row[name] for name in COLUMNS):
            raise DatasetError(f"{path}: the row of {row['path']!r} has an empty field")
        if row["modality"] not in {modality.value for modality in Modality}:
            raise DatasetError(
                f"{path}: {row['path']}: modality is visible or infrared, not {row['modality']!r}"
            )
        if row["split"] not in SPLITS:
            raise DatasetError(
                f"{path}: {row['path']}: split is train, val or test, not {row['split']!r}"
            )
    return rows


def _numbers(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)), start=1)}


def _check(root: Path, splits: dict[str, list[Sample]]) -> None:
    if not splits["train"]:
        raise DatasetError(f"{root / 'manifest.csv'}: no row of split train")
    samples = [sample for split in SPLITS for sample in splits[split]]
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        raise DatasetError(
            f"{root}: {len(missing)} of {len(samples)} images are missing,"
            f" the first is {missing[0]}"
        )
    seen: dict[int, str] = {}
    for split in SPLITS:
        for sample in splits[split]:
            if seen.setdefault(sample.person_id, split) != split:
                raise DatasetError(
                    f"{sample.path}: its person is in both {seen[sample.person_id]} and {split}"
                )
