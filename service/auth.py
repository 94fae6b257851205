"""API keys: who may call at all. Roles and limits a key come with their own issue."""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers

from service.errors import KeyRequiredError, KeyUnknownError

OPEN_PATHS = frozenset({"/healthz"})


class KeyCheck:
    """Compares the key of a request with ours, in the same time whatever came."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Without keys everybody may call."""
        self._digests = [_digest(key) for key in keys]

    def check(self, path: str, headers: Headers) -> None:
        """Let a request pass. Raises: KeyRequiredError, KeyUnknownError."""
        if not self._digests or path in OPEN_PATHS:
            return
        key = _key_of(headers)
        if not key:
            raise KeyRequiredError("expected `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise KeyUnknownError("the API key that came is not one of this service's")


def _key_of(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key", "").strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
