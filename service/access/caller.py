"""Who makes a request, and what they may do. How a key becomes a caller is `auth`."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Role: TypeAlias = Literal["query", "enroll", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of an API key; `key_id` is the public part of the key, never the secret.

    `name` is what the audit log shows. `admin` may do everything.
    """

    name: str
    key_id: str
    roles: frozenset[Role]


ANYONE: Final = Caller("anonymous", "", frozenset(ROLES))
"""Whoever calls a service that has no keys."""
STRANGER: Final = Caller("anonymous", "", frozenset())
"""Whoever calls without a key what needs none, on a service that has keys."""
ENVIRONMENT: Final = "environment"
"""The name of those whose key stands in MPANET_API_KEY."""
RESERVED_NAMES: Final = frozenset({ANYONE.name, ENVIRONMENT})
