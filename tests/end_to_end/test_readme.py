"""The README's first screen does what it shows: its commands run, its output comes."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.serving import REPOSITORY, ServiceProcess, service

README = (REPOSITORY / "README.md").read_text()
DEMO_ADDRESS = "http://127.0.0.1:8000"
DEMO_DATA = "data/demo"
SIMILARITY_TOLERANCE = 0.02
"""bf16 on one processor and fp32 on another differ by less than this."""


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def curls() -> list[tuple[str, Any]]:
    """Each curl of the README with the JSON that the README shows under it."""
    shown = []
    for block in code_blocks("console"):
        command, _, output = block.partition("\n")
        if command.startswith("$ curl"):
            shown.append((command.removeprefix("$ "), json.loads(output)))
    return shown


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service("demo", tmp_path_factory.mktemp("demo") / "data") as running:
        running.wait_for(f"serving on {running.url}")
        yield running


def run_curl(command: str, demo: ServiceProcess) -> Any:
    words = shlex.split(command.replace(DEMO_ADDRESS, demo.url).replace(DEMO_DATA, str(demo.data)))
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def same_shape(shown: Any, came: Any) -> bool:
    """Whether two JSON values have the same keys, of the same kinds, all the way down."""
    if isinstance(shown, dict) and isinstance(came, dict):
        return shown.keys() == came.keys() and all(same_shape(shown[k], came[k]) for k in shown)
    if isinstance(shown, list) and isinstance(came, list):
        return len(shown) == len(came) and all(map(same_shape, shown, came))
    return type(shown) is type(came)


def test_readme_shows_two_curls() -> None:
    assert len(curls()) == 2


@pytest.mark.parametrize(("command", "shown"), curls())
def test_curl_of_the_readme_gives_the_shown_output(
    command: str, shown: Any, demo: ServiceProcess
) -> None:
    came = run_curl(command, demo)
    assert same_shape(shown, came), came
    for shown_match, match in zip(shown.get("matches", []), came.get("matches", []), strict=True):
        assert match["entry_id"] == shown_match["entry_id"]
        assert match["similarity"] == pytest.approx(
            shown_match["similarity"], abs=SIMILARITY_TOLERANCE
        )


def test_right_person_comes_first_in_the_readme() -> None:
    command, shown = next(item for item in curls() if "/query" in item[0])
    searched = re.search(r"queries/(\d{4})-", command)
    assert searched is not None
    assert shown["matches"][0]["person_id"] == searched[1]


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    named = set(re.findall(r"^make (\w+)", "\n".join(code_blocks("sh")), flags=re.MULTILINE))
    assert {"demo", "test", "check"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_files_that_the_readme_links_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (REPOSITORY / Path(link)).exists()] == []


def test_demo_is_enrolled_once_and_what_was_deleted_stays_deleted(
    tmp_path: Path,
) -> None:
    with service("demo", tmp_path / "data") as running:
        running.wait_for("serving on")
        assert running.gallery_size() == 240
        running.delete("demo-0001-1")
        assert running.stop() == 0
    with service("demo", tmp_path / "data") as running:
        running.wait_for("serving on")
        assert running.gallery_size() == 239
