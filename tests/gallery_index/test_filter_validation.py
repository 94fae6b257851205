"""What a filter may ask, and the line that refuses the rest."""

from typing import Any

import pytest

from gallery_index.errors import InvalidEntryError
from gallery_index.records import EntryFilter
from gallery_index.validation import check_filter


def test_a_filter_may_name_several_and_any_scalar() -> None:
    check_filter(
        EntryFilter(
            person_id="a",
            exclude_person_id=("b", "c"),
            camera_id=("d",),
            exclude_camera_id="e",
            attributes={"n": 1, "x": 1.5, "flag": True, "text": "t", "none": None},
        )
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"person_id": ()}, r"person_id: expected a name or a tuple of names, got \(\)"),
        ({"camera_id": ["a"]}, r"camera_id: expected a name or a tuple of names, got \['a'\]"),
        ({"exclude_person_id": ("a", 7)}, "exclude_person_id: expected names, got 7"),
        ({"exclude_camera_id": ("a", "")}, "exclude_camera_id: expected 1 to 256 printable"),
        ({"attributes": ["a"]}, r"attributes: expected names with .*, got \['a'\]"),
        ({"attributes": {1: "a"}}, "attributes: expected names as keys, got 1"),
        ({"attributes": {"a": [1]}}, r"attributes: expected text, a finite .* 'a', got \[1\]"),
        ({"attributes": {"a": float("nan")}}, "attributes: expected text, a finite .*, got nan"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_field(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidEntryError, match=line):
        check_filter(EntryFilter(**fields))
