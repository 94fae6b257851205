"""The canvas a figure is painted on: per pixel, which surface is seen and where on it.

Two shapes: lofts (stacks of ellipses around a vertical axis: torso, skirt, head) and limbs
(tapered capsules). Knows nothing of people, colours or light; those read the canvas afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthetic.pose import View

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Where = Callable[[Floats, Floats], Mask]
"""Which part of a surface exists: (angle around the body in radians, height in metres) -> mask."""


class Canvas:
    """Per pixel (height, width): `slot` (0 nothing), normal `nx`, `angle`, `along`, `shade`.

    `angle` is radians around the part from its front; `along` metres from the part's origin;
    `shade` multiplies brightness (contact shadows).
    """

    def __init__(self, height: int, width: int) -> None:
        self.slot: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
        self.nx: Floats = np.zeros((height, width), np.float32)
        self.angle: Floats = np.zeros((height, width), np.float32)
        self.along: Floats = np.zeros((height, width), np.float32)
        self.shade: Floats = np.ones((height, width), np.float32)

    def _window(self, x0: float, x1: float, y0: float, y1: float) -> tuple[slice, slice] | None:
        height, width = self.slot.shape
        left, right = max(int(x0), 0), min(int(x1) + 2, width)
        top, bottom = max(int(y0), 0), min(int(y1) + 2, height)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)

    def _paint(
        self,
        window: tuple[slice, slice],
        inside: Mask,
        slot: int,
        nx: Floats,
        angle: Floats,
        along: Floats,
        shade: float = 1.0,
    ) -> None:
        np.copyto(self.slot[window], np.uint8(slot), where=inside)
        np.copyto(self.nx[window], nx, where=inside)
        np.copyto(self.angle[window], angle, where=inside)
        np.copyto(self.along[window], along, where=inside)
        np.copyto(self.shade[window], np.float32(shade), where=inside)

    def loft(
        self,
        view: View,
        slot: int,
        heights: list[float],
        half_widths: list[float],
        half_depths: list[float],
        *,
        centre: tuple[float, float] = (0.0, 0.0),
        origin: float = 0.0,
        where: Where | None = None,
        shade: float = 1.0,
        turn: float = 0.0,
    ) -> None:
        """Paint a stack of ellipses: heights (metres, falling), half widths and depths (metres).

        `centre` is (x, z) in the body's frame, `turn` an extra yaw (a head), `along` is measured
        down from `origin`.
        """
        stack = _project_stack(view, heights, half_widths, half_depths, centre, turn)
        middle, base, knots = stack.middle, stack.base, stack.knots
        reach = float(stack.width.max())
        window = self._window(
            middle - reach, middle + reach, float(knots[0]), float(knots[-1] + stack.drop[-1])
        )
        if window is None:
            return
        rows = np.arange(window[0].start, window[0].stop)
        columns = np.arange(window[1].start, window[1].stop)
        row_width = np.interp(rows, knots, stack.width)
        row_drop = np.interp(rows, knots, stack.drop)
        nx = ((columns - middle)[None, :] / np.maximum(row_width, 1e-3)[:, None]).astype(np.float32)
        inside = np.abs(nx) < 1.0
        np.clip(nx, -1.0, 1.0, out=nx)
        nz = np.sqrt(1.0 - nx * nx)
        level = rows.astype(np.float32)[:, None] - nz * row_drop.astype(np.float32)[:, None]
        inside &= (level <= knots[-1]) & (rows >= knots[0])[:, None]
        metres = 1.0 / (view.scale * view.cos_pitch)
        height = np.minimum((base - level) * np.float32(metres), np.float32(heights[0]))
        angle = wrap(np.arcsin(nx) - np.float32(view.yaw + turn))
        if where is not None:
            inside &= where(angle, height)
        self._paint(window, inside, slot, nx, angle, np.float32(origin) - height, shade)

    def limb(
        self,
        view: View,
        slot: int,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        radii: tuple[float, float],
        *,
        along: tuple[float, float] = (0.0, 0.0),
        bulge: float = 0.0,
        flat_end: bool = False,
        blend: bool = False,
        shade: float = 1.0,
    ) -> None:
        """Paint a tapered capsule between two points (3,) of the body's frame; radii in metres.

        `blend` lets the start melt into what it grows out of, as an arm does into a shoulder.
        """
        x0, y0 = view.pixel(start)
        x1, y1 = view.pixel(end)
        r0, r1 = radii[0] * view.scale, radii[1] * view.scale
        reach = max(r0, r1) + bulge * view.scale
        window = self._window(
            min(x0, x1) - reach, max(x0, x1) + reach, min(y0, y1) - reach, max(y0, y1) + reach
        )
        if window is None:
            return
        dx, dy = x1 - x0, y1 - y0
        if dx * dx + dy * dy < 1.0:  # seen end on: a ball
            dx, dy = 0.0, 1.0
        square = dx * dx + dy * dy
        length = square**0.5
        xs = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - np.float32(x0)
        ys = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(y0)
        t = xs * np.float32(dx / square) + ys * np.float32(dy / square)
        clipped = np.clip(t, 0.0, 1.0)
        radius = r0 + (r1 - r0) * clipped
        if bulge:
            radius = radius + bulge * view.scale * 4.0 * clipped * (1.0 - clipped)
        across = xs * np.float32(dy / length) - ys * np.float32(dx / length)
        beyond = (t - clipped) * np.float32(length)
        inside = across * across + beyond * beyond < radius * radius
        if flat_end:
            inside &= t <= 1.0
        nx = np.clip(across / np.maximum(radius, 0.5), -1.0, 1.0).astype(np.float32)
        angle = wrap(np.arcsin(nx) - np.float32(view.yaw))
        if blend:
            nx *= np.clip(0.15 + 2.2 * t, 0.15, 1.0)
        metres = along[0] + (along[1] - along[0]) * clipped
        self._paint(window, inside, slot, nx, angle, metres.astype(np.float32), shade)

    def darken(self, view: View, height: float, half_width: float, depth: float) -> None:
        """Cast the contact shadow of a hem at `height`, `depth` metres deep, on what is below."""
        top = view.floor_y - height * view.cos_pitch * view.scale
        reach = half_width * view.scale
        span = depth * view.scale
        window = self._window(view.centre_x - reach, view.centre_x + reach, top, top + span)
        if window is None:
            return
        rows = np.arange(window[0].start, window[0].stop)
        fade = np.clip((rows - top) / span, 0.0, 1.0)
        self.shade[window] *= (0.55 + 0.45 * fade).astype(np.float32)[:, None]


@dataclass(frozen=True)
class _Stack:
    """A stack of ellipses in pixels: its axis' column, the floor's row under it, and at each knot
    the row, half width and how far down the tilt of the camera moves its nearest point."""

    middle: float
    base: float
    knots: NDArray[np.float64]
    width: NDArray[np.float64]
    drop: NDArray[np.float64]


def _project_stack(
    view: View,
    heights: list[float],
    half_widths: list[float],
    half_depths: list[float],
    centre: tuple[float, float],
    turn: float,
) -> _Stack:
    scale, yaw = view.scale, view.yaw + turn
    cos, sin = np.cos(yaw), np.sin(yaw)
    shift, _, depth = view.relative(centre[0], 0.0, centre[1])
    base = view.floor_y + depth * view.sin_pitch * scale
    a, b = np.asarray(half_widths), np.asarray(half_depths)
    return _Stack(
        middle=view.centre_x + shift * scale,
        base=base,
        knots=base - np.asarray(heights) * view.cos_pitch * scale,
        width=np.sqrt((a * cos) ** 2 + (b * sin) ** 2) * scale,
        drop=np.sqrt((a * sin) ** 2 + (b * cos) ** 2) * scale * view.sin_pitch,
    )


def wrap(angle: Floats) -> Floats:
    """Bring angles within one turn of zero into [-pi, pi]."""
    turn = np.float32(2 * np.pi)
    wrapped: Floats = (angle - turn * np.round(angle / turn)).astype(np.float32)
    return wrapped
