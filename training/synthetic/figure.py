"""A whole person on a canvas: which part is painted over which, seen from which side.

Owns the painter's order and the body's skin; clothes, head and bags paint themselves.
"""

from dataclasses import dataclass

import numpy as np

from training.synthetic.materials import Material
from training.synthetic.people import Person
from training.synthetic.pose import Gait, Point, Skeleton, View, pose_body
from training.synthetic.raster import Canvas
from training.synthetic.surface import Palette, Surface


@dataclass(frozen=True)
class Figure:
    """Everything the painters share: the person, its joints, the view and where they paint."""

    person: Person
    gait: Gait
    bones: Skeleton
    view: View
    canvas: Canvas
    palette: Palette
    skin: int

    @property
    def stature(self) -> float:
        """Metres."""
        return self.person.body.stature

    @property
    def stride_reach(self) -> float:
        """Metres from the body's axis to the farther ankle, along the walk."""
        return max(abs(float(ankle[2])) for ankle in self.bones.ankles)

    def level(self, hem: float) -> float:
        """Height in metres of a hem given as a fraction of the leg below the hip."""
        return self.bones.hip_height * (1.0 - hem)


def start_figure(person: Person, gait: Gait, view: View, height: int, width: int) -> Figure:
    """Pose a person in front of a camera over an empty canvas."""
    palette = Palette()
    face = person.face
    skin = palette.add(
        Surface(Material("cotton", face.skin, face.skin_infrared), radius=0.1, smooth=True)
    )
    return Figure(
        person=person,
        gait=gait,
        bones=pose_body(person.body, gait, person.outfit.shoes.heel),
        view=view,
        canvas=Canvas(height, width),
        palette=palette,
        skin=skin,
    )


def sides_far_to_near(figure: Figure, points: tuple[Point, Point]) -> list[int]:
    """Order of the two sides (0 left, 1 right), the farther first."""
    near = [figure.view.nearness(point) for point in points]
    return [0, 1] if near[0] <= near[1] else [1, 0]


def point_along(start: Point, middle: Point, end: Point, share: float) -> tuple[int, Point]:
    """Walk `share` (0..1) of a two-bone limb. Returns the bone (0 or 1) and the point (3,)."""
    first = float(np.linalg.norm(middle - start))
    second = float(np.linalg.norm(end - middle))
    walked = share * (first + second)
    if walked <= first:
        return 0, start + (middle - start) * (walked / first)
    return 1, middle + (end - middle) * ((walked - first) / second)
