"""What stands in front of people: a pole, a bench, a doorway, the edge of a passer-by.

Draws from the image's own random stream only.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

OCCLUDED_SHARE = 0.15
"""Probability that something stands in front of a person."""


def draw_occluder(
    kinds: tuple[str, ...], height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Draw what is in the way, if anything: pixels (height, width, 3) in 0..1 and their mask."""
    if rng.random() >= OCCLUDED_SHARE:
        return None
    kind = kinds[int(rng.integers(len(kinds)))]
    image = Image.new("RGB", (width, height))
    cover = Image.new("L", (width, height))
    pair = (ImageDraw.Draw(image), ImageDraw.Draw(cover))
    if kind == "pole":
        _pole(pair, height, width, rng)
    elif kind == "bench":
        _bench(pair, height, width, rng)
    elif kind == "doorway":
        _doorway(pair, height, width, rng)
    else:
        _passer_by(pair, height, width, rng)
    return np.asarray(image, np.float32) * np.float32(1 / 255), np.asarray(cover) > 0


Pair = tuple[ImageDraw.ImageDraw, ImageDraw.ImageDraw]


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    grey = rng.uniform(35, 190)
    red, green, blue = np.clip(grey + rng.normal(0, 18, 3), 5, 250).astype(int).tolist()
    return red, green, blue


def _rectangle(
    pair: Pair, box: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> None:
    pair[0].rectangle(box, colour)
    pair[1].rectangle(box, 255)


def _ellipse(
    pair: Pair, box: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> None:
    pair[0].ellipse(box, colour)
    pair[1].ellipse(box, 255)


def _pole(pair: Pair, height: int, width: int, rng: np.random.Generator) -> None:
    x, wide = rng.uniform(0.08, 0.85) * width, rng.uniform(0.05, 0.13) * width
    red, green, blue = _colour(rng)
    for step in range(8):
        light = 0.7 + 0.5 * float(np.sin(np.pi * (step + 0.5) / 8))
        shade = (int(red * light), int(green * light), int(blue * light))
        left = x + wide * step / 8
        _rectangle(pair, (left, 0, left + wide / 8, height), shade)


def _bench(pair: Pair, height: int, width: int, rng: np.random.Generator) -> None:
    top = height * rng.uniform(0.70, 0.86)
    start = rng.uniform(-0.4, 0.5) * width
    end = start + rng.uniform(0.6, 1.2) * width
    colour = _colour(rng)
    for row in (0.0, 0.035, 0.07):
        _rectangle(pair, (start, top + row * height, end, top + (row + 0.024) * height), colour)
    for x in (start + 6, end - 14):
        _rectangle(pair, (x, top, x + 8, height), colour)


def _doorway(pair: Pair, height: int, width: int, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.12, 0.32) * width
    left = 0.0 if rng.random() < 0.5 else width - wide
    colour = _colour(rng)
    _rectangle(pair, (left, 0, left + wide, height), colour)
    edge = left + wide - 5 if left == 0.0 else left
    dark = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
    _rectangle(pair, (edge, 0, edge + 5, height), dark)


def _passer_by(pair: Pair, height: int, width: int, rng: np.random.Generator) -> None:
    middle = rng.uniform(-0.16, 0.04) * width
    if rng.random() < 0.5:
        middle = width - middle
    top, half = rng.uniform(0.0, 0.12) * height, rng.uniform(0.055, 0.075) * height
    body, legs, skin = _colour(rng), _colour(rng), _colour(rng)
    hem = top + rng.uniform(0.45, 0.7) * height
    for side in (-0.55, 0.55):
        x = middle + side * half
        _rectangle(pair, (x - 0.5 * half, hem - 10, x + 0.5 * half, height), legs)
    _ellipse(pair, (middle - 1.5 * half, top + 1.9 * half, middle + 1.5 * half, hem + half), body)
    _rectangle(pair, (middle - 1.35 * half, top + 3.2 * half, middle + 1.35 * half, hem), body)
    _ellipse(pair, (middle - 0.62 * half, top, middle + 0.62 * half, top + 2.1 * half), skin)
