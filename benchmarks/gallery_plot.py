"""Lines over the size of a gallery, as SVG: one panel a figure, both axes logarithmic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 34, 34, 62
COLOURS = ("#1f5fa8", "#d1570f", "#2f8f4e")


@dataclass(frozen=True)
class Panel:
    """One diagram: the name of each line, and its values over the sizes."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[float]]


def plot(sizes: Sequence[int], panels: Sequence[Panel]) -> str:
    """Draw the panels side by side."""
    width = WIDTH * len(panels)
    drawn = [_panel(sizes, panel, WIDTH * place) for place, panel in enumerate(panels)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}"'
        f' height="{HEIGHT}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _panel(sizes: Sequence[int], panel: Panel, offset: int) -> str:
    values = [value for line in panel.lines.values() for value in line]
    across = _Scale(min(sizes), max(sizes), LEFT, WIDTH - RIGHT)
    up = _Scale(*_around(values), HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, TOP - 16, f"{panel.title}, {panel.unit}", weight="bold")]
    for tick in _ticks(*_around(values)):
        parts += [_rule(LEFT, up(tick), WIDTH - RIGHT, up(tick))]
        parts += [_text(LEFT - 6, up(tick) + 4, f"{tick:,g}", anchor="end")]
    for size in sizes:
        parts += [_rule(across(size), TOP, across(size), HEIGHT - BOTTOM)]
        parts += [_text(across(size), HEIGHT - BOTTOM + 15, f"{size:,}", anchor="middle")]
    for place, (name, line) in enumerate(panel.lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = [(across(x), up(y)) for x, y in zip(sizes, line, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(LEFT + 95 * place, HEIGHT - 14, name, fill=colour))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 32, "entries", anchor="middle"))
    return f'<g transform="translate({offset} 0)">\n' + "\n".join(parts) + "\n</g>"


class _Scale:
    """A logarithmic axis from `low` at `start` to `high` at `stop`."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self._low, self._span = math.log(low), math.log(high / low) or 1.0
        self._start, self._length = start, stop - start

    def __call__(self, value: float) -> float:
        return self._start + self._length * (math.log(value) - self._low) / self._span


def _around(values: Sequence[float]) -> tuple[float, float]:
    """The nearest of 1, 2, 5, 10, ... below all values and above."""
    steps = [step * 10.0**power for power in range(-3, 7) for step in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values))
    return low, min(step for step in steps if step > max(values))


def _ticks(low: float, high: float) -> list[float]:
    steps = [step * 10.0**power for power in range(-3, 7) for step in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def _text(
    x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", fill: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
        f' fill="{fill}">{text}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
