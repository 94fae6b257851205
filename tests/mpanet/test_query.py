"""`mpanet query`: a ranked table, the service's answer as JSON, one line for an error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.artifact import with_calibration
from mpanet.cli import main
from service.client import ServiceClient
from tests.mpanet.serving import service
from tests.service.fakes import crop
from tests.service.judged import measured
from tests.service.tiny_artifact import write_tiny_artifact


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("service")
    model = write_tiny_artifact(directory / "tiny").directory
    with_calibration(model, measured().to_manifest())
    with service(model, directory / "data") as running, ServiceClient(running.url) as client:
        noted: dict[str, Any] = {"person_id": "ann", "camera_id": "1", "attributes": {"bag": True}}
        client.enroll(crop(1), "visible", entry_id="a", **noted)
        client.enroll(crop(2), "visible", entry_id="b", captured_at="2026-01-01T00:00:00Z")
        client.enroll(crop(3), "infrared", entry_id="c", person_id="cy", camera_id="3")
        yield running.url


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "probe.png"
    path.write_bytes(crop(2))
    return str(path)


def test_a_ranked_table(url: str, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", image, "--modality", "infrared", "--url", url]) == 0
    head, first, *rest, last = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("rank", "similarity", "probability", "person_id", "camera_id", "modality"),
        *("captured_at", "entry_id"),
    ]
    assert first.split() == ["1", "1.0000", "-", "-", "-", "visible", "2026-01-01T00:00:00Z", "b"]
    assert len(rest) == 2
    assert last.startswith("3 of 3 entries, model ")


def test_json_is_the_answer_of_the_service(
    url: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--modality", "infrared", "--url", url, "--json"]
    assert main(["query", image, image, *options, "--top-k", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [match["entry_id"] for match in answer["matches"]] == ["b"]


def test_a_rate_says_what_it_demands_and_what_it_lets_through(
    url: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Impostors lie evenly up to 0.5: a tenth of them from 0.45 on."""
    options = ["--modality", "visible", "--target-modality", "visible", "--url", url]
    assert main(["query", image, *options, "--max-false-accept-rate", "0.1"]) == 0
    _, first, found, demanded = capsys.readouterr().out.splitlines()
    assert first.split()[-1] == "b"
    assert 0.5 < float(first.split()[2]) < 1
    assert found.startswith("1 of 3 entries")
    assert demanded == ("at least visible-visible 0.4511; of 2 compared expect 0.2 false accepts")
    assert main(["query", image, *options, "--max-false-accept-rate", "0.01"]) == 2
    assert "visible-visible" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--target-modality", "infrared"], {"c"}),
        (["--person-id", "ann"], {"a"}),
        (["--exclude-camera-id", "1"], {"b", "c"}),
        (["--camera-id", "3"], {"c"}),
        (["--min-similarity", "0.9"], {"b"}),
        (["--captured-after", "2025-01-01T00:00:00Z", "--group-by", "person"], {"b"}),
        (["--captured-before", "2025-01-01T00:00:00Z"], set()),
        (["--camera-id", "1", "--camera-id", "3"], {"a", "c"}),
        (["--exclude-person-id", "ann", "--exclude-person-id", "cy"], {"b"}),
        (["--attributes", '{"bag": true}'], {"a"}),
        (["--rerank", "--top-k", "2", "--target-modality", "visible"], {"a", "b"}),
    ],
)
def test_filters(
    url: str,
    image: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: set[str],
) -> None:
    assert main(["query", image, "--modality", "visible", "--url", url, "--json", *options]) == 0
    matches = json.loads(capsys.readouterr().out)["matches"]
    assert {match["entry_id"] for match in matches} == expected


def test_errors_are_one_line(
    url: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    for arguments, code, expected in [
        ([image, "--top-k", "0"], 2, "top_k"),
        ([str(text)], 2, "unsupported_image"),
        ([str(tmp_path / "gone.png")], 2, "gone.png"),
        ([image, "--url", "http://127.0.0.1:9"], 1, "no service answers"),
    ]:
        options = ["--modality", "visible", "--url", url]
        assert main(["query", *options, *arguments]) == code
        [line] = capsys.readouterr().err.splitlines()
        assert expected in line
