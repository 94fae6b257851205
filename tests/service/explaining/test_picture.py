"""The picture of a match: red where the maps say, nothing elsewhere, a column a pattern."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.bodies.schemas import PatternPart
from service.explaining.picture import CROP_HEIGHT, GAP, LINE, MARGIN, MIN_COLUMN, Side, draw

GREY = (120, 120, 120)
TOP = MARGIN + 3 * LINE
ROW = CROP_HEIGHT + LINE + GAP


def side(maps: NDArray[np.float32]) -> Side:
    return Side("query", Image.new("RGB", (48, 128), GREY), maps)


def drawn(
    query: NDArray[np.float32], match: NDArray[np.float32], parts: list[float] | None
) -> Image.Image:
    named = None if parts is None else [PatternPart(pattern="p", similarity=p) for p in parts]
    png = draw(side(query), side(match), named, 0.5, "query q, entry e, model m")
    assert len(png) < 1_000_000
    return Image.open(io.BytesIO(png))


def corner(column: int, row: int) -> tuple[int, int]:
    """Return the upper left corner of a crop in the picture."""
    return MARGIN + column * (MIN_COLUMN + GAP), TOP + row * ROW


def test_red_is_where_a_pattern_looks_in_either_crop() -> None:
    maps = np.zeros((2, 8, 3), np.float32)
    query, match = maps.copy(), maps.copy()
    query[0, 0, :] = 0.2  # the head of the query, by the first pattern: its strongest place
    match[1, -1, :] = 0.4  # the feet of the match, by the second
    picture = drawn(query, match, [0.1, 0.2, 0.2])
    width = round(48 * CROP_HEIGHT / 128)
    for column in range(3):
        for row in range(2):
            left, top = corner(column, row)
            crop = np.asarray(picture.crop((left, top, left + width, top + CROP_HEIGHT)), int)
            head, feet = crop[8, width // 2], crop[-8, width // 2]
            assert bool(head[0] > 200) is ((column, row) == (1, 0))
            assert bool(feet[0] > 200) is ((column, row) == (2, 1))


@pytest.mark.parametrize("patterns", [1, 4, 8, 64])
def test_there_is_a_column_for_each_pattern_and_the_whole_crop(patterns: int) -> None:
    maps = np.ones((patterns, 8, 3), np.float32)
    picture = drawn(maps, maps, [0.1] * (patterns + 1))
    assert picture.width == 2 * MARGIN + (patterns + 1) * MIN_COLUMN + patterns * GAP


def test_a_bar_is_as_long_as_what_its_part_adds() -> None:
    maps = np.ones((2, 8, 3), np.float32)
    picture = np.asarray(drawn(maps, maps, [0.4, -0.2, 0.1]), int)
    row = TOP + 2 * ROW + 5
    lengths = []
    for column in range(3):
        left, _ = corner(column, 0)
        bar = picture[row, left : left + MIN_COLUMN]
        lengths.append(int((np.abs(bar - 255).sum(axis=1) > 150).sum()) / MIN_COLUMN)
    assert lengths == pytest.approx([0.25, 1.0, 0.5], abs=0.03)  # whole crop, patterns 1 and 2


def test_without_patterns_and_parts_the_crops_are_shown_plain() -> None:
    nothing = np.zeros((0, 8, 3), np.float32)
    picture = drawn(nothing, nothing, None)
    left, top = corner(0, 1)
    assert picture.getpixel((left + 20, top + 100)) == GREY
