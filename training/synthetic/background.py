"""What stands behind people: four families of places, each image freshly drawn.

Draws from the image's own random stream only; no function here can know who walks past.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]


def draw_background(
    scenery: str, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw one background of a family, (height, width, 3) in 0..1.

    An infrared camera reads the first channel as reflectance.
    """
    image = Image.new("RGB", (width, height), _tint(rng, 120, 30, 10))
    draw = ImageDraw.Draw(image)
    SCENES[scenery](draw, height, width, rng)
    image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(2.0, 5.0))))
    pixels = np.asarray(image, np.float32) * np.float32(1 / 255)
    pixels *= _clouds(height, width, rng)[:, :, None]
    drawn: NDArray[np.float32] = np.clip(pixels, 0.0, 1.0)
    return drawn


def _tint(rng: np.random.Generator, mean: float, spread: float, colour: float) -> Colour:
    grey = rng.normal(mean, spread)
    red, green, blue = np.clip(grey + rng.normal(0, colour, 3), 12, 243).astype(int).tolist()
    return red, green, blue


def _clouds(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven light: a smooth field around one."""
    coarse = Image.fromarray(rng.uniform(0.72, 1.25, (5, 3)).astype(np.float32))
    fine = Image.fromarray(rng.normal(1.0, 0.035, (height // 3, width // 3)).astype(np.float32))
    size, way = (width, height), Image.Resampling.BILINEAR
    field: NDArray[np.float32] = np.asarray(coarse.resize(size, way)) * np.asarray(
        fine.resize(size, way)
    )
    return field


def _floor(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> int:
    """Draw the floor with a few joints. Returns the row of the horizon."""
    horizon = int(height * rng.uniform(0.55, 0.82))
    colour = _tint(rng, 122, 32, 7)
    draw.rectangle((0, horizon, width, height), colour)
    joint = tuple(int(c * 0.82) for c in colour)
    vanish = rng.uniform(-0.5, 1.5) * width
    for x in np.arange(-3, 4) * width * rng.uniform(0.3, 0.7):
        draw.line((vanish + 0.15 * x, horizon, vanish + x, height), joint, 2)
    row, step = float(horizon), rng.uniform(6, 14)
    while row < height:
        draw.line((0, row, width, row), joint, 1)
        step *= 1.5
        row += step
    return horizon


def _corridor(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    horizon = _floor(draw, height, width, rng)
    vanish = rng.uniform(0.2, 0.8) * width
    draw.rectangle((0, 0, width, horizon), _tint(rng, 155, 25, 6))
    for side in (0, width):
        far = vanish + (side - vanish) * rng.uniform(0.2, 0.6)
        top = rng.uniform(0.0, 0.25) * height
        draw.polygon(
            [(side, -5), (far, top), (far, horizon), (side, height)], _tint(rng, 145, 35, 10)
        )
    for _ in range(int(rng.integers(1, 4))):
        x, wide = rng.uniform(-0.2, 1.0) * width, rng.uniform(0.15, 0.4) * width
        top = rng.uniform(0.05, 0.3) * height
        draw.rectangle((x, top, x + wide, horizon), _tint(rng, 115, 32, 12))
        draw.rectangle((x + 3, top + 4, x + wide - 3, horizon), _tint(rng, 122, 32, 12))
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(0, width), rng.uniform(0, 0.12) * height
        draw.rectangle((x, y, x + 0.3 * width, y + 5), (240, 240, 232))


def _wall(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    horizon = _floor(draw, height, width, rng)
    base = _tint(rng, 138, 32, 9)
    draw.rectangle((0, 0, width, horizon), base)
    line = tuple(int(c * rng.uniform(0.75, 0.93)) for c in base)
    tall, wide = rng.uniform(10, 34), rng.uniform(20, 60)
    for number, row in enumerate(np.arange(0, horizon, tall)):
        draw.line((0, row, width, row), line, 1)
        for x in np.arange((number % 2) * wide / 2, width, wide):
            draw.line((x, row, x, min(row + tall, horizon)), line, 1)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(0.0, 0.5) * height
        box = (x, y, x + rng.uniform(0.1, 0.4) * width, y + rng.uniform(0.06, 0.25) * height)
        draw.rectangle(box, _tint(rng, 130, 40, 26))
    draw.rectangle((0, horizon - 5, width, horizon), _tint(rng, 80, 30, 8))


def _outdoor(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    horizon = _floor(draw, height, width, rng)
    draw.rectangle((0, 0, width, horizon), _tint(rng, 145, 30, 9))
    gap = rng.uniform(20, 45)
    pane = _tint(rng, 100, 30, 10)
    for x in np.arange(rng.uniform(-gap, 0), width, gap):
        for y in np.arange(rng.uniform(0, gap), horizon * rng.uniform(0.3, 0.9), gap * 1.3):
            draw.rectangle((x, y, x + gap * 0.55, y + gap * 0.8), pane)
    leaf = np.asarray(_tint(rng, 95, 30, 12)) + np.array([-10, 18, -18])
    for _ in range(int(rng.integers(12, 45))):
        x, y = rng.uniform(-10, width + 10), horizon - rng.exponential(0.09) * height
        r = rng.uniform(5, 20)
        red, green, blue = np.clip(leaf + rng.normal(0, 18), 5, 250).astype(int).tolist()
        draw.ellipse((x - r, y - r, x + r, y + r), (red, green, blue))


def _shelves(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    horizon = _floor(draw, height, width, rng)
    draw.rectangle((0, 0, width, horizon), _tint(rng, 90, 30, 8))
    row = rng.uniform(-30, 10)
    while row < horizon - 15:
        tall = rng.uniform(28, 60)
        x = rng.uniform(-15, 0)
        while x < width:
            wide = rng.uniform(6, 26)
            low = row + tall - 4
            draw.rectangle(
                (x, low - rng.uniform(0.4, 0.9) * tall, x + wide, low), _tint(rng, 120, 36, 24)
            )
            x += wide + rng.uniform(0, 3)
        draw.rectangle((0, row + tall - 4, width, row + tall), _tint(rng, 150, 25, 6))
        row += tall


SCENES: dict[str, Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator], None]] = {
    "corridor": _corridor,
    "wall": _wall,
    "outdoor": _outdoor,
    "shelves": _shelves,
}
