"""The report: one HTML file that needs nothing else, neither network nor script."""

from collections.abc import Iterable, Sequence

from training.comparison import FigureBlock
from training.protocols.variants import PLAIN
from training.report.charts import dimension_chart, histogram_chart, match_chart
from training.report.content import Dimensions, Header, ReportContent
from training.report.histograms import MOST_IMAGES, PairHistogram
from training.report.markup import Markup, element
from training.report.sections import pattern_comparisons, ranked_lists
from training.report.style import STYLE
from training.report.tables import dimension_table, figure_table

APART = (
    "Re-ranking and affinity inference also compare gallery entries with each other, and some"
    " kinds the queries: their figures stand apart from plain ones, published or ours."
)
PAIRS = (
    "Every pair of two different test images counts once, those of one camera included. Genuine and"
    " impostor pairs are each in percent of their kind: where the two overlap, no threshold"
    " separates them."
)
SHORTER = (
    "Embeddings shortened to the principal directions of the training split, as an export can"
    " build into the model. Kept is their share of the squares; bytes are what one entry takes in a"
    " gallery's vector file."
)
MAPS = (
    "Red is where a pattern looks. The similarity is a sum: each number is what the pattern's block"
    " of the embedding adds to it; the block of the whole crop stands beside the similarity."
)
MAPS_PROJECTED = (
    "Red is where a pattern looks. The embedding is a projection: it has no part that belongs to a"
    " pattern alone."
)


def build_report(content: ReportContent) -> str:
    """The whole file as text, the same for the same content. Parts that are empty are left out."""
    ranked = [] if content.ranked is None else ranked_lists(content.ranked)
    sections = [
        _header(content.header),
        _section("figures", "Figures", _figures(content.blocks)),
        _section("curves", "Cumulative match curves", _charts(map(match_chart, content.plots))),
        _section("scores", "Genuine and impostor pairs", _histograms(content.histograms)),
        _section("ranked", "Queries answered best and worst", ranked),
        _section("patterns", "What the patterns look at", _patterns(content)),
        _section("dimensions", "Figures against dimensions", _dimensions(content.dimensions)),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"MPANet on {content.header.dataset}"),
        element("style", Markup(STYLE)),
    )
    page = element("html", head, element("body", *sections), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _section(name: str, title: str, parts: Sequence[Markup]) -> Markup:
    if not parts:
        return Markup("")
    return element("section", element("h2", title), *parts, id=name)


def _header(header: Header) -> Markup:
    facts = {
        "model": header.model_id,
        "dataset": header.dataset,
        "read from": header.data,
        "runtime": header.runtime,
        "made": header.created,
    }
    pairs = [part for name, value in facts.items() for part in (element("dt", name),
                                                               element("dd", value))]  # fmt: skip
    notes = [element("p", note, class_="note") for note in header.notes]
    title = element("h1", f"MPANet on {header.dataset}")
    return element("header", title, element("dl", *pairs), *notes)


def _figures(blocks: Sequence[FigureBlock]) -> list[Markup]:
    """Plain figures first; what was re-ranked stands below a heading of its own."""
    plain = [figure_table(block) for block in blocks if block.variant == PLAIN]
    apart = [figure_table(block) for block in blocks if block.variant != PLAIN]
    parts = [
        element(
            "p",
            "In percent. Where there are several trials: the mean, and small below it the spread.",
        ),
        *plain,
    ]
    if apart:
        parts += [element("h3", "Re-ranked, apart from plain"), element("p", APART), *apart]
    return parts


def _charts(figures: Iterable[Markup]) -> list[Markup]:
    drawn = tuple(figures)
    return [element("div", *drawn, class_="charts")] if drawn else []


def _histograms(histograms: Sequence[PairHistogram]) -> list[Markup]:
    if not histograms:
        return []
    note = PAIRS
    if any(MOST_IMAGES in histogram.images for histogram in histograms):
        note += f" Of each modality {MOST_IMAGES:,} images, evenly spaced, were taken."
    return [element("p", note), *_charts(map(histogram_chart, histograms))]


def _dimensions(dimensions: Dimensions | None) -> list[Markup]:
    if dimensions is None:
        return []
    parts = [element("p", SHORTER), *_charts(map(dimension_chart, dimensions.tables))]
    parts += map(dimension_table, dimensions.tables)
    return parts + [element("p", f"Left out: {why}", class_="soft") for why in dimensions.left_out]


def _patterns(content: ReportContent) -> list[Markup]:
    if not content.patterns:
        return []
    projected = any(each.whole_crop is None for each in content.patterns)
    note = element("p", MAPS_PROJECTED if projected else MAPS)
    return [note, *pattern_comparisons(content.patterns)]
