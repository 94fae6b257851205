"""The headers of answers, as the OpenAPI document describes them."""

from typing import Any, Final

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The request's id, which the log has too; the client's own if it sent one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Retry-After": {
        "description": "After how many seconds to come back.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    },
    "WWW-Authenticate": {
        "description": "How to send the key.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Of the bytes of the answer; 304 with it in `If-None-Match`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where to go on: the entry that was enrolled, the model or the job.",
        "required": True,
        "schema": {"type": "string", "pattern": "^/"},
    },
    "Idempotent-Replayed": {
        "description": "Everything was there already; nothing was enrolled by this request.",
        "schema": {"type": "string", "const": "true"},
    },
    "Server-Timing": {
        "description": "How long each stage took, in milliseconds (W3C Server Timing).",
        "schema": {"type": "string"},
    },
}


def headers_of(*names: str) -> dict[str, Any]:
    """Return references to headers, those of every answer included."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}
