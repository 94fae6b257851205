"""The two drawings of a report: match curves and histograms of similarities."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.report.content import CurvePlot, DimensionTable
from training.report.histograms import EDGES, PairHistogram
from training.report.markup import Markup, element
from training.report.svg import Axes, drawing, ticks

MOST_RANKS = 20
LABEL_WIDTH = 36
"""Pixels that a number of five digits takes below an axis, with room around it."""
SERIES = 6
"""Colours and dashes that the style defines; further curves begin again with the first."""


def match_chart(plot: CurvePlot) -> Markup:
    """Percent of queries whose person is among the first k, for k from 1."""
    last = min(MOST_RANKS, max(len(curve.percent) for curve in plot.curves))
    lowest = min(min(curve.percent[:last]) for curve in plot.curves)
    floor = _floor(lowest)
    axes = Axes((1, max(last, 2)), (floor, 100))
    parts = axes.frame(_ranks(last), ticks(floor, 100), "rank k", "found within k (%)")
    for number, curve in enumerate(plot.curves):
        points = [(rank, value) for rank, value in enumerate(curve.percent[:last], start=1)]
        parts.append(axes.line(points, f"series{number % SERIES}"))
    names = [f"{curve.name} ({curve.percent[0]:.1f} at rank 1)" for curve in plot.curves]
    description = f"Cumulative match curves of {plot.protocol}: {', '.join(names)}"
    return _figure(
        plot.protocol,
        drawing(parts, description),
        [(f"series{number % SERIES}", name) for number, name in enumerate(names)],
    )


def histogram_chart(histogram: PairHistogram) -> Markup:
    """How often genuine and impostor pairs have which similarity, each in percent of its kind."""
    counts = {"genuine": histogram.genuine, "impostor": histogram.impostor}
    first, last = _occupied(histogram.genuine + histogram.impostor)
    edges = EDGES[first : last + 2]
    shares = {kind: _percent(count)[first : last + 1] for kind, count in counts.items()}
    top = max(float(share.max()) for share in shares.values())
    axes = Axes((float(edges[0]), float(edges[-1])), (0, top * 1.05))
    parts = axes.frame(
        ticks(*axes.x_range), ticks(*axes.y_range, 4), "similarity", "share of its pairs (%)"
    )
    for kind in ("impostor", "genuine"):
        parts.append(axes.steps(edges.tolist(), shares[kind].tolist(), kind))
    title = "\N{EN DASH}".join(modality.value for modality in histogram.modalities)
    return _figure(
        title,
        drawing(parts, f"Histogram of similarities, {title}"),
        [(kind, f"{kind}: {count.sum():,} pairs{_mean(count)}") for kind, count in counts.items()],
    )


def dimension_chart(table: DimensionTable) -> Markup:
    """Rank-1 and mAP by the number of dimensions, on a scale of doublings."""
    steps = [math.log2(line.dimension) for line in table.lines]
    names = {"rank1": "rank-1", "mAP": "mAP"}
    values = {name: [line.figures[name] for line in table.lines] for name in names}
    lowest = min(min(each) for each in values.values())
    axes = Axes((min(steps) - 0.2, max(steps) + 0.2), (_floor(lowest), 100))
    parts = axes.frame(
        _apart(steps, axes),
        ticks(*axes.y_range),
        "dimensions",
        "percent",
        lambda step: f"{round(2**step)}",
    )
    for number, each in enumerate(values.values()):
        parts.append(axes.line(list(zip(steps, each, strict=True)), f"series{number}"))
    legend = [(f"series{number}", name) for number, name in enumerate(names.values())]
    description = f"Rank-1 and mAP of {table.protocol} by the number of dimensions"
    return _figure(table.protocol, drawing(parts, description), legend)


def _apart(steps: Sequence[float], axes: Axes) -> list[float]:
    """Those of rising steps whose labels do not touch; the last one always."""
    kept: list[float] = []
    for step in reversed(steps):
        if not kept or axes.x(kept[-1]) - axes.x(step) >= LABEL_WIDTH:
            kept.append(step)
    return kept[::-1]


def _floor(lowest: float) -> float:
    """Where the axis of a percentage begins: a multiple of ten, at least one below the top."""
    return max(0.0, min(90.0, 10 * (lowest // 10)))


def _figure(title: str, picture: Markup, legend: Sequence[tuple[str, str]]) -> Markup:
    items = [
        element("li", element("span", class_=f"swatch {css_class}"), text)
        for css_class, text in legend
    ]
    return element(
        "figure", element("figcaption", title), picture, element("ul", *items, class_="legend")
    )


def _ranks(last: int) -> list[int]:
    """The ranks that are written below the axis."""
    return [1, *range(5, last + 1, 5)] if last >= 5 else list(range(1, last + 1))


def _occupied(counts: NDArray[np.int64]) -> tuple[int, int]:
    filled = np.flatnonzero(counts)
    return int(filled[0]), int(filled[-1])


def _percent(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(100 * counts / max(1, counts.sum()), dtype=np.float64)


def _mean(counts: NDArray[np.int64]) -> str:
    if not counts.sum():
        return ""
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    return f", mean {np.average(centres, weights=counts):.2f}"
