"""How log lines are written: JSON for programs, text for people; one event is one line.

Whatever a client sends cannot end a line, begin another or move a terminal's cursor: what is not
printable is escaped. Which events there are is their modules' business.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

LogFormat = Literal["json", "text"]
INDENT: Final = "    | "

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def configure(log_format: LogFormat) -> None:
    """Let every logger of this process write to the standard error in a format, from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def formatter(log_format: LogFormat) -> logging.Formatter:
    """Return the formatter of a format."""
    return _JsonFormatter() if log_format == "json" else _TextFormatter()


def with_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `extra` of a log call that has fields beside its message."""
    return {"fields": fields}


class _JsonFormatter(logging.Formatter):
    """A JSON object a line, in ASCII: `time`, `level`, `logger`, `message`, the event's fields.

    An exception is a field, `exception`, with its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class _TextFormatter(logging.Formatter):
    """A line of text: time, level, logger, message, `name=value`; tracebacks follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        lines = [_printable(line)]
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            lines += [INDENT + _printable(text) for text in traceback.split("\n")]
        return "\n".join(lines)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
