"""`mpanet audit`: what it prints of a log, and when it exits 1 or 2."""

import json
from pathlib import Path
from typing import Any

import pytest

from mpanet.cli import main
from service.audit.event import ShownEntry
from service.audit.log import AuditLog
from tests.mpanet.serving import environment, run_mpanet, service
from tests.service.audit.logs import Clock, event, files_of, write
from tests.service.fakes import crop
from tests.service.tiny_artifact import write_tiny_artifact


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five calls, at noon: r1 and r2 on the 25th, r3 and r4 on the 26th, r5 on the 27th."""
    monkeypatch.delenv("MPANET_DATA", raising=False)
    clock = Clock()
    log = AuditLog.open(tmp_path / "audit", keep_days=30, clock=clock)
    query = {"call": "POST /query", "status": 200, "fields": {"modality": "infrared", "top_k": 10}}
    found = (ShownEntry("e7", "0007", 0.5), ShownEntry("e8", None, 0.25))
    write(log, [event(1, entry_ids=("e1",), person_ids=("0001",)), event(2, **query, shown=())])
    clock.pass_(days=1)
    erase = {"call": "DELETE /persons/{person_id}", "person_ids": ("0001",), "caller": "boss"}
    write(log, [event(3, **query, shown=found), event(4, **erase, phase="asked")])
    clock.pass_(days=1)
    write(log, [event(5, status=404, code="entry_not_found", entry_ids=("\x1b[2J",))])
    log.close()
    return tmp_path


def read(data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """Return the lines of calls that the command prints as JSON."""
    assert main(["audit", "--data", str(data), "--json", *options]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["kind"] == "call"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], "r1 r2 r3 r4 r5"),
        (["--since", "2026-11-26"], "r3 r4 r5"),
        (["--until", "2026-11-26T12:00:00.123Z"], "r1 r2"),
        (["--since", "2026-11-26T13:00:00+01:00", "--until", "2026-11-27"], "r3 r4"),
        (["--caller", "boss"], "r4"),
        (["--caller", "bos"], ""),
        (["--call", "DELETE"], "r4"),
        (["--call", "/query"], "r2 r3"),
        (["--person", "0001"], "r1 r4"),
        (["--person", "0007"], "r3"),
        (["--entry", "e1"], "r1"),
        (["--entry", "e8"], "r3"),
        (["--request-id", "r2"], "r2"),
        (["--limit", "3"], "r4 r5"),  # the line that begins the last file counts
        (["--call", "/query", "--limit", "1"], "r3"),
    ],
)
def test_filters(
    data: Path, capsys: pytest.CaptureFixture[str], options: list[str], found: str
) -> None:
    lines = read(data, capsys, *options)
    assert " ".join(line["request_id"] for line in lines) == found


def test_json_lines_are_those_of_the_files(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["audit", "--data", str(data), "--json"])
    stored = b"".join(path.read_bytes() for path in files_of(data / "audit"))
    assert capsys.readouterr().out.encode() == stored


def test_the_table_is_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--data", str(data), "--call", "e"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["time", "caller", "call", "outcome", "about"]
    assert lines[3].split("  ")[0] == "2026-11-26T12:00:00.123Z"
    assert lines[3].endswith("modality=infrared top_k=10 -> 2 entries, best e7 0.5000 request=r3")
    assert "asked" in lines[4]
    assert "404      entry_not_found entry=?[2J" in lines[5]  # no escape sequence


def test_the_log_s_own_lines_are_shown_where_nothing_is_filtered(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["audit", "--data", str(data)])
    assert "log file" in capsys.readouterr().out
    main(["audit", "--data", str(data), "--caller", "boss"])
    assert "log file" not in capsys.readouterr().out


def test_a_sound_log_is_verified_in_one_line(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--data", str(data), "--verify"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("8 lines of 3 files are sound, 1 to 8; the last is ")


def test_damage_is_named_and_exits_1(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files_of(data / "audit")[1]
    path.write_bytes(path.read_bytes().replace(b'"boss"', b'"none"'))
    assert main(["audit", "--data", str(data), "--verify"]) == 1
    damaged, counted = capsys.readouterr().out.splitlines()
    assert damaged.startswith(f"damaged: {path.name}, line 3: ")
    assert counted == "6 lines of 2 files are sound before it"
    assert main(["audit", "--data", str(data), "--verify", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["lines"]) == (False, 6)


def test_a_line_that_cannot_be_read_is_passed_over_and_exits_1(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files_of(data / "audit")[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\xff\n", *lines[2:]]))
    assert main(["audit", "--data", str(data), "--json"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 7
    assert f"damaged: {path.name}, line 2: expected a JSON object" in captured.err


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"],
        ["--limit", "0"],
        ["--verify", "--caller", "boss"],
    ],
)
def test_usage_errors_are_one_line_and_exit_2(data: Path, options: list[str]) -> None:
    run_mpanet("audit", "--data", str(data), *options).error_line()


def test_a_directory_without_a_log_is_named(tmp_path: Path) -> None:
    line = run_mpanet("audit", "--data", str(tmp_path / "none")).error_line()
    assert "there is no audit log in" in line
    assert "--data (or MPANET_DATA) is required" in run_mpanet("audit").error_line()


def test_the_log_of_a_running_service_is_read_and_goes_on(tmp_path: Path) -> None:
    model = write_tiny_artifact(tmp_path / "model").directory
    data = tmp_path / "data"
    with service(model, data) as running:
        image = tmp_path / "crop.png"
        image.write_bytes(crop(1))
        query = ("query", str(image), "--modality", "visible", "--url", running.url)
        assert run_mpanet(*query).code == 0
        env = environment(MPANET_DATA=str(data))
        listed = run_mpanet("audit", "--call", "POST /query", "--json", env=env)
        assert json.loads(listed.out)["shown"] == []
        assert run_mpanet("audit", "--verify", env=env).code == 0
        assert run_mpanet(*query).code == 0
        assert len(run_mpanet("audit", "--call", "/query", env=env).out.splitlines()) == 3
