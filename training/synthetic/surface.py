"""How a painted surface looks: pattern, seams, folds, dye and near-infrared reflectance.

Reads the canvas; knows where on a surface each pixel lies, not which body part it belongs to.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.synthetic.materials import FABRICS, Material, Pattern
from training.synthetic.raster import Canvas, Floats


@dataclass(frozen=True)
class Surface:
    """One paintable surface. `radius` (metres) turns angles into lengths; `length` is its extent.

    Details are structural marks: zip, pockets, cuffs, collar, belt, side-stripe, knees.
    """

    material: Material
    pattern: Pattern | None = None
    radius: float = 0.15
    length: float = 1.0
    details: frozenset[str] = frozenset()
    fold: float = 1.0
    smooth: bool = False


@dataclass
class Palette:
    """The surfaces of one figure; slot n of the canvas is `surfaces[n - 1]`."""

    surfaces: list[Surface] = field(default_factory=list)

    def add(self, surface: Surface) -> int:
        """Add a surface. Returns its slot."""
        self.surfaces.append(surface)
        return len(self.surfaces)


@dataclass(frozen=True)
class Relief:
    """The painted pixels of a canvas, sorted by surface; all arrays are (n,).

    `pixels` are flat indices into the canvas, `counts` the number of pixels of each surface,
    `second` the share of the second yarn 0..1, `tone` brightness, `nx` the normal's sideways part.
    """

    pixels: NDArray[np.int64]
    counts: NDArray[np.int64]
    second: Floats
    tone: Floats
    nx: Floats


def draw_relief(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Relief:
    """Lay patterns, seams and this moment's folds over a painted canvas."""
    phases = rng.uniform(0, 2 * np.pi, (3,))
    slots = canvas.slot.ravel()
    pixels = np.flatnonzero(slots)
    pixels = pixels[np.argsort(slots[pixels], kind="stable")]
    counts = np.bincount(slots[pixels], minlength=len(palette.surfaces) + 1)[1:]
    angle, length = canvas.angle.ravel()[pixels], canvas.along.ravel()[pixels]
    second, tone = np.zeros(len(pixels), np.float32), canvas.shade.ravel()[pixels]
    start = 0
    for surface, count in zip(palette.surfaces, counts.tolist(), strict=True):
        part = slice(start, start + count)
        start += count
        if count == 0 or surface.smooth:
            continue
        across = angle[part] * np.float32(surface.radius)
        share, seam = _marks(surface, angle[part], across, length[part])
        second[part] = share
        tone[part] *= (1.0 - 0.55 * seam) * _folds(surface, across, length[part], phases)
    return Relief(pixels, counts, second, tone, canvas.nx.ravel()[pixels])


def visible_colour(palette: Palette, relief: Relief) -> Floats:
    """Dye of every painted pixel (n, 3) in 0..1, before light."""
    first = np.asarray([s.material.visible for s in palette.surfaces], np.float32)
    step = np.asarray([_second(s).visible for s in palette.surfaces], np.float32) - first
    mixed: Floats = np.repeat(first, relief.counts, axis=0)
    mixed += np.repeat(step, relief.counts, axis=0) * relief.second[:, None]
    return mixed


def infrared_reflectance(palette: Palette, relief: Relief) -> Floats:
    """Near-infrared reflectance of every painted pixel (n,) in 0..1; never reads a dye."""
    first = np.asarray([s.material.infrared for s in palette.surfaces], np.float32)
    step = np.asarray([_second(s).infrared for s in palette.surfaces], np.float32) - first
    mixed: Floats = np.repeat(first, relief.counts)
    mixed += np.repeat(step, relief.counts) * relief.second
    return mixed


def gloss(palette: Palette, relief: Relief) -> Floats:
    """How glossy every painted pixel (n,) is, in 0..1."""
    table = [FABRICS[s.material.fabric].gloss for s in palette.surfaces]
    shine: Floats = np.repeat(np.asarray(table, np.float32), relief.counts)
    return shine


def _second(surface: Surface) -> Material:
    return surface.material if surface.pattern is None else surface.pattern.second


def _folds(surface: Surface, across: Floats, along: Floats, phases: NDArray[np.float64]) -> Floats:
    fabric = FABRICS[surface.material.fabric]
    one, two, three = (np.float32(p) for p in phases)
    bend = np.sin(along * np.float32(7.0) + one) * np.float32(1.6)
    drape = np.sin(across * np.float32(38.0) + bend * 1.3 + two)
    crease = np.sin(along * np.float32(31.0) + across * np.float32(17.0) + bend * 2 + three)
    weave = np.sin(along * np.float32(260.0)) * np.sin(across * np.float32(260.0))
    depth = np.float32(0.09 * fabric.fold * surface.fold)
    folded: Floats = 1.0 + depth * (0.6 * drape + crease * drape) + np.float32(fabric.weave) * weave
    return folded


def _marks(
    surface: Surface, around: Floats, across: Floats, along: Floats
) -> tuple[Floats, Floats]:
    """Share of the second yarn and strength of the seam of each pixel, both 0..1."""
    share, seam = _pattern(surface.pattern, around, across, along)
    details = surface.details
    if "zip" in details:
        np.maximum(seam, _box(across, 0.0, 0.008), out=seam)
    if "collar" in details:
        np.maximum(share, (along < 0.045).astype(np.float32), out=share)
    if "belt" in details:
        belt = _box(along, 0.44, 0.026)
        np.maximum(share, belt, out=share)
    if "cuffs" in details:
        np.maximum(share, (along > surface.length - 0.065).astype(np.float32), out=share)
    if "side-stripe" in details:
        np.maximum(share, (np.abs(np.sin(around)) > 0.86).astype(np.float32), out=share)
    if "knees" in details:
        patch = _box(along, 0.48, 0.075) * (np.cos(around) > 0.2)
        np.maximum(share, patch, out=share)
    for name, x, y, half_x, half_y in POCKETS:
        if name in details:
            np.maximum(
                seam,
                _outline(np.abs(across) - np.float32(x), along - np.float32(y), half_x, half_y),
                out=seam,
            )
    return share, seam


POCKETS: tuple[tuple[str, float, float, float, float], ...] = (
    ("chest-pocket", 0.085, 0.19, 0.040, 0.045),
    ("hip-pockets", 0.105, 0.50, 0.045, 0.055),
    ("pouch", 0.0, 0.42, 0.105, 0.065),
)


def _box(values: Floats, centre: float, half: float) -> Floats:
    box: Floats = (np.abs(values - np.float32(centre)) < half).astype(np.float32)
    return box


def _outline(x: Floats, y: Floats, half_x: float, half_y: float) -> Floats:
    edge = np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)
    line: Floats = (np.abs(edge) < 0.008).astype(np.float32)
    return line


def _pattern(
    pattern: Pattern | None, around: Floats, across: Floats, along: Floats
) -> tuple[Floats, Floats]:
    nothing = np.zeros_like(along)
    if pattern is None or pattern.kind == "plain":
        return nothing, nothing.copy()
    kind, period, duty = pattern.kind, np.float32(pattern.period), pattern.duty
    phase = np.float32(pattern.offset)
    if kind in ("quilt", "cable"):
        lines = along if kind == "quilt" else across
        return nothing, np.maximum(0.0, np.cos((lines / period + phase) * 2 * np.pi) - 0.6) * 2.2
    if kind == "stripes":
        cos, sin = np.float32(np.cos(pattern.angle)), np.float32(np.sin(pattern.angle))
        turns = ((along * cos + across * sin) / period + phase).astype(np.float32)
        share = _duty(turns, duty)
    elif kind == "check":
        share = 0.5 * (_duty(along / period + phase, duty) + _duty(across / period, duty))
    elif kind == "dots":
        x, y = _cell(across / period), _cell(along / period + phase)
        share = (x * x + y * y < (0.42 * duty + 0.12) ** 2 * 1.0).astype(np.float32)
    elif kind == "blobs":
        wave = np.sin(across / period * 3.1 + phase * 9) + np.sin(along / period * 2.7 + phase * 5)
        wave += np.sin((across + along) / period * 1.9 + phase * 13)
        share = (wave > 1.2 - 2.0 * duty).astype(np.float32)
    else:
        share = _panel(pattern, around, across, along)
    return share, nothing


def _panel(pattern: Pattern, around: Floats, across: Floats, along: Floats) -> Floats:
    """One patch instead of a repeat: colour block, band, side panels, logo."""
    depth = np.float32(0.10 + 0.32 * pattern.offset)
    if pattern.kind == "block":
        inside = along < depth
    elif pattern.kind == "band":
        inside = np.abs(along - depth) < 0.35 * pattern.period + 0.015
    elif pattern.kind == "sides":
        inside = np.abs(np.cos(around)) < 0.35 + 0.6 * pattern.duty
    else:  # a logo: front and back, so that it identifies from both
        half = 0.03 + 0.10 * pattern.duty
        high = 0.04 + 0.35 * pattern.period
        from_front = np.minimum(np.abs(across), np.abs(np.abs(across) - np.float32(0.15 * np.pi)))
        inside = (from_front < half) & (np.abs(along - 0.24) < high)
    share: Floats = inside.astype(np.float32)
    return share


def _duty(turns: Floats, duty: float) -> Floats:
    share: Floats = ((turns - np.floor(turns)) < duty).astype(np.float32)
    return share


def _cell(turns: Floats) -> Floats:
    cell: Floats = turns - np.floor(turns) - np.float32(0.5)
    return cell
