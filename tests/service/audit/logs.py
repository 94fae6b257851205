"""Logs for tests: events, a clock that is set, and records read back without the reader."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.audit.event import AuditEvent
from service.audit.log import AuditLog

NOON = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


class Clock:
    """Says what it is set to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


def event(number: int = 1, **fields: Any) -> AuditEvent:
    given = {"call": "GET /gallery/{entry_id}", "phase": "done", "caller": "night-desk"}
    return AuditEvent(**{**given, "request_id": f"r{number}", "key_id": "k1", **fields})


def write(log: AuditLog, events: Sequence[AuditEvent]) -> None:
    """Record events one after the other."""

    async def record() -> None:
        for each in events:
            await log.record(each)

    asyncio.run(record())


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def lines_of(directory: Path) -> list[dict[str, Any]]:
    """Return every whole line of a log as it stands in its files."""
    whole = [line for path in files_of(directory) for line in path.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line) for line in whole]


def calls_of(directory: Path) -> list[dict[str, Any]]:
    """Return the lines that are of calls."""
    return [line for line in lines_of(directory) if line["kind"] == "call"]
