"""What each role may call: the one table, and its check before a body is read.

A call that is not in the table is open to nobody.
"""

from collections.abc import Mapping
from typing import Final

from fastapi import Request

from service.access.caller import ROLES, Caller, Role
from service.errors import RoleRequiredError

NO_KEY: Final[frozenset[Role]] = frozenset()
EVERY: Final = frozenset(ROLES)
QUERY: Final[frozenset[Role]] = frozenset({"query", "admin"})
ENROLL: Final[frozenset[Role]] = frozenset({"enroll", "admin"})
ADMIN: Final[frozenset[Role]] = frozenset({"admin"})

ROLES_OF_CALL: Final[Mapping[tuple[str, str], frozenset[Role]]] = {
    ("POST", "/query"): QUERY,
    ("POST", "/embed"): QUERY,
    ("POST", "/compare"): QUERY,
    ("GET", "/queries/{query_id}/patterns.png"): QUERY,
    ("POST", "/gallery"): ENROLL,
    ("POST", "/gallery/batch"): ENROLL,
    ("PATCH", "/gallery/{entry_id}"): ENROLL,
    ("GET", "/gallery"): EVERY,
    ("GET", "/gallery/{entry_id}"): EVERY,
    ("GET", "/gallery/{entry_id}/crop"): QUERY,
    ("DELETE", "/gallery/{entry_id}"): ADMIN,
    ("DELETE", "/persons/{person_id}"): ADMIN,
    ("GET", "/models"): EVERY,
    ("GET", "/models/{model_id}"): EVERY,
    ("POST", "/models"): ADMIN,
    ("POST", "/models/{model_id}/activate"): ADMIN,
    ("POST", "/models/rollback"): ADMIN,
    ("POST", "/models/reclaim"): ADMIN,
    ("POST", "/models/{model_id}/calibrate"): ADMIN,
    ("GET", "/jobs"): EVERY,
    ("GET", "/jobs/{job_id}"): EVERY,
    ("GET", "/jobs/{job_id}/events"): EVERY,
    ("DELETE", "/jobs/{job_id}"): ADMIN,
    ("GET", "/readyz"): EVERY,
    ("GET", "/metrics"): EVERY,
    ("GET", "/docs"): EVERY,
    ("GET", "/openapi.json"): EVERY,  # FastAPI's own route, out of reach of `check_role`
    ("GET", "/whoami"): EVERY,
    ("GET", "/audit"): ADMIN,
    ("GET", "/"): NO_KEY,
    ("GET", "/web/{path}"): NO_KEY,
    ("GET", "/healthz"): NO_KEY,
}
_OPEN: Final = [path.partition("{") for (_, path), roles in ROLES_OF_CALL.items() if not roles]
_OPEN_PATHS: Final = frozenset(path for path, parameter, _ in _OPEN if not parameter)
_OPEN_FOLDERS: Final = tuple(path for path, parameter, _ in _OPEN if parameter)


def needs_no_key(path: str) -> bool:
    """Return whether the calls of a path are open to everybody."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def calls_of(caller: Caller) -> list[str]:
    """Return what a caller may do: methods and the templates of paths."""
    return [
        f"{method} {path}"
        for (method, path), allowed in ROLES_OF_CALL.items()
        if _is_open_to(caller, allowed)
    ]


def _is_open_to(caller: Caller, allowed: frozenset[Role]) -> bool:
    return not allowed or not allowed.isdisjoint(caller.roles)


async def check_role(request: Request) -> None:
    """Let a request pass whose caller has a role for it. Raises: RoleRequiredError."""
    scope = request.scope
    call = scope["method"], scope["route"].path_format
    allowed = ROLES_OF_CALL.get(call)
    if allowed is None:
        raise RoleRequiredError(f"{call[0]} {call[1]} is open to no role")
    caller = scope["state"]["caller"]
    assert isinstance(caller, Caller)
    if not _is_open_to(caller, allowed):
        raise RoleRequiredError(
            f"expected a key with the role {_named(allowed)}, came one with {_named(caller.roles)}"
        )


def _named(roles: frozenset[Role]) -> str:
    return " or ".join(role for role in ROLES if role in roles)
