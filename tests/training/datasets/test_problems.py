"""The words of a report: one line, whatever the names of files hold."""

from pathlib import Path

import pytest

from training.datasets.problems import Findings, Problem, raise_for
from training.errors import DatasetError


def test_a_problem_is_counted_in_the_singular_and_the_plural() -> None:
    findings = Findings()
    findings.error([], "torn image", "torn images")
    findings.error(["a"], "torn image", "torn images")
    findings.remark(range(1_234), "torn image", "torn images")
    assert [str(problem) for problem in findings.errors] == ["1 torn image: a"]
    [remark] = findings.remarks
    assert str(remark) == "1,234 torn images: 0, 1, 2 and 1,231 more"
    assert remark.describe(shown=1) == "1,234 torn images: 0 and 1,233 more"


def test_places_of_the_same_words_are_one_problem() -> None:
    findings = Findings()
    for place in ("a", "b", "c"):
        findings.error([place], "torn image", "torn images")
        findings.error([place], "lost image", "lost images")
    assert [str(problem) for problem in findings.errors] == [
        "3 torn images: a, b, c",
        "3 lost images: a, b, c",
    ]


def test_names_that_break_lines_or_are_no_text_are_escaped() -> None:
    problem = Problem("2 images", ("a\nb\x1b[31m.png", "caf\udce9.png"))
    line = str(problem)
    assert line == r"2 images: a\nb\x1b[31m.png, caf\udce9.png"
    line.encode("utf-8")


def test_all_problems_are_one_line() -> None:
    with pytest.raises(DatasetError) as caught:
        raise_for(Path("people"), [Problem("1 torn image", ("a",)), Problem("no test image")])
    assert str(caught.value) == "people: 1 torn image: a; no test image"


def test_no_problem_raises_nothing() -> None:
    raise_for(Path("people"), [])
