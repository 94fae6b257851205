"""The page: well-formed, whole in one file, and its numbers are those that were passed."""

import base64
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from tests.training.report.contents import comparison, content, crop, picture
from tests.training.report.pages import read_page, section
from training.report.build import build_report
from training.report.content import Header, ReportContent

SECTIONS = ["figures", "curves", "scores", "ranked", "patterns", "dimensions"]


def test_every_section_is_there_in_order() -> None:
    page = read_page(build_report(content()))
    assert [node.attributes["id"] for node in page.all("section")] == SECTIONS


def test_parts_that_are_empty_are_left_out() -> None:
    bare = ReportContent(header=content().header, blocks=content().blocks)
    page = read_page(build_report(bare))
    assert [node.attributes["id"] for node in page.all("section")] == ["figures"]


def test_the_header_says_what_was_measured() -> None:
    (header,) = read_page(build_report(content())).all("header")
    for said in ("d97bfa9b", "sysu-mm01", "people", "cpu, fp32", "today", "a note"):
        assert said in header.text


def test_figures_stand_in_their_columns_with_their_spread_and_gaps_are_dashes() -> None:
    table = section(read_page(build_report(content())), "figures").all("table")[0]
    assert [cell.text for cell in table.all("thead")[0].all("th")][1:] == [
        "rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP",
    ]  # fmt: skip
    ours, paper = table.all("tbody")[0].all("tr")
    assert [cell.text for cell in ours.all("td")] == ["71.25 ±1.36", "–", "–", "–", "68.04", "–"]  # noqa: RUF001
    assert [cell.text for cell in paper.all("td")] == ["70.58", "–", "–", "–", "68.24", "–"]  # noqa: RUF001
    assert paper.attributes["class"] == "published"


def test_re_ranked_figures_have_tables_of_their_own_below_a_heading() -> None:
    figures = section(read_page(build_report(content())), "figures")
    captions = [table.all("caption")[0].text for table in figures.all("table")]
    assert [caption.split("shot")[1] for caption in captions] == [
        " , plain", " , re-ranked (k1 20)",
    ]  # fmt: skip
    assert "79.00" not in figures.all("table")[0].text
    names = [child.name for child in figures.children if not isinstance(child, str)]
    assert names == ["h2", "p", "table", "h3", "p", "table"]


def test_curves_pass_through_the_percentages() -> None:
    curves = section(read_page(build_report(content())), "curves")
    lines = curves.all("path", "line")
    assert [line.attributes["class"] for line in lines] == ["line series0", "line series1"]
    points = [pair.split() for pair in lines[0].attributes["d"].removeprefix("M").split("L")]
    xs, ys = ([float(pair[axis]) for pair in points] for axis in (0, 1))
    assert len(points) == 3
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    # 71.25, 90 and 100 percent: heights in proportion, the last at the top of the axes.
    assert (ys[0] - ys[2]) / (ys[1] - ys[2]) == pytest.approx(28.75 / 10, rel=1e-2)
    assert "plain (71.2 at rank 1)" in curves.text


def test_histograms_say_how_many_pairs_they_count() -> None:
    scores = section(read_page(build_report(content())), "scores")
    assert "genuine: 1,201 pairs" in scores.text
    assert "impostor: 45,678 pairs" in scores.text
    assert len(scores.all("path", "area")) == 2


def test_ranked_entries_carry_mark_similarity_person_and_camera_as_text() -> None:
    ranked = section(read_page(build_report(content())), "ranked")
    best = ranked.all("div", "strip")[0]
    assert "person 7, camera 3, visible: first right entry at rank 2" in best.text
    query, wrong, right = best.all("figure")
    assert query.attributes["class"] == "crop query"
    assert wrong.text == "1. ✗ wrong 0.812 person 9 camera 1"
    assert wrong.attributes["class"] == "crop wrong"
    assert right.text == "2. ✓ right 0.750 person 7 camera 1"
    assert right.attributes["class"] == "crop right"


def test_patterns_show_what_each_adds_and_its_share() -> None:
    patterns = section(read_page(build_report(content())), "patterns")
    whole, one, two = patterns.all("figure")
    assert "similarity 0.500" in whole.text
    assert "whole crop +0.100 (20 %)" in whole.text
    assert one.text == "pattern 1 +0.300 (60 %)"
    assert two.text == "pattern 2 +0.100 (20 %)"


def test_a_projected_model_has_maps_without_shares() -> None:
    page = build_report(content(patterns=[comparison(projected=True)]))
    patterns = section(read_page(page), "patterns")
    assert "projection" in patterns.text
    assert [figure.text for figure in patterns.all("figure")][1:] == ["pattern 1", "pattern 2"]


def test_dimensions_are_a_table_and_a_chart() -> None:
    dimensions = section(read_page(build_report(content())), "dimensions")
    rows = dimensions.all("tbody")[0].all("tr")
    assert [row.text for row in rows] == [
        "64 128 51.2 60.40 50.00 40.00", "256 512 100.0 71.30 60.00 50.00",
    ]  # fmt: skip
    assert "512 dimensions: the embedding has 256" in dimensions.text
    assert [path.attributes["class"] for path in dimensions.all("path")] == [
        "line series0", "line series1",
    ]  # fmt: skip


def test_pictures_are_inside_and_are_those_that_were_passed() -> None:
    page = read_page(build_report(content()))
    images = page.all("img")
    assert len(images) == 2 * 3 + 3 * 2
    for image in images:
        kind, _, data = image.attributes["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(data) == picture()
        Image.open(BytesIO(base64.b64decode(data))).verify()
        assert image.attributes["alt"]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = build_report(content())
    page = read_page(text)
    for name in ("script", "link", "iframe", "object", "base"):
        assert page.all(name) == []
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text


HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'"


def test_hostile_names_stay_text() -> None:
    header = Header(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,))
    bad = crop(HOSTILE, HOSTILE, HOSTILE)
    pattern = replace(comparison(), query=bad, match=bad)
    ranked = content().ranked
    assert ranked is not None
    query = replace(ranked.best[0], query=bad)
    text = build_report(
        content(header=header, ranked=replace(ranked, best=(query,)), patterns=[pattern])
    )
    page = read_page(text)
    assert page.all("script") == []
    assert all("onerror" not in image.attributes for image in page.all("img"))
    assert HOSTILE in page.all("dd")[0].text
    assert page.all("img")[0].attributes["title"] == HOSTILE


def test_a_file_name_that_is_no_utf_8_can_be_written() -> None:
    header = replace(content().header, data="people-\udcff")
    assert "people-\\udcff" in build_report(content(header=header)).encode("utf-8").decode("utf-8")


def test_the_same_content_gives_the_same_page() -> None:
    assert build_report(content()) == build_report(content())
