"""Which crops `mpanet enroll` sends: read from a CSV, a SYSU-MM01 folder or a plain folder.

Owns the fields that paths and tables say about a crop, and the entry ids made from them. Reads no
image; speaks to no service.
"""

import csv
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpanet.errors import CommandError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
FIELDS = ("modality", "person_id", "camera_id", "captured_at", "entry_id")
IGNORED = frozenset({"split"})


@dataclass(frozen=True, slots=True)
class CropSource:
    """A file to enrol; `name` is its path below the list's folder, `fields` what is said of it."""

    path: Path
    name: str
    fields: Mapping[str, str]

    def entry(self, content: bytes) -> dict[str, str]:
        """Return the fields with an entry id: the same path and bytes give the same one again."""
        digest = hashlib.sha256(self.name.encode() + b"\0" + content).hexdigest()
        return {"entry_id": digest[:32], **self.fields}


def read_csv(path: Path, defaults: Mapping[str, str]) -> list[CropSource]:
    """Read a table with a column `path`, relative to the table; empty cells take the defaults.

    Raises: CommandError for a table that is not one, an unknown column, no modality.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or [])
            return [_row(path, reader.line_num, row, defaults) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: not a CSV in UTF-8: {error}") from error


def read_sysu(root: Path, cameras: Collection[str] | None) -> list[CropSource]:
    """Read `cam{n}/{person}/{n}.jpg` of some cameras, or of all; the modality is the camera's.

    Raises: CommandError.
    """
    from training.datasets.sysu_mm01 import CAMERAS, modality_of

    modalities = {str(number): modality_of(number).value for number in CAMERAS}
    wanted = modalities if cameras is None else cameras
    unknown = sorted(set(wanted) - set(modalities))
    if unknown:
        raise CommandError(f"--cameras: expected numbers from 1 to 6, came {', '.join(unknown)}")
    sources = [
        CropSource(
            path,
            path.relative_to(root).as_posix(),
            {
                "modality": modalities[camera],
                "person_id": path.parent.name,
                "camera_id": f"cam{camera}",
            },
        )
        for camera in sorted(wanted)
        for path in _images(root.glob(f"cam{camera}/*/*"))
    ]
    return _some(sources, root, "cam{n}/{person}/{n}.jpg")


def read_flat(root: Path, fields: Mapping[str, str]) -> list[CropSource]:
    """Read every image below a folder; all get the same fields. Raises: CommandError."""
    sources = [
        CropSource(path, path.relative_to(root).as_posix(), fields)
        for path in _images(root.rglob("*"))
    ]
    return _some(sources, root, "image files")


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    unknown = sorted({*columns} - {"path", *FIELDS} - IGNORED)
    if unknown:
        known = ", ".join(["path", *FIELDS])
        raise CommandError(
            f"{path}: expected the columns {known}; came also {', '.join(map(repr, unknown))}"
        )
    if "path" not in {*columns}:
        raise CommandError(f"{path}: expected a column `path`, came {', '.join(columns) or 'none'}")


def _row(
    table: Path, line: int, row: Mapping[str | None, str | None], defaults: Mapping[str, str]
) -> CropSource:
    if None in row or not row["path"]:
        raise CommandError(f"{table}, line {line}: expected a path and no cell beyond the columns")
    given = {name: value for name in FIELDS if (value := row.get(name))}
    fields = {**defaults, **given}
    if "modality" not in fields:
        raise CommandError(f"{table}, line {line}: no modality; fill the column or use --modality")
    name = row["path"]
    return CropSource(table.parent / name, Path(name).as_posix(), fields)


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in sorted(paths) if path.suffix.lower() in SUFFIXES and path.is_file())


def _some(sources: list[CropSource], root: Path, expected: str) -> list[CropSource]:
    if not sources:
        raise CommandError(f"{root}: expected {expected}, came none")
    return sources
