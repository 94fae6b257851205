"""Bags: a backpack and its straps, shoulder, cross-body and hand bags."""

import numpy as np

from training.synthetic.clothes import torso_profile
from training.synthetic.figure import Figure
from training.synthetic.pose import Point
from training.synthetic.raster import Floats, Mask, Where
from training.synthetic.surface import Surface


def bag_nearness(figure: Figure) -> float:
    """Metres of the bag towards the camera from the body's axis."""
    return figure.view.nearness(_bag_centre(figure))


def _bag_centre(figure: Figure) -> Point:
    person, bones = figure.person, figure.bones
    bag, body = person.bag, person.body
    if bag.kind == "backpack":
        behind = body.chest_depth * body.stature + 0.085
        return np.array([0.0, bones.shoulder_height - 0.03, -behind])
    wide = max(body.hip, body.shoulder * 0.8) * body.stature + 0.035
    if bag.kind == "handbag":
        wrist = bones.wrists[0 if bag.side > 0 else 1]
        held: Point = wrist + np.array([0.0, -0.16, 0.0])
        return held
    return np.array([bag.side * wide, bones.hip_height + 0.10, 0.0])


def paint_bag(figure: Figure) -> None:
    """Paint the bag itself."""
    bag = figure.person.bag
    if bag.kind == "none":
        return
    centre = _bag_centre(figure)
    slot = figure.palette.add(Surface(bag.material, radius=0.15, fold=0.5))
    half = bag.width / 2
    if bag.kind == "backpack":
        top = float(centre[1])
        _paint_box(figure, slot, centre, top, bag.height, (half, 0.10))
        pocket = figure.palette.add(Surface(bag.strap_material, radius=0.15, fold=0.5))
        low = centre + np.array([0.0, 0.0, -0.035])
        _paint_box(
            figure, pocket, low, top - 0.5 * bag.height, 0.42 * bag.height, (half * 0.75, 0.08)
        )
        return
    top = float(centre[1]) + (0.06 if bag.kind == "handbag" else 0.0)
    # The broad side of a side bag faces outwards: narrow from the front, wide from the side.
    _paint_box(figure, slot, centre, top, bag.height, (0.05, half))
    if bag.kind == "handbag":
        strap = figure.palette.add(Surface(bag.strap_material, radius=0.05, smooth=True))
        wrist = centre + np.array([0.0, 0.14, 0.0])
        for shift in (-0.5, 0.5):
            corner = centre + np.array([0.0, 0.05, shift * half])
            figure.canvas.limb(figure.view, strap, wrist, corner, (0.009, 0.009))


def _paint_box(
    figure: Figure, slot: int, centre: Point, top: float, tall: float, half: tuple[float, float]
) -> None:
    figure.canvas.loft(
        figure.view,
        slot,
        [top + 0.015, top, top - 0.10 * tall, top - 0.9 * tall, top - tall],
        [half[0] * s for s in (0.55, 0.85, 1.0, 1.0, 0.86)],
        [half[1] * s for s in (0.55, 0.85, 1.0, 1.0, 0.86)],
        centre=(float(centre[0]), float(centre[2])),
        origin=top,
    )


def paint_straps(figure: Figure) -> None:
    """Paint what a bag leaves on the chest and back: straps over the outermost garment."""
    person, bones = figure.person, figure.bones
    bag, body = person.bag, person.body
    if bag.kind in ("none", "handbag"):
        return
    garment = person.outfit.outer or person.outfit.top
    heights, widths, depths = torso_profile(figure, garment)
    waist = bones.hip_height - 0.02
    keep = [i for i, height in enumerate(heights) if height > waist]
    slot = figure.palette.add(Surface(bag.strap_material, radius=0.1, fold=0.2))
    width = body.shoulder * body.stature
    top = bones.shoulder_height
    where = {
        "backpack": _two_straps(width, bag.strap, top - 0.27),
        "cross-body": _cross_strap(width, bag.strap, bag.side, top, top - 0.50),
        "shoulder": _side_strap(width, bag.strap, bag.side),
    }[bag.kind]
    figure.canvas.loft(
        figure.view,
        slot,
        [heights[i] + 0.008 for i in keep] + [waist],
        [widths[i] + 0.008 for i in keep] + [widths[keep[-1]] + 0.008],
        [depths[i] + 0.008 for i in keep] + [depths[keep[-1]] + 0.008],
        origin=heights[0],
        where=where,
    )


def _two_straps(width: float, strap: float, low: float) -> Where:
    def where(angle: Floats, height: Floats) -> Mask:
        across = width * np.abs(np.sin(angle))
        on: Mask = (np.abs(across - 0.58 * width) < strap * 0.55) & (np.cos(angle) > 0.0)
        return on & (height > low)

    return where


def _cross_strap(width: float, strap: float, side: int, top: float, low: float) -> Where:
    def where(angle: Floats, height: Floats) -> Mask:
        across = width * np.sin(angle) * side
        line = -0.55 * width + (top - height) * (1.45 * width / (top - low))
        on: Mask = np.abs(across - line) < strap * 0.75
        return on

    return where


def _side_strap(width: float, strap: float, side: int) -> Where:
    def where(angle: Floats, height: Floats) -> Mask:
        on: Mask = np.abs(width * np.sin(angle) * side - 0.74 * width) < strap * 0.5
        return on

    return where
