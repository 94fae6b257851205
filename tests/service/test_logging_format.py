"""Log lines: one an event, whatever is in it."""

import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.observing.logging_format import LogFormat, formatter, with_fields


def written(log_format: LogFormat, message: str, *values: object, **more: Any) -> str:
    """Return what a logger of its own writes for one event."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(log_format))
    logger = logging.Logger("some.name")
    logger.addHandler(handler)
    logger.info(message, *values, **more)
    return stream.getvalue()


def test_json_is_one_object_with_the_fields_of_the_event() -> None:
    before = datetime.now(UTC)
    line = json.loads(written("json", "%d crops", 3, extra=with_fields({"status": 200})))
    moment = datetime.fromisoformat(line.pop("time"))
    assert before.replace(microsecond=0) <= moment <= datetime.now(UTC)
    assert line == {"level": "INFO", "logger": "some.name", "message": "3 crops", "status": 200}


def test_text_has_the_fields_behind_the_message() -> None:
    line = written("text", "GET %s", "/query", extra=with_fields({"status": 200, "client": "::1"}))
    assert line.split(" ", 1)[1] == "INFO some.name GET /query status=200 client=::1\n"


@settings(deadline=None)
@given(st.text())
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_text_begins_a_second_line_or_moves_the_cursor(log_format: LogFormat, text: str) -> None:
    line = written(log_format, "%s", text, extra=with_fields({"path": text}))
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    if log_format == "json":
        read = json.loads(line)
        assert (read["message"], read["path"]) == (text, text)


def raised() -> Exception:
    try:
        raise ValueError("broken\n2026-01-01T00:00:00.000Z INFO some.name forged\x1b[2J")
    except ValueError as error:
        return error


def test_an_exception_is_a_field_of_its_line() -> None:
    line = written("json", "failed", exc_info=raised())
    assert line.count("\n") == 1
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback (most recent call last):")
    assert "ValueError: broken" in exception


def test_no_line_of_a_traceback_can_be_taken_for_an_event() -> None:
    first, *rest = written("text", "failed", exc_info=raised()).splitlines()
    assert first.endswith("INFO some.name failed")
    assert all(line.startswith("    | ") for line in rest)
    assert rest[-1] == "    | 2026-01-01T00:00:00.000Z INFO some.name forged\\x1b[2J"


def test_what_json_does_not_know_is_written_as_text() -> None:
    line = json.loads(written("json", "x", extra=with_fields({"where": sys.intern, "n": 1.5})))
    assert line["where"] == str(sys.intern)
    assert line["n"] == 1.5
