"""`docs/api.md` says what the service does: its calls, its codes, its commands, which are run."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.problems import INTERNAL, KINDS, OF_CONNECTIONS
from tests.mpanet.serving import environment, service
from tests.service.fakes import crop
from tests.service.openapi_document import served_document
from tests.service.refresh.bad_artifacts import write_model
from tests.service.tiny_artifact import write_tiny_artifact

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
UNSEEN = {"client_left"}  # nobody is left to read it
KEY = "a-key-of-the-page"
COMMAND = re.compile(r"^    (curl (?:.*\\\n)*.*)", re.MULTILINE)
STATUS = re.compile(r"   # (\d{3})$")
FILES = {"crop.jpg": 1, "a.jpg": 2, "b.jpg": 3, "night1.png": 4, "night2.png": 5}


@dataclass
class Shell:
    """Runs the commands of the page one after the other, as a reader would."""

    directory: Path
    variables: dict[str, str]
    calls: set[tuple[str, str]] = field(default_factory=set)

    def run(self, command: str) -> str:
        """Run a command; returns the status of its answer."""
        reporting = command.replace(
            "curl ", "curl -w '\\n%{method} %{http_code} %{url_effective}' ", 1
        )
        done = subprocess.run(
            ["bash", "-euc", reporting],
            cwd=self.directory,
            env=environment(**self.variables),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answer, _, report = done.stdout.rpartition("\n")
        method, status, url = report.split(" ", 2)
        path = url.removeprefix(self.variables["URL"]).split("?")[0]
        self.calls.add((method, path))
        self._remember(answer)
        return status

    def _remember(self, answer: str) -> None:
        try:
            body: Any = json.loads(answer)
        except ValueError:
            return
        if body.get("matches"):
            self.variables["ENTRY"] = body["matches"][0]["entry_id"]
        for name, shown in (
            ("CURSOR", "next_cursor"), ("MODEL", "model_id"), ("QUERY", "query_id"),
        ):  # fmt: skip
            if body.get(shown):
                self.variables[name] = body[shown]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH")
    directory = tmp_path_factory.mktemp("page")
    for name, seed in FILES.items():
        format = "JPEG" if name.endswith(".jpg") else "PNG"
        (directory / name).write_bytes(crop(seed, format))
    model = write_tiny_artifact(directory / "tiny").directory
    write_model(directory / "model")
    env = environment(MPANET_API_KEY=KEY)
    with service(model, directory / "data", env=env) as running:
        yield Shell(directory, {"URL": running.url, "AUTH": f"Authorization: Bearer {KEY}"})


@pytest.fixture(scope="module")
def answered(shell: Shell) -> list[tuple[str, str]]:
    """Every command of the page with the status that it got, run in their order."""
    return [(command, shell.run(command)) for command in COMMAND.findall(PAGE)]


def test_every_command_is_answered_as_the_page_says(
    shell: Shell, answered: list[tuple[str, str]]
) -> None:
    assert len(answered) > 25
    for command, status in answered:
        said = STATUS.search(command)
        assert said is not None, f"the page does not say how this is answered: {command}"
        assert status == said[1], command
    assert (shell.directory / "copy.jpg").read_bytes() == crop(1, "JPEG")


def test_every_call_has_a_command(shell: Shell, answered: list[tuple[str, str]]) -> None:
    assert answered
    paths = served_document()["paths"]
    calls = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    for method, path in calls | {("GET", "/openapi.json")}:
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        made = [call for call in shell.calls if re.fullmatch(pattern, call[1])]
        assert method in {other for other, _ in made}, f"no command calls {method} {path}"


def test_the_table_of_codes_is_the_one_of_the_service() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", PAGE, re.MULTILINE)
    written = {
        (int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)
    }
    served = {(kind.status, kind.code) for kind in [*KINDS.values(), *OF_CONNECTIONS, INTERNAL]}
    router = {(404, "not_found"), (405, "method_not_allowed")}
    assert written == {(s, c) for s, c in served | router if c not in UNSEEN}
