"""Axes, lines and steps as inline SVG. Owns coordinates and ticks; what is drawn is `charts`.

Colours are classes that the page's style defines, so that a drawing follows light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.report.markup import Markup, element

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 38


@dataclass(frozen=True)
class Axes:
    """A drawing whose plot area spans `x_range` and `y_range`; pixels grow downwards."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Where a value lies, in pixels from the left."""
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies, in pixels from the top."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def frame(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_label: str,
        y_label: str,
        x_name: Callable[[float], str] = "{:g}".format,
    ) -> list[Markup]:
        """Grid lines with their values (`x_name` writes those below), and what the axes mean."""
        parts = []
        for value in y_ticks:
            parts.append(self._rule(self.x_range[0], value, self.x_range[1], value))
            parts.append(_text(LEFT - 6, self.y(value) + 4, f"{value:g}", "end"))
        for value in x_ticks:
            parts.append(self._rule(value, self.y_range[0], value, self.y_range[1]))
            parts.append(_text(self.x(value), HEIGHT - BOTTOM + 15, x_name(value), "middle"))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turned = f"rotate(-90 11 {middle:g})"
        parts.append(element("text", y_label, x=11, y=middle, text_anchor="middle",
                             transform=turned))  # fmt: skip
        return parts

    def line(self, points: Sequence[tuple[float, float]], css_class: str) -> Markup:
        """A line through points, given in values."""
        path = "M" + "L".join(f"{self.x(x):.2f} {self.y(y):.2f}" for x, y in points)
        return element("path", d=path, class_=f"line {css_class}")

    def steps(self, edges: Sequence[float], heights: Sequence[float], css_class: str) -> Markup:
        """Bars without gaps: heights (N,) between edges (N + 1,), from the foot of the axes."""
        foot = self.y(self.y_range[0])
        path = f"M{self.x(edges[0]):.2f} {foot:.2f}"
        for edge, height in zip(edges[1:], heights, strict=True):
            path += f"V{self.y(height):.2f}H{self.x(edge):.2f}"
        return element("path", d=f"{path}V{foot:.2f}Z", class_=f"area {css_class}")

    def _rule(self, x1: float, y1: float, x2: float, y2: float) -> Markup:
        ends = {"x1": self.x(x1), "y1": self.y(y1), "x2": self.x(x2), "y2": self.y(y2)}
        return element("line", class_="rule", **{key: f"{at:.2f}" for key, at in ends.items()})


def drawing(parts: Sequence[Markup], description: str) -> Markup:
    """The parts as one picture that scales with its place; `description` is read aloud."""
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=description
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.2f}", y=f"{y:.2f}", text_anchor=anchor)
