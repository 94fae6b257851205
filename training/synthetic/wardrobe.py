"""What a rendered person wears and carries, with continuous lengths.

Owns the draw of outfits and bags. Lengths of hems: a fraction of the leg below the hip joint
(0 the hip, 1 the ground, negative above the hip); of sleeves: a fraction of the arm.
"""

from dataclasses import dataclass

import numpy as np

from training.synthetic.materials import Material, Pattern, draw_material, draw_pattern


@dataclass(frozen=True)
class Garment:
    """One piece of clothing. `ease` (metres) is how far it stands off the body.

    `sleeve` 0 is sleeveless; `opening` (radians) is the half angle that an open coat leaves free;
    `flare` widens it towards the hem; `details` are structural: zip, pockets, hood, collar, cuffs.
    """

    kind: str
    hem: float
    sleeve: float
    ease: float
    flare: float
    opening: float
    details: frozenset[str]
    material: Material
    sleeve_material: Material
    pattern: Pattern


@dataclass(frozen=True)
class Shoes:
    """Shoes: `shaft` and `heel` in metres."""

    kind: str
    shaft: float
    heel: float
    sole: float
    material: Material
    sole_material: Material


@dataclass(frozen=True)
class Hat:
    """A hat, or kind `none`. `size` scales it."""

    kind: str
    size: float
    material: Material


@dataclass(frozen=True)
class Bag:
    """A bag, or kind `none`. `side` is +1 for the person's left; sizes in metres."""

    kind: str
    side: int
    width: float
    height: float
    strap: float
    material: Material
    strap_material: Material


@dataclass(frozen=True)
class Outfit:
    """All clothes. `outer` may be missing; `scarf` is None or its material."""

    top: Garment
    outer: Garment | None
    bottom: Garment
    shoes: Shoes
    hat: Hat
    scarf: Material | None


def draw_outfit(rng: np.random.Generator, skin: Material) -> Outfit:
    """Draw a whole outfit for somebody with this skin."""
    top = _draw_top(rng, skin)
    outer = _draw_outer(rng, skin, top) if rng.random() < 0.45 else None
    shown = top if outer is None else outer
    bottom = _draw_bottom(rng, skin, top, shown)
    return Outfit(
        top=top,
        outer=outer,
        bottom=bottom,
        shoes=_draw_shoes(rng, bottom, skin),
        hat=_draw_hat(rng, skin),
        scarf=draw_material(rng, ("wool", "cotton"), [skin, shown.material])
        if rng.random() < 0.2
        else None,
    )


def draw_bag(rng: np.random.Generator, outfit: Outfit) -> Bag:
    """Draw a bag to carry with an outfit; one person in five has none."""
    worn = (outfit.outer or outfit.top).material
    kinds = ("backpack", "shoulder", "cross-body", "handbag", "none")
    kind = kinds[int(rng.integers(len(kinds)))]
    low, high = (0.26, 0.36) if kind == "backpack" else (0.20, 0.38)
    return Bag(
        kind=kind,
        side=1 if rng.random() < 0.5 else -1,
        width=float(rng.uniform(low, high)),
        height=float(rng.uniform(0.36, 0.52) if kind == "backpack" else rng.uniform(0.18, 0.34)),
        strap=float(rng.uniform(0.045, 0.085)),
        material=draw_material(rng, ("nylon", "leather", "canvas"), [worn]),
        strap_material=draw_material(rng, ("nylon", "leather", "canvas"), [worn]),
    )


def _details(rng: np.random.Generator, odds: dict[str, float]) -> frozenset[str]:
    return frozenset([name for name, odd in odds.items() if rng.random() < odd])


def _draw_top(rng: np.random.Generator, skin: Material) -> Garment:
    kind = ("t-shirt", "t-shirt", "shirt", "hoodie", "vest-top")[int(rng.integers(5))]
    sleeve = {
        "t-shirt": rng.uniform(0.22, 0.50),
        "shirt": rng.uniform(0.55, 1.0),
        "hoodie": rng.uniform(0.85, 1.0),
        "vest-top": 0.0,
    }[kind]
    odds = {
        "t-shirt": {"cuffs": 0.3, "collar": 0.25},
        "shirt": {"zip": 0.8, "collar": 1.0, "chest-pocket": 0.5, "cuffs": 0.3},
        "hoodie": {"hood": 1.0, "pouch": 0.7, "zip": 0.4, "cuffs": 0.5},
        "vest-top": {"collar": 0.0},
    }[kind]
    material = draw_material(rng, ("cotton", "polyester", "linen", "wool"), [skin])
    contrast = rng.random() < 0.25
    other = draw_material(rng, ("cotton", "polyester", "linen", "wool"), [skin, material])
    return Garment(
        kind=kind,
        hem=float(rng.uniform(-0.16, 0.20)),
        sleeve=float(sleeve),
        ease=float(rng.uniform(0.006, 0.030)),
        flare=float(rng.uniform(-0.05, 0.12)),
        opening=0.0,
        details=_details(rng, odds),
        material=material,
        sleeve_material=other if contrast else material,
        pattern=draw_pattern(rng, material, plain=0.15),
    )


def _draw_outer(rng: np.random.Generator, skin: Material, top: Garment) -> Garment:
    kind = ("jacket", "jacket", "coat", "coat", "gilet")[int(rng.integers(5))]
    hem = rng.uniform(0.24, 0.80) if kind == "coat" else rng.uniform(-0.10, 0.20)
    fabrics = ("wool", "nylon", "leather", "denim", "polyester")
    material = draw_material(rng, fabrics, [skin, top.material])
    contrast = rng.random() < 0.2
    other = draw_material(rng, fabrics, [skin, material])
    odds = {"zip": 0.5, "collar": 0.5, "hood": 0.35, "hip-pockets": 0.6, "cuffs": 0.3, "belt": 0.2}
    return Garment(
        kind=kind,
        hem=float(hem),
        sleeve=0.0 if kind == "gilet" else float(rng.uniform(0.88, 1.0)),
        ease=float(rng.uniform(0.022, 0.050)),
        flare=float(rng.uniform(0.0, 0.35)),
        opening=float(rng.uniform(0.25, 0.75)) if rng.random() < 0.5 else 0.0,
        details=_details(rng, odds),
        material=material,
        sleeve_material=other if contrast else material,
        pattern=draw_pattern(rng, material, plain=0.25),
    )


def _draw_bottom(rng: np.random.Generator, skin: Material, top: Garment, shown: Garment) -> Garment:
    kinds = ("trousers", "trousers", "trousers", "shorts", "skirt", "dress")
    kind = kinds[int(rng.integers(len(kinds)))]
    low, high = {
        "trousers": (0.68, 0.97),
        "shorts": (0.24, 0.56),
        "skirt": (0.26, 0.92),
        "dress": (0.26, 0.92),
    }[kind]
    fabrics = ("denim", "cotton", "polyester", "wool", "linen")
    own = draw_material(rng, fabrics, [skin, shown.material])
    own_pattern = draw_pattern(rng, own, plain=0.35)
    dress = kind == "dress"
    return Garment(
        kind="skirt" if dress else kind,
        hem=float(rng.uniform(low, high)),
        sleeve=0.0,
        ease=float(rng.uniform(0.004, 0.045)),
        flare=float(rng.uniform(-0.15, 0.9)),
        opening=0.0,
        details=_details(rng, {"cuffs": 0.25, "side-stripe": 0.2, "knees": 0.12}),
        material=top.material if dress else own,
        sleeve_material=top.material if dress else own,
        pattern=top.pattern if dress else own_pattern,
    )


def _draw_shoes(rng: np.random.Generator, bottom: Garment, skin: Material) -> Shoes:
    kind = ("sneaker", "sneaker", "boots", "heels", "flats")[int(rng.integers(5))]
    return Shoes(
        kind=kind,
        shaft=float(rng.uniform(0.10, 0.40)) if kind == "boots" else 0.0,
        heel=float(rng.uniform(0.05, 0.09)) if kind == "heels" else 0.0,
        sole=float(rng.uniform(0.012, 0.045)),
        material=draw_material(rng, ("leather", "canvas", "polyester"), [bottom.material, skin]),
        sole_material=draw_material(rng, ("canvas", "polyester")),
    )


def _draw_hat(rng: np.random.Generator, skin: Material) -> Hat:
    kind = ("cap", "beanie", "brim")[int(rng.integers(3))] if rng.random() < 0.5 else "none"
    return Hat(
        kind, float(rng.uniform(0.85, 1.25)), draw_material(rng, ("cotton", "wool", "nylon"))
    )
