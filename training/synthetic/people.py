"""Who a rendered person is: body, hair, face, clothes, shoes, hat and bag.

Everything that identity is lives in `Person`; pose, view, camera and scene are drawn elsewhere and
never from here. Clothes are drawn in `wardrobe`.
"""

from dataclasses import dataclass

import numpy as np

from training.synthetic.materials import RGB, Material
from training.synthetic.wardrobe import Bag, Outfit, draw_bag, draw_outfit

PERSON_STREAM = 0x5045_5253


@dataclass(frozen=True)
class Body:
    """Proportions: stature in metres, the rest as fractions of the stature."""

    stature: float
    leg: float
    shoulder: float
    chest_depth: float
    waist: float
    hip: float
    limb: float
    head: float


@dataclass(frozen=True)
class Hair:
    """Hair: `length` in metres below the ears, `volume` in metres above the skull.

    `infrared` is its near-infrared reflectance, drawn apart from its colour.
    """

    style: str
    length: float
    volume: float
    fringe: float
    visible: RGB
    infrared: float


@dataclass(frozen=True)
class Face:
    """Skin and what sits on the face."""

    skin: RGB
    skin_infrared: float
    glasses: str
    beard: bool


@dataclass(frozen=True)
class Person:
    """Everything that identity is."""

    body: Body
    hair: Hair
    face: Face
    outfit: Outfit
    bag: Bag


HAIR_STYLES: tuple[str, ...] = ("bald", "short", "short", "bob", "long", "ponytail", "bun", "afro")
HAIR_COLOURS: tuple[RGB, ...] = (
    (0.08, 0.06, 0.05),
    (0.16, 0.10, 0.07),
    (0.33, 0.20, 0.11),
    (0.62, 0.48, 0.28),
    (0.50, 0.22, 0.10),
    (0.62, 0.61, 0.60),
)
SKIN_LIGHT: RGB = (0.90, 0.72, 0.62)
SKIN_DARK: RGB = (0.34, 0.21, 0.15)


def sample_person(seed: int, index: int) -> Person:
    """Draw person `index` of a population; independent of how many others are drawn."""
    rng = np.random.default_rng([PERSON_STREAM, seed, index])
    body, hair, face = _draw_body(rng), _draw_hair(rng), _draw_face(rng)
    outfit = draw_outfit(rng, Material("cotton", face.skin, face.skin_infrared))
    return Person(body, hair, face, outfit, draw_bag(rng, outfit))


def _draw_body(rng: np.random.Generator) -> Body:
    build = rng.normal()
    return Body(
        stature=float(np.clip(rng.normal(1.71, 0.09), 1.48, 1.98)),
        leg=float(rng.uniform(0.475, 0.53)),
        shoulder=float(rng.uniform(0.100, 0.128) + 0.003 * build),
        chest_depth=float(np.clip(0.068 + 0.012 * build, 0.050, 0.100)),
        waist=float(np.clip(0.078 + 0.013 * build, 0.060, 0.115)),
        hip=float(rng.uniform(0.086, 0.104) + 0.006 * build),
        limb=float(np.clip(1.0 + 0.13 * build, 0.78, 1.35)),
        head=float(rng.uniform(0.124, 0.146)),
    )


def _draw_hair(rng: np.random.Generator) -> Hair:
    style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
    lengths = {"bob": (0.05, 0.13), "long": (0.20, 0.48), "ponytail": (0.14, 0.42)}
    low, high = lengths.get(style, (0.0, 0.02))
    volumes = {"afro": (0.035, 0.075), "bald": (0.0, 0.0)}
    thin, thick = volumes.get(style, (0.008, 0.028))
    colour = HAIR_COLOURS[int(rng.integers(len(HAIR_COLOURS)))]
    return Hair(
        style=style,
        length=float(rng.uniform(low, high)),
        volume=float(rng.uniform(thin, thick)),
        fringe=float(rng.uniform(0.14, 0.36)),
        visible=colour,
        infrared=float(rng.uniform(0.22, 0.60)),
    )


def _draw_face(rng: np.random.Generator) -> Face:
    tone = rng.random()
    red, green, blue = (
        float(light + (dark - light) * tone)
        for light, dark in zip(SKIN_LIGHT, SKIN_DARK, strict=True)
    )
    glasses = ("none", "none", "clear", "sun")[int(rng.integers(4))]
    return Face(
        skin=(red, green, blue),
        skin_infrared=float(rng.uniform(0.60, 0.74)),
        glasses=glasses,
        beard=bool(rng.random() < 0.2),
    )
