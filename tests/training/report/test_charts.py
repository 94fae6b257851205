"""Charts of what is scarce: two persons, one pair."""

import numpy as np
import pytest

from model.config import Modality
from tests.training.report.pages import read_page
from training.report.charts import dimension_chart, histogram_chart, match_chart
from training.report.content import Curve, CurvePlot, DimensionLine, DimensionTable
from training.report.histograms import EDGES, PairHistogram


@pytest.mark.parametrize(
    ("persons", "ranks"),
    [(1, ["1"]), (2, ["1", "2"]), (7, ["1", "5"]), (300, ["1", "5", "10", "15", "20"])],
)
def test_a_curve_ends_with_the_persons_or_at_rank_20(persons: int, ranks: list[str]) -> None:
    chart = match_chart(CurvePlot("P", (Curve("plain", (50.0,) * persons),)))
    texts = [text.text for text in read_page(chart).all("text")]
    shown = texts[texts.index("1") : texts.index("rank k")]
    assert shown == ranks
    line = read_page(chart).all("path", "line")[0].attributes["d"]
    assert line.count("L") == min(persons, 20) - 1


def test_one_genuine_pair_and_no_impostor_can_be_drawn() -> None:
    genuine, impostor = np.zeros((2, len(EDGES) - 1), np.int64)
    genuine[75] = 1
    chart = histogram_chart(PairHistogram((Modality.VISIBLE,) * 2, genuine, impostor, (2, 2)))
    page = read_page(chart)
    assert "genuine: 1 pairs, mean 0.51" in page.text
    assert "impostor: 0 pairs" in page.text


def test_numbers_of_dimensions_that_would_touch_are_left_out_below_the_axis() -> None:
    figures = {"rank1": 70.0, "mAP": 60.0, "mINP": 50.0}
    lengths = (64, 65, 66, 512, 13000, 14336)
    lines = tuple(DimensionLine(length, 2 * length, 1.0, figures) for length in lengths)
    page = read_page(dimension_chart(DimensionTable("P", lines)))
    texts = [text.text for text in page.all("text")]
    assert [text for text in texts if text in map(str, lengths)] == ["66", "512", "14336"]
    assert page.all("path", "line")[0].attributes["d"].count("L") == len(lengths) - 1
