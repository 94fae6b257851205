"""Labelled pairs of crops in a CSV: path_a, modality_a, path_b, modality_b, same.

Paths are relative to the file's folder. Two more columns may say whom the crops show, person_a and
person_b: pairs that share a person are alike in how alike they are, and whoever knows that is not
surer than the data allow. Other columns are an error: a misspelled one would be ignored.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.config import Modality
from mpanet.errors import CommandError

COLUMNS: Final = ("path_a", "modality_a", "path_b", "modality_b", "same")
PERSONS: Final = ("person_a", "person_b")
SAME: Final = {"1": True, "true": True, "0": False, "false": False}
MAX_CROPS: Final = 20_000
"""Different crops that a file may name: all their embeddings are in memory at once."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two crops, each with its modality, and whether they show one person; whom, where known."""

    paths: tuple[Path, Path]
    modalities: tuple[Modality, Modality]
    same: bool
    persons: tuple[str, str] | None


def read_pairs(path: Path) -> list[LabelledPair]:
    """Read a file of pairs.

    Raises:
        CommandError: the first thing that is wrong, with its line: a column, a value, a crop that
            is compared with itself or whose modality is said in two ways, persons that contradict
            `same`, too many crops.
    """
    modality_of: dict[Path, Modality] = {}
    pairs = []
    for place, row in _rows(path):
        pair = _pair(path.parent, place, row)
        for crop, modality in zip(pair.paths, pair.modalities, strict=True):
            if modality_of.setdefault(crop, modality) != modality:
                raise CommandError(f"{place}: {crop} is {modality}, and not so in a line before")
        if len(modality_of) > MAX_CROPS:
            raise CommandError(f"{place}: expected at most {MAX_CROPS:,} different crops")
        pairs.append(pair)
    if not pairs:
        raise CommandError(f"{path}: no pair follows the first line")
    return pairs


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows that are not blank, each with the file and its line for a message."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            for fields in reader:
                place = f"{path}: line {reader.line_num}"
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    raise CommandError(
                        f"{place}: expected {len(header)} fields, came {len(fields)}"
                    )
                yield place, dict(zip(header, map(str.strip, fields), strict=True))
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path}: expected CSV in UTF-8: {error}") from None


def _check_header(path: Path, header: list[str]) -> None:
    if sorted(header) not in (sorted(COLUMNS), sorted((*COLUMNS, *PERSONS))):
        raise CommandError(
            f"{path}: expected a first line {','.join(COLUMNS)}, and perhaps {','.join(PERSONS)};"
            f" came {','.join(header)[:200]!r}"
        )


def _pair(folder: Path, place: str, row: Mapping[str, str]) -> LabelledPair:
    for name, value in row.items():
        if not value:
            raise CommandError(f"{place}: {name} is empty")
        if "\0" in value:
            raise CommandError(f"{place}: {name} has a NUL character")
    if row["path_a"] == row["path_b"]:
        raise CommandError(f"{place}: expected two crops, came {row['path_a'][:80]!r} twice")
    same = SAME.get(row["same"].lower())
    if same is None:
        raise CommandError(f"{place}: same is 1, 0, true or false, not {row['same'][:80]!r}")
    persons = (row["person_a"], row["person_b"]) if "person_a" in row else None
    if persons is not None and (persons[0] == persons[1]) != same:
        raise CommandError(
            f"{place}: same is {row['same']}, but the persons are {persons[0]!r} and {persons[1]!r}"
        )
    return LabelledPair(
        (folder / row["path_a"], folder / row["path_b"]),
        (_modality(place, row, "modality_a"), _modality(place, row, "modality_b")),
        same,
        persons,
    )


def _modality(place: str, row: Mapping[str, str], name: str) -> Modality:
    try:
        return Modality(row[name])
    except ValueError:
        raise CommandError(
            f"{place}: {name} is visible or infrared, not {row[name][:80]!r}"
        ) from None
