"""What a filter means over the columns of the entries. Owns no entries."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import EntryFilter, Names
from gallery_index.table.attribute_texts import AttributeTexts
from gallery_index.table.entry_columns import NEVER
from gallery_index.table.entry_values import microseconds
from gallery_index.table.interned_texts import InternedTexts

_COMPARED_ONE_BY_ONE: Final = 6  # comparing a column 6 times takes as long as one look-up in a list

Mask = NDArray[np.bool_]


def conditions(
    columns: Mapping[str, NDArray[Any]],
    vocabularies: Mapping[str, InternedTexts],
    filter: EntryFilter,
) -> Iterator[Mask]:
    """Yield one mask over positions for each condition of a filter; what is dead may match."""
    for name, wanted in (
        ("person", filter.person_id),
        ("camera", filter.camera_id),
        ("modality", filter.modality),
    ):
        if wanted is not None:
            yield _among(columns[name], _codes(vocabularies[name], wanted))
    for name, unwanted in (
        ("person", filter.exclude_person_id),
        ("camera", filter.exclude_camera_id),
    ):
        if unwanted is not None:
            yield ~_among(columns[name], _codes(vocabularies[name], unwanted))
    if filter.attributes:
        attributes = vocabularies["attributes"]
        assert isinstance(attributes, AttributeTexts)
        yield _among(columns["attributes"], attributes.matching(filter.attributes))
    if filter.captured_after is not None:
        yield columns["captured_at"] >= microseconds(filter.captured_after)
    if filter.captured_before is not None:
        yield captured_before(columns["captured_at"], filter.captured_before)


def captured_before(captured_at: NDArray[np.int64], time: datetime) -> Mask:
    """Return which capture times are there and before a time."""
    before: Mask = captured_at < microseconds(time)
    before &= captured_at != NEVER
    return before


def _codes(vocabulary: InternedTexts, names: Names) -> NDArray[np.int32]:
    """Return the codes of the names that some entry has; the others match nothing."""
    names = (names,) if isinstance(names, str) else names
    codes = (vocabulary.code_of(name) for name in dict.fromkeys(names))
    return np.array([code for code in codes if code is not None], np.int32)


def _among(column: NDArray[Any], codes: NDArray[np.int32]) -> Mask:
    if len(codes) > _COMPARED_ONE_BY_ONE:
        chosen = np.zeros(max(int(column.max(initial=0)), int(codes.max())) + 1, np.bool_)
        chosen[codes] = True
        listed: Mask = chosen[column]
        return listed
    mask = np.zeros(len(column), np.bool_)
    for code in codes:
        mask |= column == code
    return mask
