"""Coordinates and ticks."""

import pytest

from training.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, ticks


def test_the_corners_of_the_axes_are_those_of_the_plot_area() -> None:
    axes = Axes((1, 20), (50, 100))
    assert (axes.x(1), axes.x(20)) == (LEFT, WIDTH - RIGHT)
    assert (axes.y(50), axes.y(100)) == (HEIGHT - BOTTOM, TOP)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (70, 100, [70, 80, 90, 100]),
        (-0.62, 0.94, [-0.5, 0, 0.5]),
        (0, 4.7, [0, 1, 2, 3, 4]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_steps_stand_on_the_foot_and_go_from_edge_to_edge() -> None:
    axes = Axes((0, 2), (0, 10))
    path = axes.steps([0, 1, 2], [10, 5], "genuine").split('d="')[1].split('"')[0]
    foot, top, middle = axes.y(0), axes.y(10), axes.y(5)
    assert path == (
        f"M{axes.x(0):.2f} {foot:.2f}V{top:.2f}H{axes.x(1):.2f}V{middle:.2f}H{axes.x(2):.2f}"
        f"V{foot:.2f}Z"
    )
