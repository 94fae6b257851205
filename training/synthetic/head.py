"""The head: neck, face, hair by style, hat, glasses, scarf."""

import numpy as np

from training.synthetic.figure import Figure
from training.synthetic.materials import Material
from training.synthetic.raster import Floats, Mask, Where
from training.synthetic.surface import Surface

DARK = Material("leather", (0.07, 0.06, 0.06), 0.12)
LIPS = Material("cotton", (0.62, 0.34, 0.32), 0.50)
PROFILE = (0.0, 0.06, 0.18, 0.38, 0.58, 0.76, 0.90, 1.0)
"""Levels of a head from crown to chin."""
WIDTHS = (0.12, 0.55, 0.86, 1.0, 0.97, 0.84, 0.62, 0.30)


def _levels(figure: Figure) -> tuple[float, float]:
    """Chin height and head height in metres."""
    tall = figure.person.body.head * figure.stature
    chin = figure.bones.shoulder_height + 0.048 * figure.stature
    return chin, tall


def _head_loft(
    figure: Figure,
    slot: int,
    grow: float,
    *,
    stop: float = 1.0,
    where: Where | None = None,
    lift: float = 0.0,
    shade: float = 1.0,
) -> None:
    """Paint the skull's shape, `grow` metres larger all around, down to level `stop` (0..1)."""
    chin, tall = _levels(figure)
    half = 0.37 * tall
    levels = [level for level in PROFILE if level <= stop]
    heights = [
        chin + tall * (1 - level) + (grow if level < 0.4 else 0.0) + lift for level in levels
    ]
    widths = [half * WIDTHS[i] + grow for i in range(len(levels))]
    depths = [half * 1.22 * WIDTHS[i] + grow for i in range(len(levels))]
    figure.canvas.loft(
        figure.view,
        slot,
        heights,
        widths,
        depths,
        centre=(0.0, 0.012),
        origin=heights[0],
        where=where,
        turn=figure.gait.head_turn,
        shade=shade,
    )


def paint_head(figure: Figure) -> None:
    """Paint neck, face, hair on the skull, glasses, hat and scarf."""
    chin, tall = _levels(figure)
    shoulder = figure.bones.shoulder_height
    low, high = np.array([0.0, shoulder, -0.01]), np.array([0.0, chin + 0.2 * tall, 0.0])
    girth = 0.031 * figure.stature * figure.person.body.limb**0.5
    figure.canvas.limb(figure.view, figure.skin, low, high, (girth, girth), shade=0.82)
    if figure.person.outfit.scarf is not None:
        _paint_scarf(figure, figure.person.outfit.scarf, chin)
    _head_loft(figure, figure.skin, 0.0)
    _paint_face(figure, chin, tall)
    _paint_hair_cap(figure, chin, tall)
    _paint_glasses(figure, chin, tall)
    _paint_hat(figure, chin, tall)


def _paint_scarf(figure: Figure, material: Material, chin: float) -> None:
    slot = figure.palette.add(Surface(material, radius=0.08, fold=1.6))
    size = 0.055 * figure.stature
    figure.canvas.loft(
        figure.view,
        slot,
        [chin + 0.02, chin - 0.01, chin - 0.06, chin - 0.10],
        [size * 0.9, size * 1.15, size * 1.3, size * 0.9],
        [size * 0.9, size * 1.15, size * 1.25, size * 0.9],
        origin=chin,
    )


def _band(chin: float, tall: float, low: float, high: float, half_angle: float) -> Where:
    """The face between two levels (0 chin, 1 crown), within `half_angle` of the front."""

    def where(angle: Floats, height: Floats) -> Mask:
        level = (height - chin) / tall
        inside: Mask = (np.abs(angle) < half_angle) & (level > low) & (level < high)
        return inside

    return where


def _paint_face(figure: Figure, chin: float, tall: float) -> None:
    eyes = figure.palette.add(Surface(DARK, smooth=True))

    def eye_pair(angle: Floats, height: Floats) -> Mask:
        level = (height - chin) / tall
        out = np.abs(np.abs(angle) - 0.42)
        eye: Mask = (out < 0.19) & (np.abs(level - 0.50) < 0.030)
        brow: Mask = (out < 0.25) & (np.abs(level - 0.59) < 0.018)
        return eye | brow

    _head_loft(figure, eyes, 0.0, where=eye_pair)
    lips = figure.palette.add(Surface(LIPS, smooth=True))
    _head_loft(figure, lips, 0.0, where=_band(chin, tall, 0.17, 0.215, 0.34))
    nose_tip = np.array([0.0, chin + 0.36 * tall, 0.012 + 0.37 * 1.22 * tall + 0.008])
    nose_top = np.array([0.0, chin + 0.48 * tall, 0.37 * 1.22 * tall])
    if np.cos(figure.view.yaw) > -0.4:
        figure.canvas.limb(figure.view, figure.skin, nose_top, nose_tip, (0.008, 0.014), shade=0.93)
    if figure.person.face.beard:
        hair = figure.person.hair
        beard = figure.palette.add(
            Surface(Material("wool", hair.visible, hair.infrared), radius=0.08)
        )
        _head_loft(
            figure,
            beard,
            0.005,
            where=lambda angle, height: (
                ((height - chin) / tall < 0.14 + 0.16 * np.abs(angle))
                & (np.abs(angle) < 1.5)
                & ((height - chin) / tall < 0.40)
            ),
        )


def _hair_slot(figure: Figure) -> int:
    hair = figure.person.hair
    return figure.palette.add(
        Surface(Material("wool", hair.visible, hair.infrared), radius=0.08, fold=2.2)
    )


def _paint_hair_cap(figure: Figure, chin: float, tall: float) -> None:
    hair = figure.person.hair
    if hair.style == "bald":
        return
    side = {"short": 0.52, "afro": 0.34, "bob": 0.0, "long": 0.0}.get(hair.style, 0.42)
    nape = {"bob": 0.0, "long": 0.0, "afro": 0.15}.get(hair.style, 0.16)

    def where(angle: Floats, height: Floats) -> Mask:
        level = (height - chin) / tall
        line = np.interp(
            np.abs(angle),
            [0.0, 0.75, 1.0, 1.55, 2.3],
            [
                1.0 - hair.fringe,
                1.0 - hair.fringe - 0.03,
                0.62 if side else 0.5,
                side,
                nape,
            ],
        )
        covered: Mask = level > line
        return covered

    slot = _hair_slot(figure)
    _head_loft(figure, slot, hair.volume, where=where)
    if hair.style == "bun" and figure.person.outfit.hat.kind == "none":
        ball = np.array([0.0, chin + tall * 0.97, -0.45 * tall])
        figure.canvas.limb(figure.view, slot, ball, ball, (0.24 * tall, 0.24 * tall))


def hair_falls_in_front(figure: Figure) -> bool:
    """Whether hair that hangs behind the body is on the camera's side of it."""
    return bool(np.cos(figure.view.yaw) < 0.15)


def paint_hanging_hair(figure: Figure) -> None:
    """Paint the part of long hair that hangs below the head."""
    hair = figure.person.hair
    chin, tall = _levels(figure)
    if hair.style in ("long", "bob"):
        slot = _hair_slot(figure)
        half = 0.36 * tall + hair.volume
        top = chin + 0.62 * tall
        figure.canvas.loft(
            figure.view,
            slot,
            [top, chin + 0.1 * tall, chin - 0.6 * hair.length, chin - hair.length],
            [half * 1.02, half * 1.18, half * 1.22, half * 0.85],
            [half * 0.9, half * 0.85, half * 0.6, half * 0.4],
            centre=(0.0, -0.035),
            origin=top,
            turn=0.5 * figure.gait.head_turn,
            where=lambda angle, height: np.abs(angle) > 0.95,
        )
    elif hair.style == "ponytail":
        slot = _hair_slot(figure)
        root = np.array([0.0, chin + 0.72 * tall, -0.44 * tall])
        tip = root + np.array([0.0, -hair.length - 0.06, -0.05])
        wide = 0.028 + hair.volume * 0.8
        figure.canvas.limb(
            figure.view, slot, root, tip, (wide, wide * 0.55), along=(0.0, 0.4), bulge=0.012
        )


def _paint_glasses(figure: Figure, chin: float, tall: float) -> None:
    glasses = figure.person.face.glasses
    if glasses == "none":
        return
    slot = figure.palette.add(Surface(DARK, smooth=True))
    half = 0.085 if glasses == "sun" else 0.022

    def where(angle: Floats, height: Floats) -> Mask:
        level = (height - chin) / tall
        lens: Mask = (np.abs(angle) < 0.95) & (np.abs(level - 0.49) < half)
        lens &= (np.abs(angle) > 0.10) | (level > 0.49)
        arm: Mask = (np.abs(angle) < 1.7) & (np.abs(level - 0.53) < 0.018)
        ring: Mask = np.abs(np.abs(np.abs(angle) - 0.45) - 0.30) < 0.07
        ring &= np.abs(level - 0.47) < 0.075
        return lens | arm | (ring if glasses == "clear" else lens)

    _head_loft(figure, slot, 0.004, where=where)


def _paint_hat(figure: Figure, chin: float, tall: float) -> None:
    hat, hair = figure.person.outfit.hat, figure.person.hair
    if hat.kind == "none":
        return
    slot = figure.palette.add(Surface(hat.material, radius=0.1, fold=0.6))
    grow = 0.012 + 0.5 * min(hair.volume, 0.04)
    edge = chin + 0.60 * tall
    low = edge - (0.06 * tall if hat.kind == "beanie" else 0.0)
    facing = np.cos(figure.view.yaw + figure.gait.head_turn) > 0.0
    if hat.kind == "cap" and not facing:
        _paint_visor(figure, slot, edge, tall)
    lift = 0.02 * hat.size if hat.kind != "cap" else 0.0
    _head_loft(figure, slot, grow, lift=lift, where=lambda angle, height: height > low)
    if hat.kind == "cap" and facing:
        _paint_visor(figure, slot, edge, tall)
    elif hat.kind == "brim":
        _paint_brim(figure, slot, edge, 0.37 * tall + grow + 0.065 * hat.size)
    elif hat.kind == "beanie":
        fold = figure.palette.add(Surface(hat.material, radius=0.1, fold=2.5))
        high = edge + 0.05 * hat.size
        _head_loft(
            figure,
            fold,
            grow + 0.008,
            shade=0.78,
            where=lambda angle, height: (height > low) & (height < high),
        )


def _paint_visor(figure: Figure, slot: int, edge: float, tall: float) -> None:
    turn = figure.gait.head_turn
    reach = 0.30 * tall + 0.055 * figure.person.outfit.hat.size
    brow = np.array([0.0, edge + 0.02, 0.34 * tall])
    tip = brow + np.array([np.sin(turn) * reach, -0.02, np.cos(turn) * reach])
    figure.canvas.limb(figure.view, slot, brow, tip, (0.050, 0.030), shade=0.8)


def _paint_brim(figure: Figure, slot: int, edge: float, wide: float) -> None:
    figure.canvas.loft(
        figure.view,
        slot,
        [edge + 0.022, edge + 0.008, edge - 0.012],
        [wide * 0.8, wide, wide * 0.97],
        [wide * 0.85, wide * 1.05, wide],
        shade=0.85,
    )
