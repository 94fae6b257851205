"""How a body stands in front of a camera: gait, joints and projection. Nothing here is identity.

The body's frame, in metres: x to the person's left, y up from the floor, z forward.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthetic.people import Body

Point = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Orthographic projection: yaw 0 faces the camera; `scale` in pixels a metre."""

    yaw: float
    pitch: float
    scale: float
    centre_x: float
    floor_y: float

    @property
    def cos_pitch(self) -> float:
        return float(np.cos(self.pitch))

    @property
    def sin_pitch(self) -> float:
        return float(np.sin(self.pitch))

    def relative(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Turn a point: metres right of the axis, height, metres towards the camera."""
        cos, sin = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return x * cos + z * sin, y, z * cos - x * sin

    def pixel(self, point: Point) -> tuple[float, float]:
        """Project a point to (column, row)."""
        right, up, near = self.relative(float(point[0]), float(point[1]), float(point[2]))
        row = self.floor_y - (up * self.cos_pitch - near * self.sin_pitch) * self.scale
        return self.centre_x + right * self.scale, row

    def nearness(self, point: Point) -> float:
        """Metres towards the camera from the body's axis."""
        return self.relative(float(point[0]), 0.0, float(point[2]))[2]


@dataclass(frozen=True)
class Gait:
    """One moment of a walk: angles in radians, `phase` of the cycle."""

    phase: float
    stride: float
    swing: float
    elbow: float
    spread: float
    head_turn: float


@dataclass(frozen=True)
class Skeleton:
    """Joints (3,) in metres. Pairs are (left, right)."""

    hip_height: float
    shoulder_height: float
    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]
    toes: tuple[Point, Point]
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    wrists: tuple[Point, Point]


def draw_gait(rng: np.random.Generator) -> Gait:
    """Draw a moment of a walk; one in five stands."""
    walking = rng.random() < 0.8
    return Gait(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.12, 0.40)) if walking else 0.03,
        swing=float(rng.uniform(0.1, 0.42)) if walking else 0.05,
        elbow=float(rng.uniform(0.1, 0.6)),
        spread=float(rng.uniform(0.08, 0.2)),
        head_turn=float(rng.normal(0, 0.25)),
    )


def pose_body(body: Body, gait: Gait, heel: float) -> Skeleton:
    """Place the joints; the lower foot stands on the floor."""
    stature = body.stature
    hip = body.leg * stature
    ankle_height = 0.045 * stature + heel
    thigh = shank = 0.5 * (hip + heel - ankle_height)
    legs = [_leg(body, gait, side, hip, thigh, shank) for side in (1, -1)]
    drop = min(leg[2][1] for leg in legs) - ankle_height
    for leg in legs:
        for joint in leg:
            joint[1] -= drop
    hip_height = float(legs[0][0][1])
    shoulder_height = hip_height + (0.815 - body.leg) * stature
    arms = [_arm(body, gait, side, shoulder_height) for side in (1, -1)]
    return Skeleton(
        hip_height=hip_height,
        shoulder_height=shoulder_height,
        hips=(legs[0][0], legs[1][0]),
        knees=(legs[0][1], legs[1][1]),
        ankles=(legs[0][2], legs[1][2]),
        toes=(_toe(body, legs[0], heel), _toe(body, legs[1], heel)),
        shoulders=(arms[0][0], arms[1][0]),
        elbows=(arms[0][1], arms[1][1]),
        wrists=(arms[0][2], arms[1][2]),
    )


def _leg(
    body: Body, gait: Gait, side: int, hip: float, thigh: float, shank: float
) -> tuple[Point, Point, Point]:
    phase = gait.phase if side > 0 else gait.phase + np.pi
    forward = gait.stride * np.sin(phase)
    bend = 0.05 + 1.5 * gait.stride * max(0.0, float(np.cos(phase))) ** 2
    lateral = side * 0.58 * body.hip * body.stature
    start = np.array([lateral, hip, 0.0])
    knee = start + thigh * np.array([-0.03 * side, -np.cos(forward), np.sin(forward)])
    lower = forward - bend
    ankle = knee + shank * np.array([-0.03 * side, -np.cos(lower), np.sin(lower)])
    return start, knee, ankle


def _toe(body: Body, leg: tuple[Point, Point, Point], heel: float) -> Point:
    shin = leg[2] - leg[1]
    tilt = 0.5 * float(np.arctan2(shin[2], -shin[1]))
    foot = 0.105 * body.stature
    down = 0.022 * body.stature + heel
    ahead = np.array([0.0, np.sin(tilt) * foot - down * np.cos(tilt), np.cos(tilt) * foot])
    return np.asarray(leg[2] + ahead + np.array([0.015 * np.sign(leg[0][0]), 0.0, 0.0]))


def _arm(body: Body, gait: Gait, side: int, shoulder: float) -> tuple[Point, Point, Point]:
    phase = gait.phase if side < 0 else gait.phase + np.pi
    forward = gait.swing * np.sin(phase)
    upper, fore = 0.172 * body.stature, 0.150 * body.stature
    inset = (body.shoulder - 0.017 * body.limb) * body.stature
    start = np.array([side * inset, shoulder - 0.024 * body.stature, 0.0])
    elbow = start + upper * np.array([side * gait.spread, -np.cos(forward), np.sin(forward)])
    lower = forward + gait.elbow
    wrist = elbow + fore * np.array([side * 0.02, -np.cos(lower), np.sin(lower)])
    return start, elbow, wrist
