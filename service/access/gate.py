"""Who gets in: an ASGI layer between the edge and the application.

Finds the caller of a request by its key and leaves them in its state; what each may do is decided
where the call is known. What an unknown one gets is an error, which the edge turns into an answer.
"""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.auth import KeyRing
from service.access.caller import ANYONE, STRANGER, Caller
from service.access.cross_origin import refuse_cross_origin, refuse_other_hosts
from service.access.keys import KEY_TEXT
from service.access.rate_limit import RateLimiter
from service.access.roles import needs_no_key
from service.errors import KeyRequiredError

_READ = frozenset({b"authorization", b"x-api-key", b"host", b"origin", b"sec-fetch-site"})


class Gate:
    """ASGI middleware that lets requests with a known key pass."""

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyRing,
        *,
        rate_limit: int | None = None,
        insecure: bool = False,
        limiter: RateLimiter | None = None,
    ) -> None:
        """`rate_limit` is of keys without their own; `insecure` takes any host without keys."""
        self._app = app
        self._keys = keys
        self._rate_limit = rate_limit
        self._insecure = insecure
        self._limiter = RateLimiter() if limiter is None else limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through.

        Raises: KeyRequiredError, KeyUnknownError, RateLimitedError, CrossOriginError.
        """
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = self._caller(scope)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        demanded = self._keys.demands_keys()
        if needs_no_key(scope["path"]):
            return STRANGER if demanded else ANYONE
        headers = {name: value for name, value in scope["headers"] if name in _READ}
        refuse_cross_origin(scope["method"], headers)
        _refuse_key_in_address(scope)
        if demanded:
            return self._holder_of(_key(headers))
        if not self._insecure:
            refuse_other_hosts(headers)
        return ANYONE

    def _holder_of(self, key: bytes) -> Caller:
        if not key:
            raise KeyRequiredError("expected `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        holder = self._keys.holder(key)
        limit = holder.rate_limit or self._rate_limit
        if limit is not None:
            self._limiter.take(holder.caller.key_id, limit)
        return holder.caller


def _refuse_key_in_address(scope: Scope) -> None:
    """Refuse before anything repeats the address. Raises: KeyRequiredError."""
    if KEY_TEXT.search(scope["path"]) or KEY_TEXT.search(
        scope.get("query_string", b"").decode("latin-1")
    ):
        raise KeyRequiredError(
            "expected an API key in a header alone, came one in the address:"
            " addresses end up in logs, revoke it"
        )


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and key.strip():
        return key.strip()
    return headers.get(b"x-api-key", b"").strip()
