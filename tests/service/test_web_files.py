"""`/` and `/web`: every file of the page, to everybody, and nothing else."""

from pathlib import Path

import httpx
import pytest

from service.web_files import FOLDER, MEDIA_TYPES, read_web_files
from tests.service.claims import problem_of

FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


def test_every_file_of_the_folder_is_of_the_page() -> None:
    assert {path.suffix for path in FILES} <= MEDIA_TYPES.keys()
    assert len(read_web_files()) == len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_file_is_answered_as_it_is(shared_http: httpx.Client, path: Path) -> None:
    answer = shared_http.get(f"/web/{path.relative_to(FOLDER).as_posix()}")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    kind = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
    assert answer.headers["Content-Type"].startswith(kind.get(path.suffix, "image/svg+xml"))


def test_the_page_may_load_nothing_but_its_own_files(shared_http: httpx.Client) -> None:
    answer = shared_http.get("/")
    assert answer.content == (FOLDER / "index.html").read_bytes()
    [policy] = answer.headers.get_list("Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert rules["require-trusted-types-for"] == "'script'"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_file_that_is_known_is_not_sent_again(shared_http: httpx.Client) -> None:
    first = shared_http.get("/web/main.js")
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = shared_http.get("/web/main.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    other = shared_http.get("/web/main.js", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200
    assert shared_http.get("/web/api.js").headers["ETag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        *("/web/", "/web/none.js", "/web//main.js", "/web/MAIN.JS"),
        *("/web/%2e%2e/settings.py", "/web/..%2fsettings.py", "/web/search/../../settings.py"),
        *("/web/%2Fetc%2Fpasswd", "/web/main.js%00", "/web/search", "/web/__init__.py"),
    ],
)
def test_there_is_no_other_file(shared_http: httpx.Client, path: str) -> None:
    answer = shared_http.request(
        "GET", httpx.URL("http://localhost").copy_with(raw_path=path.encode())
    )
    problem_of(answer, 404, "not_found")


def test_the_page_names_no_other_host_and_has_nothing_inline() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert markup not in text, (path, markup)
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert "style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count('<script type="module" src="/web/') == 1


def test_the_whole_page_is_smaller_than_200_kilobytes() -> None:
    assert sum(path.stat().st_size for path in FILES) < 200_000
