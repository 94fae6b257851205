"""What cloth is made of: colour, near-infrared reflectance and woven or dyed pattern.

Within a fabric, colour and near-infrared reflectance are drawn apart: a dye is all but transparent
there.
Owns the draws of a fabric and of its pattern; how a pattern looks on a body is `surface`'s.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Fabric:
    """How a kind of cloth behaves: infrared mean and spread, weave, folds, gloss (all 0..1).

    `lightness` is the range of dyes it is sold in: leather is dark and linen light, as in the
    street. Within a fabric, dye and near-infrared reflectance are drawn apart.
    """

    infrared: float
    infrared_spread: float
    weave: float
    fold: float
    gloss: float
    lightness: tuple[float, float]


FABRICS: dict[str, Fabric] = {
    "cotton": Fabric(0.66, 0.18, 0.02, 0.9, 0.0, (0.06, 0.95)),
    "polyester": Fabric(0.70, 0.20, 0.01, 0.7, 0.12, (0.06, 0.95)),
    "wool": Fabric(0.40, 0.15, 0.07, 0.5, 0.0, (0.08, 0.65)),
    "denim": Fabric(0.42, 0.12, 0.05, 0.8, 0.0, (0.15, 0.55)),
    "leather": Fabric(0.18, 0.07, 0.01, 0.6, 0.4, (0.04, 0.35)),
    "nylon": Fabric(0.55, 0.24, 0.01, 1.0, 0.25, (0.05, 0.90)),
    "linen": Fabric(0.82, 0.09, 0.06, 1.0, 0.0, (0.55, 0.97)),
    "canvas": Fabric(0.40, 0.20, 0.05, 0.4, 0.0, (0.10, 0.80)),
}

PATTERNS: tuple[str, ...] = (
    "plain",
    "stripes",
    "check",
    "block",
    "band",
    "sides",
    "dots",
    "blobs",
    "quilt",
    "cable",
    "logo",
)


@dataclass(frozen=True)
class Material:
    """One cloth: its fabric, its dye (RGB in 0..1) and its near-infrared reflectance (0..1)."""

    fabric: str
    visible: RGB
    infrared: float


@dataclass(frozen=True)
class Pattern:
    """A second yarn or dye over a material. Lengths in metres, angle in radians.

    `structural` patterns are another fibre and are seen in both modalities; the others are dyed
    and all but vanish in near-infrared.
    """

    kind: str
    angle: float
    period: float
    duty: float
    offset: float
    structural: bool
    second: Material


def draw_colour(rng: np.random.Generator, lightness: tuple[float, float]) -> RGB:
    """Draw the colour of a garment: greys and darks are common, as in the street."""
    saturation = rng.uniform(0.0, 0.12) if rng.random() < 0.4 else rng.uniform(0.25, 0.9)
    value = lightness[0] + (lightness[1] - lightness[0]) * rng.random() ** 1.2
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, value)
    return red, green, blue


def draw_material(
    rng: np.random.Generator, fabrics: tuple[str, ...], beside: Sequence[Material] = ()
) -> Material:
    """Draw one material among the named fabrics, apart from those that it will lie beside.

    People dress so that a hem shows. Of a few draws the one is kept that differs most, in grey
    and in near-infrared, from its neighbours; enough is enough at LEGIBLE.
    """
    best, best_gap = _draw_one(rng, fabrics), -1.0
    for _ in range(TRIES if beside else 0):
        candidate = _draw_one(rng, fabrics)
        gap = min(min(_gap(candidate, other), LEGIBLE) for other in beside)
        if gap > best_gap:
            best, best_gap = candidate, gap
    return best


LEGIBLE = 0.22
TRIES = 16


def _gap(one: Material, other: Material) -> float:
    grey = abs(sum(one.visible) - sum(other.visible)) / 3
    return min(grey, abs(one.infrared - other.infrared))


def _draw_one(rng: np.random.Generator, fabrics: tuple[str, ...]) -> Material:
    fabric = fabrics[int(rng.integers(len(fabrics)))]
    kind = FABRICS[fabric]
    infrared = float(np.clip(rng.normal(kind.infrared, kind.infrared_spread), 0.10, 0.95))
    return Material(fabric, draw_colour(rng, kind.lightness), infrared)


def draw_pattern(rng: np.random.Generator, material: Material, plain: float) -> Pattern:
    """Draw a pattern over a material; `plain` is the probability of none."""
    kind = "plain" if rng.random() < plain else PATTERNS[int(rng.integers(1, len(PATTERNS)))]
    structural = bool(rng.random() < 0.88)
    return Pattern(
        kind=kind,
        angle=float(
            rng.choice([0.0, 0.0, np.pi / 2, rng.uniform(0.3, 1.2), -rng.uniform(0.3, 1.2)])
        ),
        period=float(rng.uniform(0.10, 0.30)),
        duty=float(rng.uniform(0.3, 0.65)),
        offset=float(rng.random()),
        structural=structural,
        second=_contrasting(rng, material, structural),
    )


def _contrasting(rng: np.random.Generator, material: Material, structural: bool) -> Material:
    """The second material of a pattern: another fibre, or only another dye on the same one."""
    if not structural:
        infrared = float(np.clip(material.infrared + rng.uniform(-0.05, 0.05), 0.06, 0.98))
        visible = draw_colour(rng, (0.06, 0.95))
        return Material(material.fabric, _apart(visible, material.visible), infrared)
    darker = material.infrared > rng.uniform(0.40, 0.60)
    other = draw_material(rng, DARK_FABRICS if darker else BRIGHT_FABRICS)
    step = float(rng.uniform(0.30, 0.50))
    infrared = (
        min(other.infrared, material.infrared - step)
        if darker
        else max(other.infrared, material.infrared + step)
    )
    return Material(
        other.fabric, _apart(other.visible, material.visible), min(max(infrared, 0.06), 0.98)
    )


DARK_FABRICS: tuple[str, ...] = ("leather", "wool", "denim", "canvas")
BRIGHT_FABRICS: tuple[str, ...] = ("linen", "cotton", "polyester")


def _apart(visible: RGB, first: RGB) -> RGB:
    """A colour that can be told from the first one in grey."""
    if abs(sum(visible) - sum(first)) >= 1.0:
        return visible
    shift = 0.5 if sum(first) < 1.4 else -0.45
    red, green, blue = (min(max(channel + shift, 0.03), 0.97) for channel in first)
    return red, green, blue
