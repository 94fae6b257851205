"""Figures that were published for MPANet, each with its source and with how it was measured.

Only rows that a protocol of ours reproduces, and never a re-ranked one. `docs/protocols.md` tells
which traps lie between two published tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from training.protocols.drawing import EVERY_IMAGE
from training.protocols.permutations import PERMUTATIONS

PAPER = "paper, CVPR 2021"
RE_RUN = "the authors' re-run of 2022, issue 9 of their repository"


@dataclass(frozen=True)
class PublishedFigures:
    """Plain figures in percent, by the names of `training.metrics.Figures`; unpublished ones lack.

    `protocol` begins like the protocol of a row that it compares with; `queries` is their number
    in the published test split.
    """

    protocol: str
    method: str
    source: str
    sampling: str
    measure: str
    queries: int
    figures: Mapping[str, float]
    remark: str = ""


def published_for(protocol: str) -> list[PublishedFigures]:
    """The published rows of a protocol, as `EvaluationRow` names it; none for most."""
    return [row for row in PUBLISHED if protocol.startswith(row.protocol)]


def _sysu(search: str, shots: int, source: str, *figures: float) -> PublishedFigures:
    """`figures`: rank-1, rank-10, rank-20, mAP."""
    names = ("rank1", "rank10", "rank20", "mAP")
    return PublishedFigures(
        protocol=f"SYSU-MM01 {search} search, {shots}-shot",
        method="MPANet",
        source=source,
        sampling=PERMUTATIONS,
        measure="cosine",
        queries=3803,
        figures=dict(zip(names, figures, strict=True)),
    )


def _regdb(direction: str, rank1: float, mean_precision: float) -> PublishedFigures:
    """The paper has two rows, and those who cite it disagree which is which direction."""
    return PublishedFigures(
        protocol=f"RegDB {direction}",
        method="MPANet",
        source=PAPER,
        sampling=EVERY_IMAGE,
        measure="euclidean",
        queries=2060,
        figures={"rank1": rank1, "mAP": mean_precision},
        remark="one of two directions, sources disagree which; a model trained for each split",
    )


PUBLISHED: tuple[PublishedFigures, ...] = (
    _sysu("all", 1, PAPER, 70.58, 96.21, 98.80, 68.24),
    _sysu("all", 1, RE_RUN, 68.78, 95.00, 98.28, 65.96),
    _sysu("all", 10, RE_RUN, 74.68, 97.00, 99.24, 61.05),
    _sysu("indoor", 1, PAPER, 76.74, 98.21, 99.6, 80.95),
    _sysu("indoor", 1, RE_RUN, 74.87, 98.06, 99.48, 79.29),
    _sysu("indoor", 10, RE_RUN, 82.97, 99.28, 99.87, 74.03),
    _regdb("thermal-to-visible", 82.8, 80.7),
    _regdb("thermal-to-visible", 83.7, 80.9),
    _regdb("visible-to-thermal", 82.8, 80.7),
    _regdb("visible-to-thermal", 83.7, 80.9),
)
