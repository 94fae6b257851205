"""Two crops side by side, pattern by pattern: what made them alike, for a person to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.pattern_overlay import overlay
from service.bodies.schemas import PatternPart

CROP_HEIGHT: Final = 256
GAP: Final = 8
MARGIN: Final = 16
TEXT: Final = 15
SMALL: Final = 13
LINE: Final = 20
BAR: Final = 10
MIN_COLUMN: Final = 96
PAPER: Final = (255, 255, 255)
INK: Final = (20, 20, 20)
FAINT: Final = (110, 110, 110)
POSITIVE: Final = (200, 60, 20)
NEGATIVE: Final = (40, 90, 190)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two crops: what it is, as the network saw it, its maps (P, h, w) in [0, 1]."""

    title: str
    image: Image.Image
    maps: NDArray[np.float32]


def draw(
    query: Side,
    match: Side,
    parts: Sequence[PatternPart] | None,
    similarity: float,
    subtitle: str,
) -> bytes:
    """Draw both crops plain and under each pattern, with its share beneath; returns a PNG.

    A pattern's map is shown relative to its strongest place in either crop: red is where it looks.
    """
    columns = 1 + len(query.maps)
    sides = [_enlarged(query.image), _enlarged(match.image)]
    width = max(MIN_COLUMN, *(side.width for side in sides))
    head, rows = 3 * LINE, CROP_HEIGHT + LINE + GAP
    canvas = Image.new(
        "RGB",
        (
            2 * MARGIN + columns * width + (columns - 1) * GAP,
            2 * MARGIN + head + 2 * rows + (3 * LINE if parts else LINE),
        ),
        PAPER,
    )
    pen = ImageDraw.Draw(canvas)
    _write_head(pen, similarity, subtitle, parts)
    strongest = np.maximum(query.maps.max(axis=(1, 2)), match.maps.max(axis=(1, 2)))
    for column in range(columns):
        left = MARGIN + column * (width + GAP)
        name = "whole crop" if column == 0 else f"pattern {column}"
        pen.text((left, MARGIN + head - LINE), name, INK, _font(SMALL))
        for place, (side, image) in enumerate(zip((query, match), sides, strict=True)):
            top = MARGIN + head + place * rows
            shown = image
            if column:
                scale = max(float(strongest[column - 1]), 1e-6)
                shown = overlay(image, side.maps[column - 1] / scale)
            canvas.paste(shown, (left, top))
            if not column:
                pen.text((left, top + CROP_HEIGHT + 2), side.title, INK, _font(SMALL))
        if parts:
            # The whole crop's part comes last in an embedding, and first here.
            part = parts[-1] if column == 0 else parts[column - 1]
            _write_part(pen, (left, MARGIN + head + 2 * rows), width, part.similarity, parts)
    if columns > 1:
        legend = "red: where a pattern looks, relative to its strongest place in either crop"
        pen.text((MARGIN, canvas.height - MARGIN - SMALL), legend, FAINT, _font(SMALL))
    return _png(canvas)


def _write_head(
    pen: ImageDraw.ImageDraw,
    similarity: float,
    subtitle: str,
    parts: Sequence[PatternPart] | None,
) -> None:
    what = (
        f"similarity {similarity:.3f}: the sum of the parts below"
        if parts
        else f"similarity {similarity:.3f}; this model mixes the patterns, so it has no parts"
    )
    pen.text((MARGIN, MARGIN), what, INK, _font(TEXT))
    pen.text((MARGIN, MARGIN + LINE), subtitle, FAINT, _font(SMALL))


def _write_part(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    width: int,
    value: float,
    parts: Sequence[PatternPart],
) -> None:
    """Write what a part adds, as a bar and in numbers."""
    left, top = corner
    largest = max(abs(part.similarity) for part in parts) or 1.0
    total = sum(part.similarity for part in parts)
    length = round(abs(value) / largest * (width - 1))
    colour = POSITIVE if value >= 0 else NEGATIVE
    pen.rectangle((left, top, left + width - 1, top + BAR), outline=(225, 225, 225))
    pen.rectangle((left, top, left + length, top + BAR), fill=colour)
    share = f" ({value / total:.0%})" if total > 0 else ""
    pen.text((left, top + BAR + 4), f"{value:+.3f}{share}", INK, _font(SMALL))


def _enlarged(image: Image.Image) -> Image.Image:
    width = max(1, round(image.width * CROP_HEIGHT / image.height))
    return image.convert("RGB").resize((width, CROP_HEIGHT), Image.Resampling.BILINEAR)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
