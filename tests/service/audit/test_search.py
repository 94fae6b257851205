"""Calls of a log, newest first: against reading all of it, whatever the pages and blocks."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gallery_index.errors import CursorError
from service.audit import files
from service.audit.event import AuditEvent, ShownEntry
from service.audit.log import AuditLog
from service.audit.search import AuditFilter, AuditPage, find_calls
from tests.service.audit.logs import Clock, calls_of, event, write

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)


class PassingClock(Clock):
    """Goes on by three hours a look, so that a log has several files."""

    def __call__(self) -> datetime:
        self.pass_(hours=3)
        return self.now


def numbered(number: int) -> AuditEvent:
    who = ["ann", "bob", "ünal"][number % 3]
    call = ["POST /query", "DELETE /persons/{person_id}", "GET /gallery"][number % 3]
    shown = (ShownEntry(f"e{number}", f"p{number % 5}", 0.5),) if number % 3 == 0 else None
    return event(
        number,
        call=call,
        caller=who,
        status=200 if number % 4 else 404,
        code=None if number % 4 else "person_not_found",
        person_ids=(f"p{number % 7}",) if number % 2 else (),
        fields={"text": "x" * (number * 37 % 400)},
        shown=shown,
    )


def record(directory: Path, numbers: range, began: datetime = BEGAN) -> None:
    log = AuditLog.open(directory, keep_days=3650, clock=PassingClock(began))
    write(log, [numbered(number) for number in numbers])
    log.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    record(tmp_path / "audit", range(60))
    return tmp_path / "audit"


def newest_first(directory: Path) -> list[dict[str, Any]]:
    return calls_of(directory)[::-1]


def pages(directory: Path, wanted: AuditFilter, limit: int, max_bytes: int) -> Iterator[AuditPage]:
    cursor = None
    while True:
        page = find_calls(directory, wanted, limit=limit, cursor=cursor, max_bytes=max_bytes)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def found(
    directory: Path, wanted: AuditFilter, limit: int = 7, max_bytes: int = 2**20
) -> list[str]:
    every = pages(directory, wanted, limit, max_bytes)
    return [event["request_id"] for page in every for event in page.events]


def test_the_log_of_these_tests_has_many_files(directory: Path) -> None:
    assert len(list(directory.glob("*.jsonl"))) > 5
    assert [values["request_id"] for values in newest_first(directory)] == [
        f"r{number}" for number in reversed(range(60))
    ]


@pytest.mark.parametrize("block", [1, 2, 7, 64, 301, 4096])
@pytest.mark.parametrize(
    ("limit", "max_bytes"), [(1, 2**20), (7, 2**20), (1000, 2**20), (50, 1), (3, 900)]
)
def test_pages_have_every_call_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch, block: int, limit: int, max_bytes: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    assert found(directory, AuditFilter(), limit, max_bytes) == [
        f"r{number}" for number in reversed(range(60))
    ]


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (AuditFilter(caller="ünal"), lambda n: n % 3 == 2),
        (AuditFilter(caller="an"), lambda n: False),
        (AuditFilter(call="/query"), lambda n: n % 3 == 0),
        (AuditFilter(call="GET"), lambda n: n % 3 == 2),
        (
            AuditFilter(person_id="p3"),
            lambda n: (n % 2 and n % 7 == 3) or (n % 3 == 0 and n % 5 == 3),
        ),
        (AuditFilter(entry_id="e9"), lambda n: n == 9),
        (AuditFilter(request_id="r5"), lambda n: n == 5),
        (AuditFilter(status=404), lambda n: n % 4 == 0),
        (AuditFilter(code="person_not_found"), lambda n: n % 4 == 0),
        (AuditFilter(caller="ann", status=200, call="query"), lambda n: n % 3 == 0 and n % 4),
    ],
)
def test_filters(directory: Path, wanted: AuditFilter, holds: Any) -> None:
    assert found(directory, wanted) == [f"r{n}" for n in reversed(range(60)) if holds(n)]


def test_times(directory: Path) -> None:
    every = newest_first(directory)
    after, before = (datetime.fromisoformat(every[at]["time"]) for at in (40, 10))
    expected = [values["request_id"] for values in every[11:41]]
    assert found(directory, AuditFilter(after=after, before=before)) == expected
    assert found(directory, AuditFilter(before=BEGAN)) == []


def test_a_page_says_how_far_it_looked(directory: Path) -> None:
    page = find_calls(directory, AuditFilter(caller="nobody"), limit=10, max_bytes=2000)
    assert page.events == []
    assert page.cursor is not None
    assert page.searched_to is not None
    newest, oldest = (datetime.fromisoformat(newest_first(directory)[at]["time"]) for at in (0, -1))
    assert oldest < page.searched_to <= newest
    whole = find_calls(directory, AuditFilter(caller="nobody"), limit=10)
    assert (whole.events, whole.cursor, whole.searched_to) == ([], None, None)


def test_what_is_written_meanwhile_moves_no_page(directory: Path) -> None:
    first = find_calls(directory, AuditFilter(), limit=5)
    record(directory, range(100, 120), BEGAN + timedelta(days=30))
    second = find_calls(directory, AuditFilter(), limit=5, cursor=first.cursor)
    assert [event["request_id"] for event in second.events] == ["r54", "r53", "r52", "r51", "r50"]


def test_a_file_that_expired_meanwhile_is_passed_over(directory: Path) -> None:
    names = sorted(directory.glob("*.jsonl"))
    page = find_calls(directory, AuditFilter(), limit=31)
    for name in names[:-1]:
        name.unlink()
    again = find_calls(directory, AuditFilter(), limit=1000, cursor=page.cursor)
    assert (again.events, again.cursor) == ([], None)


def test_a_damaged_line_is_named_and_the_others_come(directory: Path) -> None:
    path = sorted(directory.glob("*.jsonl"))[2]
    lines = path.read_bytes().split(b"\n")
    lost = json.loads(lines[1])["request_id"]
    start = len(lines[0]) + 1
    lines[1] = b"\xff" * len(lines[1])
    path.write_bytes(b"\n".join(lines))
    page = find_calls(directory, AuditFilter(), limit=1000)
    assert [values["request_id"] for values in page.events] == [
        f"r{n}" for n in reversed(range(60)) if f"r{n}" != lost
    ]
    [damage] = page.damaged
    assert damage.startswith(f"{path.name}, byte {start}: expected a JSON object")


def test_a_line_that_is_being_written_is_left_out(directory: Path) -> None:
    newest = sorted(directory.glob("*.jsonl"))[-1]
    with newest.open("ab") as file:
        file.write(b'{"sequence":999,"time":"2026-')
    page = find_calls(directory, AuditFilter(), limit=1000)
    assert len(page.events) == 60
    assert page.damaged == []


def test_what_the_chain_needs_is_not_shown(directory: Path) -> None:
    [newest] = find_calls(directory, AuditFilter(), limit=1).events
    assert "previous" not in newest
    assert (newest["caller"], newest["sequence"]) == (
        "ünal",
        newest_first(directory)[0]["sequence"],
    )


@pytest.mark.parametrize("cursor", ["", "1.1", "a.b.c", "../../x", "1.1.-4", "1.1.1.1", "9" * 40])
def test_a_strange_cursor_is_refused(directory: Path, cursor: str) -> None:
    with pytest.raises(CursorError, match="expected one from an earlier page"):
        find_calls(directory, AuditFilter(), limit=1, cursor=cursor)


def test_a_made_up_cursor_does_no_harm(directory: Path) -> None:
    draw = random.Random(7)
    for _ in range(200):
        cursor = f"{draw.randrange(80)}.{draw.randrange(3)}.{draw.randrange(3000)}"
        page = find_calls(directory, AuditFilter(), limit=1000, cursor=cursor)
        assert {event["request_id"] for event in page.events} <= {f"r{n}" for n in range(60)}
