"""How the entries in memory are laid out in arrays, in the table and in a snapshot alike.

One value a position in every column; texts in arenas. Zeros say nothing anywhere: a position whose
bytes were overwritten with zeros is dead and names nobody. Owns the layout, its checks, and where
in it the record of an entry lies.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Sections = Mapping[str, NDArray[Any]]

NEVER: Final = np.iinfo(np.int64).min  # before any time
ENTRY_ID: Final = "entry_id"
VOCABULARIES: Final = ("person", "camera", "modality", "media_type", "attributes")
COLUMNS: Final[dict[str, np.dtype[Any]]] = {
    "alive": np.dtype(np.bool_),
    "row": np.dtype(np.int64),
    "person": np.dtype(np.int32),
    "camera": np.dtype(np.int32),
    "modality": np.dtype(np.int16),
    "media_type": np.dtype(np.int16),
    "attributes": np.dtype(np.int32),
    "captured_at": np.dtype(np.int64),
    "enrolled_at": np.dtype(np.int64),
    "crop_sha256": np.dtype("V32"),
}
_KEPT_OF_THE_DEAD: Final = ("row",)  # says nothing of the entry, and keeps the rows ascending


def arena_of(name: str) -> str:
    """Return the section with the bytes of a kind of texts."""
    return f"{name}.text"


def ends_of(name: str) -> str:
    """Return the section with the ends of a kind of texts in their arena."""
    return f"{name}.end"


def empty_sections() -> dict[str, NDArray[Any]]:
    """Return the sections of a table without entries."""
    return {name: np.zeros(int(name == "rows"), dtype) for name, dtype in _types().items()}


def check_sections(sections: Sections) -> None:
    """Check that sections fit together. Raises: ValueError naming the one that does not."""
    types = _types()
    if sections.keys() != types.keys():
        raise ValueError(f"expected sections {sorted(types)}, got {sorted(sections)}")
    for name, dtype in types.items():
        if sections[name].dtype != dtype or sections[name].ndim != 1:
            raise ValueError(
                f"{name}: expected a flat array of {dtype},"
                f" got {sections[name].dtype} of shape {sections[name].shape}"
            )
    positions = len(sections["row"])
    for name in (*COLUMNS, ends_of(ENTRY_ID)):
        if len(sections[name]) != positions:
            raise ValueError(f"{name}: expected {positions} values, got {len(sections[name])}")
    _check_rows(sections["rows"], sections["row"])
    for name in (ENTRY_ID, *VOCABULARIES):
        _check_texts(name, sections[arena_of(name)], sections[ends_of(name)])
    for name in VOCABULARIES:
        _check_codes(name, sections[name][sections["alive"]], len(sections[ends_of(name)]))


def record_bytes(sections: Sections, rows: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """Return where the records of rows lie: (section, first byte, last byte + 1).

    A shared text is named when no entry but these has it. `alive` comes last.
    """
    going = np.zeros(len(sections["row"]), np.bool_)
    going[np.isin(sections["row"], rows)] = True
    going &= sections["alive"]
    staying = sections["alive"] & ~going
    positions = np.flatnonzero(going)
    spans: list[tuple[str, int, int]] = []
    for name in VOCABULARIES:
        codes = np.unique(sections[name][going])
        left = codes[(codes > 0) & ~np.isin(codes, sections[name][staying])]
        spans.extend(_text_bytes(sections, name, left - 1))
    spans.extend(_text_bytes(sections, ENTRY_ID, positions))
    for name in reversed(COLUMNS):
        if name not in _KEPT_OF_THE_DEAD:
            width = COLUMNS[name].itemsize
            spans.extend((name, at * width, (at + 1) * width) for at in positions.tolist())
    return spans


def _text_bytes(
    sections: Sections, name: str, numbers: NDArray[Any]
) -> Iterator[tuple[str, int, int]]:
    ends = sections[ends_of(name)]
    for number in numbers.tolist():
        yield arena_of(name), int(ends[number - 1]) if number else 0, int(ends[number])


def _types() -> dict[str, np.dtype[Any]]:
    texts: dict[str, np.dtype[Any]] = {}
    for name in (ENTRY_ID, *VOCABULARIES):
        texts[arena_of(name)] = np.dtype(np.uint8)
        texts[ends_of(name)] = np.dtype(np.int64)
    return {"rows": np.dtype(np.int64), **COLUMNS, **texts}


def _check_rows(rows: NDArray[Any], row: NDArray[Any]) -> None:
    if len(rows) != 1:
        raise ValueError(f"rows: expected one number, got {len(rows)}")
    if len(row) and (row[0] < 0 or row[-1] >= rows[0] or not (row[1:] > row[:-1]).all()):
        raise ValueError(f"row: expected rows ascending from 0 to below {rows[0]}")


def _check_texts(name: str, arena: NDArray[Any], ends: NDArray[Any]) -> None:
    last = int(ends[-1]) if len(ends) else 0
    if last != len(arena):
        raise ValueError(f"{arena_of(name)}: expected {last} bytes, got {len(arena)}")
    if len(ends) and (ends[0] < 0 or not (ends[1:] >= ends[:-1]).all()):
        raise ValueError(f"{ends_of(name)}: expected ends that never go back")


def _check_codes(name: str, codes: NDArray[Any], texts: int) -> None:
    if len(codes) and (codes.min() < 0 or codes.max() > texts):
        raise ValueError(
            f"{name}: expected codes from 0 to {texts}, got {codes.min()} to {codes.max()}"
        )
