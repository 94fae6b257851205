"""Our rows beside the published figures of the same protocol, in blocks that compare.

One block holds one protocol and one variant: what was re-ranked never stands among plain figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from training.evaluation import EvaluationRow
from training.protocols.variants import PLAIN
from training.published import PublishedFigures, published_for

COLUMNS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")
NAME_WIDTH = 34


@dataclass(frozen=True)
class FigureLine:
    """One method's figures in percent by name (`rank1`, `mAP`, ...); those it does not know lack.

    `spread` is the sample standard deviation over trials; empty where there is one trial.
    """

    name: str
    detail: str
    figures: Mapping[str, float]
    spread: Mapping[str, float]
    published: bool = False


@dataclass(frozen=True)
class FigureBlock:
    """Lines that compare with each other: one protocol, one variant (`plain`, `re-ranked ...`)."""

    protocol: str
    variant: str
    lines: tuple[FigureLine, ...]


def figure_blocks(rows: Sequence[EvaluationRow], *, with_published: bool) -> list[FigureBlock]:
    """The rows by protocol and variant, plain blocks first; published figures join plain ones."""
    groups: dict[tuple[str, str], list[EvaluationRow]] = {}
    for row in sorted(rows, key=lambda row: row.variant != PLAIN):
        groups.setdefault((row.protocol, row.variant), []).append(row)
    blocks = []
    for (protocol, variant), group in groups.items():
        lines = [_line(row) for row in group]
        if with_published and variant == PLAIN:
            lines += [_published_line(entry, group[0]) for entry in published_for(protocol)]
        blocks.append(FigureBlock(protocol, variant, tuple(lines)))
    return blocks


def text_table(blocks: Sequence[FigureBlock]) -> str:
    """The blocks for a terminal; details that lines share stand once, below the title."""
    return "\n\n".join(_text(block) for block in blocks)


def _line(row: EvaluationRow) -> FigureLine:
    trials = len(row.trials)
    detail = f"{row.queries:,} queries; gallery by {row.sampling}; {row.measure}"
    return FigureLine(
        name=row.method,
        detail=detail + (f"; mean of {trials} trials" if trials > 1 else ""),
        figures=asdict(row.mean),
        spread=asdict(row.std) if trials > 1 else {},
    )


def _published_line(published: PublishedFigures, ours: EvaluationRow) -> FigureLine:
    """What differs from how ours was measured is said beside the figures."""
    remarks = [published.remark] if published.remark else []
    if published.sampling != ours.sampling:
        remarks.append(f"another sampling: gallery by {published.sampling}")
    if published.measure != ours.measure:
        remarks.append(f"another measure: {published.measure}")
    if ours.queries % published.queries:
        remarks.append(f"another test split: {published.queries:,} queries")
    return FigureLine(
        name=f"{published.method}, {published.source}",
        detail="; ".join(remarks) or "measured in the same way",
        figures=published.figures,
        spread={},
        published=True,
    )


def _text(block: FigureBlock) -> str:
    heading = " " * NAME_WIDTH + "".join(f"{name:>14}" for name in COLUMNS)
    lines = [f"{block.protocol}, {block.variant}", heading]
    said = ""
    for line in block.lines:
        cells = "".join(f"{_cell(line, name):>14}" for name in COLUMNS)
        if len(line.name) >= NAME_WIDTH:
            lines += [line.name, f"{'':<{NAME_WIDTH}}{cells}"]
        else:
            lines.append(f"{line.name:<{NAME_WIDTH}}{cells}")
        if line.detail != said:
            lines.append(f"  {line.detail}")
        said = line.detail
    return "\n".join(lines)


def _cell(line: FigureLine, name: str) -> str:
    if name not in line.figures:
        return "-"
    spread = f" \N{PLUS-MINUS SIGN}{line.spread[name]:.2f}" if name in line.spread else ""
    return f"{line.figures[name]:.2f}{spread}"
