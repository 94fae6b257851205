"""Own cameras: `manifest.csv` with the columns path, person_id, camera_id, modality, split.

`split` is `train`, `val` or `test`; without any `val` row every tenth training identity is held
out for validation. Ids may be any text: persons and cameras are numbered in sorted order. Spaces
around a field and other columns mean nothing.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.config import Modality
from training.datasets.names import below
from training.datasets.problems import Findings
from training.datasets.sample import Dataset, Sample, hold_out, present, require_folder, sound
from training.errors import DatasetError

NAME = "manifest.csv"
COLUMNS = ("path", "person_id", "camera_id", "modality", "split")
ALLOWED = {
    "modality": tuple(modality.value for modality in Modality),
    "split": ("train", "val", "test"),
}
HOLD_OUT_EVERY = 10


@dataclass(frozen=True)
class _Row:
    """A sound row and the line it ends on; `path` lies below the dataset's folder."""

    line: int
    path: Path
    person: str
    camera: str
    modality: Modality
    split: str


def read_manifest(root: Path) -> Dataset:
    """Read `root/manifest.csv`.

    Raises:
        DatasetError: one report of everything that `survey_manifest` finds wrong.
    """
    return sound(survey_manifest(root))


def survey_manifest(root: Path) -> Dataset:
    """Read what can be read of `root/manifest.csv`; paths in it are relative to `root`.

    Its errors: rows with an empty, surplus or unknown field or a path that leads out of `root` (by
    line, column and value), images that are missing or listed twice, persons in two splits. Its
    remarks: columns that nobody reads.

    Raises:
        DatasetError: the folder or the file is missing, cannot be read, or lacks a column or rows.
    """
    require_folder(root)
    findings = Findings()
    rows = _sound_rows(root, findings)
    _check_twice(rows, findings)
    _check_persons(rows, findings)
    splits = _samples_by_split(rows, findings)
    train, validation = splits["train"], splits["val"]
    if not validation:
        train, validation = hold_out(train, HOLD_OUT_EVERY)
    errors, remarks = tuple(findings.errors), tuple(findings.remarks)
    return Dataset("manifest", root, train, validation, splits["test"], errors, remarks)


def _sound_rows(root: Path, findings: Findings) -> list[_Row]:
    """The rows without a fault, by path; the others go to `findings`."""
    header, lines = _read(root / NAME)
    surplus = [name for name in header if name not in COLUMNS]
    findings.remark(surplus, "column that nobody reads", "columns that nobody reads")
    rows, faults = [], []
    for number, fields in lines:
        value = dict.fromkeys(COLUMNS, "") | dict(zip(header, fields, strict=False))
        found = _faults(root, value)
        if len(fields) > len(header):
            found = [f"expected {len(header)} fields, found {len(fields)}"]
        if found:
            faults.append(f"line {number} ({value['path'][:200]}): {' and '.join(found)}")
            continue
        path = below(root, value["path"])
        assert path is not None
        person, camera = value["person_id"], value["camera_id"]
        rows.append(_Row(number, path, person, camera, Modality(value["modality"]), value["split"]))
    of_all = f"of {len(lines):,} rows of {NAME}"
    findings.error(faults, f"{of_all} is bad", f"{of_all} are bad")
    return sorted(rows, key=lambda row: row.path.as_posix())


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows that are not blank, each with the line it ends on."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [
                (reader.line_num, [field.strip() for field in fields])
                for fields in reader
                if any(field.strip() for field in fields)
            ]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num}: not CSV: {error}") from error
    expected = ",".join(COLUMNS)
    if not lines:
        raise DatasetError(f"{path}: empty; expected a first line {expected}")
    header = lines[0][1]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: the columns {', '.join(missing)} are missing; expected a first line"
            f" {expected}, found {','.join(header)[:200]!r}"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DatasetError(f"{path}: the columns {', '.join(twice)} are named twice")
    if len(lines) == 1:
        raise DatasetError(f"{path}: no row follows the first line")
    return header, lines[1:]


def _faults(root: Path, value: Mapping[str, str]) -> list[str]:
    """What is wrong with a row: the column, the value and what was expected."""
    found = [f"{name} is empty" for name in COLUMNS if not value[name]]
    found += [
        f"{name} is {', '.join(allowed[:-1])} or {allowed[-1]}, not {value[name][:80]!r}"
        for name, allowed in ALLOWED.items()
        if value[name] and value[name] not in allowed
    ]
    if value["path"] and below(root, value["path"]) is None:
        found.append(f"path lies below the manifest's folder, not {value['path'][:200]!r}")
    return found


def _check_twice(rows: Sequence[_Row], findings: Findings) -> None:
    lines: dict[Path, list[int]] = defaultdict(list)
    for row in rows:
        lines[row.path].append(row.line)
    twice = [
        f"{path} (lines {', '.join(str(line) for line in sorted(numbers))})"
        for path, numbers in lines.items()
        if len(numbers) > 1
    ]
    findings.error(twice, "image listed twice", "images listed twice")


def _check_persons(rows: Sequence[_Row], findings: Findings) -> None:
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.line):
        first[row.person].setdefault(row.split, row.line)
    several = [
        f"{person} ({', '.join(f'{split} line {line}' for split, line in splits.items())})"
        for person, splits in sorted(first.items())
        if len(splits) > 1
    ]
    findings.error(several, "person in two splits", "persons in two splits")


def _samples_by_split(rows: Sequence[_Row], findings: Findings) -> dict[str, tuple[Sample, ...]]:
    persons = _numbers(row.person for row in rows)
    cameras = _numbers(row.camera for row in rows)
    splits: dict[str, list[Sample]] = {split: [] for split in ALLOWED["split"]}
    for row in rows:
        sample = Sample(row.path, persons[row.person], cameras[row.camera], row.modality)
        splits[row.split].append(sample)
    return {
        split: tuple(present(samples, f"images of split {split}", findings))
        for split, samples in splits.items()
    }


def _numbers(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)), start=1)}
