"""The painter's order: what of a figure lies behind what, from this side."""

from training.synthetic.bags import bag_nearness, paint_bag, paint_straps
from training.synthetic.clothes import (
    paint_arm,
    paint_back_of_coat,
    paint_hips,
    paint_leg,
    paint_torso,
)
from training.synthetic.figure import Figure, sides_far_to_near
from training.synthetic.head import hair_falls_in_front, paint_hanging_hair, paint_head


def paint_person(figure: Figure) -> None:
    """Paint a whole person, the farthest parts first."""
    outfit, near_bag = figure.person.outfit, bag_nearness(figure)
    arms = sides_far_to_near(figure, figure.bones.elbows)
    behind = [s for s in arms if figure.view.nearness(figure.bones.elbows[s]) < -0.06]
    if not hair_falls_in_front(figure):
        paint_hanging_hair(figure)
    if near_bag < 0.0:
        paint_bag(figure)
    for side in behind:
        paint_arm(figure, side)
    paint_back_of_coat(figure)
    for side in sides_far_to_near(figure, figure.bones.ankles):
        paint_leg(figure, side)
    tucked = outfit.top.hem < -0.04
    if tucked:
        paint_torso(figure, outfit.top)
    paint_hips(figure)
    if not tucked:
        paint_torso(figure, outfit.top)
    if outfit.outer is not None:
        paint_torso(figure, outfit.outer)
    paint_straps(figure)
    paint_head(figure)
    for side in arms:
        if side not in behind:
            paint_arm(figure, side)
    if near_bag >= 0.0:
        paint_bag(figure)
    if hair_falls_in_front(figure):
        paint_hanging_hair(figure)
