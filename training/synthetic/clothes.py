"""Clothes and the limbs inside them: legs, hips, torso, sleeves, coats.

Each function paints one piece onto a figure's canvas; the order is `compose`'s.
"""

import numpy as np

from training.synthetic.figure import Figure, point_along
from training.synthetic.materials import Material
from training.synthetic.pose import Point
from training.synthetic.raster import Floats, Mask, Where
from training.synthetic.surface import Surface
from training.synthetic.wardrobe import Garment


def paint_leg(figure: Figure, side: int) -> None:
    """Paint one leg: skin, trouser leg, shoe."""
    bones, body = figure.bones, figure.person.body
    size = body.limb * body.stature
    hip, knee, ankle = bones.hips[side], bones.knees[side], bones.ankles[side]
    thigh, calf, low = 0.046 * size, 0.031 * size, 0.020 * size
    figure.canvas.limb(figure.view, figure.skin, hip, knee, (thigh, calf))
    figure.canvas.limb(figure.view, figure.skin, knee, ankle, (calf, low), bulge=0.005 * size)
    _paint_shoe(figure, side)
    bottom = figure.person.outfit.bottom
    if bottom.kind in ("trousers", "shorts"):
        widen = 1.0 + 4.0 * bottom.ease
        hem = low + 0.012 + bottom.ease + 0.028 * max(bottom.flare, -0.1)
        _paint_tube(
            figure,
            bottom,
            (hip, knee, ankle),
            min(bottom.hem, 0.985),
            (thigh * widen + 0.004, calf * 1.05 + 0.006 + 0.7 * bottom.ease, hem),
        )


def _paint_tube(
    figure: Figure,
    garment: Garment,
    joints: tuple[Point, Point, Point],
    share: float,
    radii: tuple[float, float, float],
) -> None:
    """Paint cloth around the first `share` of a two-bone limb."""
    start, middle, end = joints
    bone, stop = point_along(start, middle, end, share)
    length = share * float(np.linalg.norm(middle - start) + np.linalg.norm(end - middle))
    slot = figure.palette.add(_tube_surface(garment, length))
    canvas, view = figure.canvas, figure.view
    first = float(np.linalg.norm(middle - start))
    if bone == 0:
        part = length / first
        edge = radii[0] + (radii[1] - radii[0]) * part
        edge += 0.4 * garment.ease
        canvas.limb(
            view,
            slot,
            start,
            stop,
            (radii[0], edge),
            along=(0.0, length),
            flat_end=True,
            blend=True,
        )
        return
    canvas.limb(view, slot, start, middle, (radii[0], radii[1]), along=(0.0, first), blend=True)
    part = (length - first) / max(float(np.linalg.norm(end - middle)), 1e-6)
    edge = radii[1] + (radii[2] - radii[1]) * part
    canvas.limb(view, slot, middle, stop, (radii[1], edge), along=(first, length), flat_end=True)


def _tube_surface(garment: Garment, length: float) -> Surface:
    """A sleeve or trouser leg; in another material than the trunk it is plain."""
    return Surface(
        garment.sleeve_material,
        garment.pattern if garment.sleeve_material is garment.material else None,
        radius=0.075,
        length=length,
        details=garment.details & {"cuffs", "side-stripe", "knees"},
    )


def _paint_shoe(figure: Figure, side: int) -> None:
    shoes, canvas, view = figure.person.outfit.shoes, figure.canvas, figure.view
    ankle, toe, knee = figure.bones.ankles[side], figure.bones.toes[side], figure.bones.knees[side]
    add = figure.palette.add
    upper = add(Surface(shoes.material, radius=0.05, fold=0.4))
    sole = add(Surface(shoes.sole_material, radius=0.05, fold=0.0))
    heel_at = ankle + (ankle - toe) * np.array([0.25, 0.0, 0.25])
    under = np.array([0.0, -0.018 * figure.stature, 0.0])
    heel_at = heel_at + under - np.array([0.0, 0.6 * shoes.heel, 0.0])
    drop = np.array([0.0, -shoes.sole * 0.6, 0.0])
    canvas.limb(view, sole, heel_at + drop, toe + drop, (0.036, 0.036))
    canvas.limb(view, upper, heel_at, toe, (0.040, 0.036))
    canvas.limb(view, upper, ankle, toe, (0.042, 0.030))
    if shoes.kind in ("heels", "flats"):
        canvas.limb(view, figure.skin, ankle, ankle + (toe - ankle) * 0.35, (0.034, 0.030))
    if shoes.shaft > 0.0:
        share = min(shoes.shaft / float(np.linalg.norm(knee - ankle)), 0.95)
        width = 0.040 + 0.10 * share * 0.2 * figure.person.body.limb
        canvas.limb(view, upper, ankle + (knee - ankle) * share, ankle, (width + 0.012, 0.042))


def paint_hips(figure: Figure) -> None:
    """Paint the seat of trousers and shorts, or the whole skirt."""
    body, bottom, bones = figure.person.body, figure.person.outfit.bottom, figure.bones
    stature = body.stature
    waist_at = bones.hip_height + 0.075 * stature
    wide = body.hip * stature + bottom.ease * 0.5 + 0.006
    deep = (body.chest_depth * 0.92) * stature + 0.012
    narrow = max(body.waist, body.hip * 0.86) * stature
    slot = figure.palette.add(
        Surface(bottom.material, bottom.pattern, details=bottom.details & {"cuffs"})
    )
    if bottom.kind == "skirt":
        _paint_skirt(figure, slot, waist_at, (narrow, wide, deep))
        return
    crotch = bones.hip_height - 0.055 * stature
    figure.canvas.loft(
        figure.view,
        slot,
        [waist_at, bones.hip_height, crotch],
        [narrow, wide, wide * 0.93],
        [deep * 0.9, deep, deep * 0.85],
        origin=waist_at,
    )


def _paint_skirt(
    figure: Figure, slot: int, waist_at: float, sizes: tuple[float, float, float]
) -> None:
    narrow, wide, deep = sizes
    bottom, hip = figure.person.outfit.bottom, figure.bones.hip_height
    hem = figure.level(bottom.hem)
    spread = 0.30 * max(bottom.flare, -0.08) * (hip - hem)
    reach = figure.stride_reach * 0.75 * bottom.hem
    low_wide, low_deep = wide * 0.97 + spread, max(deep * 0.95 + spread, deep * 0.6 + reach)
    figure.canvas.darken(figure.view, hem, low_wide * 1.1, 0.09)
    figure.canvas.loft(
        figure.view,
        slot,
        [waist_at, hip, hem],
        [narrow, wide, low_wide],
        [deep * 0.9, deep, low_deep],
        origin=waist_at,
    )


def torso_profile(figure: Figure, garment: Garment) -> tuple[list[float], list[float], list[float]]:
    """Heights, half widths and half depths (metres) of a top from the neck to its hem."""
    body, bones = figure.person.body, figure.bones
    stature, ease = body.stature, garment.ease
    top, hip, hem = bones.shoulder_height, bones.hip_height, figure.level(garment.hem)
    shoulder, chest = body.shoulder * stature, body.chest_depth * stature
    waist = body.waist * stature
    heights = [top + 0.030 * stature, top + 0.016 * stature, top - 0.02, top - 0.16 * stature * 0.6]
    widths = [0.38 * shoulder, 0.72 * shoulder, shoulder * 1.04 + ease, shoulder * 0.93 + ease]
    depths = [0.5 * chest, 0.7 * chest, 0.95 * chest + ease * 0.6, chest * 1.08 + ease]
    waist_at = hip + 0.09 * stature
    loose = min(ease * 18.0, 0.8)
    middle = waist + (widths[3] - waist) * loose * 0.6 + ease
    low = max(body.hip * stature, waist * 0.98) + ease
    for height, width, depth in (
        (waist_at, middle, chest * 0.95 + ease),
        (hip, low, chest * 0.98 + ease),
    ):
        if height > hem + 0.02:
            heights.append(height)
            widths.append(width)
            depths.append(depth)
    if hem < hip:
        spread = 0.22 * garment.flare * (hip - hem)
        reach = figure.stride_reach * 0.62 * max(garment.hem, 0.0)
        heights.append(hem)
        widths.append(low + spread)
        depths.append(max(chest + ease + spread, chest * 0.7 + reach))
    else:
        heights.append(hem)
        widths.append(widths[-1] + (low - widths[-1]) * 0.5)
        depths.append(depths[-1])
    return heights, widths, depths


def paint_back_of_coat(figure: Figure) -> None:
    """Paint the inside of an open coat, behind the legs."""
    outer = figure.person.outfit.outer
    if outer is None or outer.opening == 0.0:
        return
    heights, widths, depths = torso_profile(figure, outer)
    dark = tuple(0.35 * c for c in outer.material.visible)
    lining = Material(outer.material.fabric, (dark[0], dark[1], dark[2]), 0.3)
    slot = figure.palette.add(Surface(lining, smooth=True))
    figure.canvas.loft(figure.view, slot, heights, widths, depths, shade=0.6)


def paint_torso(figure: Figure, garment: Garment) -> None:
    """Paint the trunk of a top, jacket or coat, with the shadow of its hem below."""
    heights, widths, depths = torso_profile(figure, garment)
    slot = figure.palette.add(
        Surface(
            garment.material,
            garment.pattern,
            length=heights[0] - heights[-1],
            details=garment.details - {"cuffs", "side-stripe", "knees"},
        )
    )
    where = open_front(garment.opening) if garment.opening else None
    figure.canvas.darken(figure.view, heights[-1], widths[-1], 0.05)
    figure.canvas.loft(figure.view, slot, heights, widths, depths, origin=heights[0], where=where)
    if "hood" in garment.details:
        _paint_hood(figure, slot, heights[0])


def open_front(half_angle: float) -> Where:
    """Everything but the front within `half_angle` radians."""

    def where(angle: Floats, height: Floats) -> Mask:
        covered: Mask = np.abs(angle) > half_angle
        return covered

    return where


def _paint_hood(figure: Figure, slot: int, neck: float) -> None:
    size = 0.052 * figure.stature
    figure.canvas.loft(
        figure.view,
        slot,
        [neck + 0.035, neck + 0.01, neck - 0.04, neck - 0.10],
        [size * 1.2, size * 1.7, size * 1.7, size * 0.7],
        [size * 0.7, size * 1.1, size, size * 0.3],
        centre=(0.0, -0.055),
        origin=neck,
        where=lambda angle, height: np.abs(angle) > 0.75,
        shade=0.9,
    )


def paint_arm(figure: Figure, side: int) -> None:
    """Paint one arm: skin, hand, then the sleeves from the inside out."""
    bones, body, outfit = figure.bones, figure.person.body, figure.person.outfit
    size = body.limb * body.stature
    joints = (bones.shoulders[side], bones.elbows[side], bones.wrists[side])
    upper, elbow, wrist = 0.028 * size, 0.021 * size, 0.015 * size
    canvas, view = figure.canvas, figure.view
    canvas.limb(view, figure.skin, joints[0], joints[1], (upper, elbow), blend=True)
    canvas.limb(view, figure.skin, joints[1], joints[2], (elbow, wrist))
    hand = joints[2] + (joints[2] - joints[1]) * 0.33
    canvas.limb(view, figure.skin, joints[2], hand, (0.026, 0.028))
    for garment in (outfit.top, outfit.outer):
        if garment is None or garment.sleeve == 0.0:
            continue
        loose = garment.ease + 0.004
        radii = (upper + loose * 0.7 + 0.004, elbow + loose + 0.004, wrist + loose + 0.006)
        _paint_tube(figure, garment, joints, garment.sleeve, radii)
