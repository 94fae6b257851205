"""The sections that show crops: ranked lists, and patterns laid over a query and its match."""

import base64
from collections.abc import Sequence

from training.report.content import (
    Crop,
    PatternComparison,
    PatternPanel,
    RankedEntry,
    RankedLists,
    RankedQuery,
)
from training.report.markup import Markup, element


def ranked_lists(lists: RankedLists) -> list[Markup]:
    """The queries answered best and worst, each with what it got."""
    return [
        element("p", lists.gallery, class_="soft"),
        element("h3", f"The {len(lists.best)} queries answered best"),
        *map(_ranked_query, lists.best),
        element("h3", f"The {len(lists.worst)} queries answered worst"),
        *map(_ranked_query, lists.worst),
    ]


def pattern_comparisons(comparisons: Sequence[PatternComparison]) -> list[Markup]:
    """Each comparison as one strip of pairs: the query left, its best match right."""
    return [_comparison(comparison) for comparison in comparisons]


def _ranked_query(ranked: RankedQuery) -> Markup:
    title = f"{_who(ranked.query)}: first right entry at rank {ranked.first_right}"
    entries = [_entry(entry, rank) for rank, entry in enumerate(ranked.entries, start=1)]
    crops = element("div", _crop(ranked.query, "query", "query"), *entries, class_="crops")
    return element("div", title, crops, class_="strip")


def _entry(entry: RankedEntry, rank: int) -> Markup:
    kind = "right" if entry.right else "wrong"
    return _crop(entry.crop, kind, f"{rank}. {_mark(entry.right)}", f"{entry.similarity:.3f}")


def _crop(crop: Crop, kind: str, mark: str, *lines: str) -> Markup:
    about = (*lines, f"person {crop.person}", f"camera {crop.camera}")
    caption = element(
        "figcaption",
        element("span", mark, class_="mark"),
        *map(_fact, about),
    )
    return element(
        "figure", _image(crop.jpeg, crop.name, f"{mark}: {_who(crop)}"), caption,
        class_=f"crop {kind}",
    )  # fmt: skip


def _comparison(comparison: PatternComparison) -> Markup:
    query, match = comparison.query, comparison.match
    title = f"{_who(query)}, and what it ranks first: {_who(match)}"
    whole = _pair(
        (query.jpeg, match.jpeg),
        (query.name, match.name),
        [
            element("span", _mark(comparison.right), class_="mark"),
            _fact(f"similarity {comparison.similarity:.3f}"),
            *_share("whole crop ", comparison.whole_crop, comparison.similarity),
        ],
        "right" if comparison.right else "wrong",
    )
    panels = [_panel(panel, comparison) for panel in comparison.panels]
    return element("div", title, element("div", whole, *panels, class_="crops"), class_="strip")


def _panel(panel: PatternPanel, comparison: PatternComparison) -> Markup:
    caption = [
        element("span", panel.name, class_="mark"),
        *_share("", panel.contribution, comparison.similarity),
    ]
    names = (f"{panel.name} of {comparison.query.name}", f"{panel.name} of {comparison.match.name}")
    return _pair((panel.query_jpeg, panel.match_jpeg), names, caption, "pattern")


def _share(name: str, contribution: float | None, similarity: float) -> list[Markup]:
    """A share of something at or below zero says nothing, and is left out."""
    if contribution is None:
        return []
    percent = f" ({100 * contribution / similarity:.0f} %)" if similarity > 0 else ""
    return [_fact(f"{name}{contribution:+.3f}{percent}")]


def _fact(text: str) -> Markup:
    return element("span", text, class_="fact")


def _pair(
    jpegs: tuple[bytes, bytes], names: tuple[str, str], caption: Sequence[str], kind: str
) -> Markup:
    both = [_image(data, name, name) for data, name in zip(jpegs, names, strict=True)]
    return element(
        "figure", element("div", *both, class_="both"), element("figcaption", *caption),
        class_=f"crop pair {kind}",
    )  # fmt: skip


def _image(data: bytes, title: str, alt: str) -> Markup:
    encoded = base64.b64encode(data).decode("ascii")
    return element("img", src=f"data:image/jpeg;base64,{encoded}", title=title, alt=alt)


def _who(crop: Crop) -> str:
    return f"person {crop.person}, camera {crop.camera}, {crop.modality}"


def _mark(right: bool) -> str:
    return "\N{CHECK MARK} right" if right else "\N{BALLOT X} wrong"
