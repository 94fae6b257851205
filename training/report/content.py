"""What a report says, as plain values. Knows no model, no file and no markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.comparison import FigureBlock
from training.report.histograms import PairHistogram


@dataclass(frozen=True)
class Header:
    """What was measured, where and on what. `created` is the only thing that may name a time."""

    model_id: str
    dataset: str
    data: str
    runtime: str
    created: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A cumulative match characteristic: percent of queries by rank, from rank 1."""

    name: str
    percent: tuple[float, ...]


@dataclass(frozen=True)
class CurvePlot:
    """The curves of one protocol."""

    protocol: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Crop:
    """A picture of a sample: a small JPEG, and what is known of it."""

    name: str
    person: str
    camera: str
    modality: str
    jpeg: bytes


@dataclass(frozen=True)
class RankedEntry:
    """One gallery entry that a query got."""

    crop: Crop
    similarity: float
    right: bool


@dataclass(frozen=True)
class RankedQuery:
    """One query with its first entries; `first_right` is the rank of the first right one."""

    query: Crop
    first_right: int
    entries: tuple[RankedEntry, ...]


@dataclass(frozen=True)
class RankedLists:
    """The queries answered best and worst; `gallery` says which gallery was ranked."""

    gallery: str
    best: tuple[RankedQuery, ...]
    worst: tuple[RankedQuery, ...]


@dataclass(frozen=True)
class PatternPanel:
    """One pattern laid over the query and over its best match, as JPEG.

    `contribution` is what the pattern's block adds to the similarity; None for a projected model.
    """

    name: str
    query_jpeg: bytes
    match_jpeg: bytes
    contribution: float | None


@dataclass(frozen=True)
class PatternComparison:
    """A query beside its best match, pattern by pattern.

    `whole_crop` is what the global block adds to the similarity; None for a projected model.
    """

    query: Crop
    match: Crop
    similarity: float
    right: bool
    whole_crop: float | None
    panels: tuple[PatternPanel, ...]


@dataclass(frozen=True)
class DimensionLine:
    """Figures in percent of embeddings shortened to a number of dimensions.

    `vector_bytes` is what one takes in a gallery; `kept` the share of the squares that it holds.
    """

    dimension: int
    vector_bytes: int
    kept: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class DimensionTable:
    """The lines of one protocol, by rising dimension, the full length last."""

    protocol: str
    lines: tuple[DimensionLine, ...]


@dataclass(frozen=True)
class Dimensions:
    """The dimension study; `left_out` says which dimensions were not tried, and why."""

    tables: tuple[DimensionTable, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report shows; an empty part is said to be absent."""

    header: Header
    blocks: Sequence[FigureBlock]
    plots: Sequence[CurvePlot] = ()
    histograms: Sequence[PairHistogram] = ()
    ranked: RankedLists | None = None
    patterns: Sequence[PatternComparison] = ()
    dimensions: Dimensions | None = None
