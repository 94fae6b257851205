"""`docs/api.md` says what the service does: its calls, its codes, its commands."""

import re
from pathlib import Path

import httpx

from service.problems import INTERNAL, KINDS, OF_CONNECTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
UNSEEN = {"client_left"}  # nobody is left to read it


def test_the_table_of_codes_is_the_one_of_the_service() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", PAGE, re.MULTILINE)
    written = {
        (int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)
    }
    served = {(kind.status, kind.code) for kind in [*KINDS.values(), *OF_CONNECTIONS, INTERNAL]}
    router = {(404, "not_found"), (405, "method_not_allowed")}
    assert written == {(s, c) for s, c in served | router if c not in UNSEEN}


def test_every_call_has_a_command(shared_http: httpx.Client) -> None:
    paths = shared_http.get("/openapi.json").json()["paths"]
    commands = " ".join(re.findall(r"^    curl .*(?:\\\n.*)*", PAGE, re.MULTILINE))
    written = set(re.findall(r"\$URL(/[a-z]+(?:/[A-Za-z0-9_-]+)*)", commands))
    pages = {"/", "/docs", "/metrics"}
    for path in set(paths) - pages:
        pattern = re.sub(r"\\{[^}]+\\}", "[A-Za-z0-9_-]+", re.escape(path))
        assert any(re.fullmatch(pattern, call) for call in written), path
