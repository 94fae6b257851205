"""Tables of figures: ours beside the published ones, and figures against dimensions."""

from collections.abc import Mapping, Sequence

from training.comparison import FigureBlock, FigureLine
from training.report.content import DimensionTable
from training.report.markup import Markup, element

COLUMNS = {
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "rank20": "rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}
DIMENSION_COLUMNS = ("rank1", "mAP", "mINP")
ABSENT = "\N{EN DASH}"


def figure_table(block: FigureBlock) -> Markup:
    """One block as a table, figures in percent with their spread below them."""
    head = [element("th", "", scope="col")]
    head += [element("th", title, scope="col") for title in COLUMNS.values()]
    return element(
        "table",
        element("caption", block.protocol, element("small", f", {block.variant}")),
        element("thead", element("tr", *head)),
        element("tbody", *_rows(block.lines)),
        class_="figures",
    )


def dimension_table(table: DimensionTable) -> Markup:
    """Figures by the number of dimensions that embeddings are shortened to."""
    titles = ("dimensions", "bytes", "kept (%)", *(COLUMNS[name] for name in DIMENSION_COLUMNS))
    rows = []
    for line in table.lines:
        cells = [f"{line.vector_bytes:,}", f"{100 * line.kept:.1f}"]
        cells += [_value(line.figures, name) for name in DIMENSION_COLUMNS]
        name = element("th", f"{line.dimension:,}", scope="row")
        rows.append(element("tr", name, *(element("td", cell) for cell in cells)))
    return element(
        "table",
        element("caption", table.protocol),
        element("thead", element("tr", *(element("th", title, scope="col") for title in titles))),
        element("tbody", *rows),
        class_="dimensions",
    )


def _rows(lines: Sequence[FigureLine]) -> list[Markup]:
    """A detail that a line shares with the one above is not said again."""
    said = ["", *(line.detail for line in lines)]
    return [
        _row(line, line.detail if line.detail != above else "")
        for line, above in zip(lines, said, strict=False)
    ]


def _row(line: FigureLine, detail: str) -> Markup:
    below_name = [element("small", detail)] if detail else []
    cells = [element("th", line.name, *below_name, scope="row")]
    for name in COLUMNS:
        spread = line.spread.get(name)
        below = [] if spread is None else [element("small", f"\N{PLUS-MINUS SIGN}{spread:.2f}")]
        cells.append(element("td", _value(line.figures, name), *below))
    return element("tr", *cells, class_="published" if line.published else "ours")


def _value(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.2f}" if name in figures else ABSENT
