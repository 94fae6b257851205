"""`mpanet synthesize` as a person calls it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mpanet.cli import main


def test_it_renders_a_data_set_and_says_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    options = ["--persons", "2", "--seed", "3", "--images-per-camera", "1", "--json"]
    assert main(["synthesize", "--out", str(out), "--layout", "sysu-mm01", *options]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 12 == len(list(out.rglob("*.jpg")))
    assert summary["seed"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--persons", "0"], "persons must be from 1 to 9999, got 0"),
        (["--persons", "2", "--test-persons", "5"], "test persons must be from 1"),
        (["--persons", "2", "--seed", "-1"], "seed must not be negative"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["synthesize", "--out", str(tmp_path / "set"), *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("mpanet synthesize: error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_to_write_it_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesize", "--persons", "2"]) == 2
    assert "--out DIR is missing" in capsys.readouterr().err


def test_a_contact_sheet_shows_rows_of_people(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["synthesize", "--persons", "2", "--contact-sheet", str(sheet)]) == 0
    with Image.open(sheet) as image:
        assert image.size == (12 * 88, 2 * 200)
