"""A small report's content, made up, with every part in it."""

from io import BytesIO

import numpy as np
from PIL import Image

from model.config import Modality
from training.comparison import FigureBlock, FigureLine
from training.report.content import (
    Crop,
    Curve,
    CurvePlot,
    DimensionLine,
    Dimensions,
    DimensionTable,
    Header,
    PatternComparison,
    PatternPanel,
    RankedEntry,
    RankedLists,
    RankedQuery,
    ReportContent,
)
from training.report.histograms import EDGES, PairHistogram


def picture(level: int = 128) -> bytes:
    """A grey JPEG."""
    buffer = BytesIO()
    Image.new("RGB", (12, 32), (level, level, level)).save(buffer, format="JPEG")
    return buffer.getvalue()


def crop(name: str = "cam1/0001/0001.jpg", person: str = "7", camera: str = "1") -> Crop:
    """A visible crop."""
    return Crop(name, person, camera, "visible", picture())


def histogram() -> PairHistogram:
    """Genuine pairs in the last bin and one in the middle, impostors in the middle."""
    genuine, impostor = np.zeros((2, len(EDGES) - 1), dtype=np.int64)
    genuine[-1], genuine[60], impostor[50] = 1200, 1, 45678
    return PairHistogram((Modality.INFRARED, Modality.VISIBLE), genuine, impostor, (10, 20))


def comparison(*, projected: bool = False) -> PatternComparison:
    """Two patterns that add 0.3 and 0.1 to a similarity of 0.5."""
    shares = (None, None) if projected else (0.3, 0.1)
    return PatternComparison(
        query=crop(),
        match=crop(),
        similarity=0.5,
        right=True,
        whole_crop=None if projected else 0.1,
        panels=tuple(
            PatternPanel(f"pattern {number}", picture(), picture(), share)
            for number, share in enumerate(shares, start=1)
        ),
    )


def content(**changes: object) -> ReportContent:
    """Everything that a report can show."""
    ours = FigureLine("model", "480 queries", {"rank1": 71.25, "mAP": 68.04}, {"rank1": 1.36})
    paper = FigureLine("MPANet, paper", "", {"rank1": 70.58, "mAP": 68.24}, {}, published=True)
    again = FigureLine("model", "480 queries", {"rank1": 80.01, "mAP": 79.0}, {})
    ranked = RankedQuery(
        crop("cam3/0007/0002.jpg", "7", "3"),
        2,
        (RankedEntry(crop(person="9"), 0.8125, False), RankedEntry(crop(), 0.75, True)),
    )
    parts: dict[str, object] = {
        "header": Header("d97bfa9b", "sysu-mm01", "people", "cpu, fp32", "today", ("a note",)),
        "blocks": [
            FigureBlock("SYSU-MM01 all search, 1-shot", "plain", (ours, paper)),
            FigureBlock("SYSU-MM01 all search, 1-shot", "re-ranked (k1 20)", (again,)),
        ],
        "plots": [
            CurvePlot(
                "SYSU-MM01 all search, 1-shot",
                (Curve("plain", (71.25, 90.0, 100.0)), Curve("affinity", (75.0, 91.0, 100.0))),
            )
        ],
        "histograms": [histogram()],
        "ranked": RankedLists("which gallery", (ranked,), (ranked,)),
        "patterns": [comparison()],
        "dimensions": Dimensions(
            (
                DimensionTable(
                    "SYSU-MM01 all search, 1-shot",
                    (
                        DimensionLine(64, 128, 0.512, {"rank1": 60.4, "mAP": 50.0, "mINP": 40.0}),
                        DimensionLine(256, 512, 1.0, {"rank1": 71.3, "mAP": 60.0, "mINP": 50.0}),
                    ),
                ),
            ),
            ("512 dimensions: the embedding has 256",),
        ),
    }
    return ReportContent(**(parts | changes))  # type: ignore[arg-type]
