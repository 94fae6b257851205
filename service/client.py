"""`ServiceClient` and `AsyncServiceClient`: the HTTP contract as Python methods.

Two thin shells that send and sleep; what is sent is `client_calls`, when it is sent again is
`client_retries`. Used by `mpanet enroll`, `mpanet query` and the tests. Imports neither the
service's framework nor anything of the model or the gallery.
"""

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from service import client_calls as calls
from service.client_answers import Entry
from service.client_calls import Call
from service.client_errors import ServiceError
from service.client_retries import Patience, Tries

__all__ = ["AsyncServiceClient", "Patience", "ServiceClient", "ServiceError"]

P = ParamSpec("P")
T = TypeVar("T")

PAGE_SIZE = 1000
TIMEOUT_S = 60.0
MAX_CONNECTIONS = 32
IDLE_S = 5.0
"""How long an unused connection is kept: shorter than servers keep it, so that fewer are lost."""
_KEY = re.compile(r"[!-~]+")


def _waited(
    describe: Callable[P, Call[T]],
) -> Callable[Concatenate["ServiceClient", P], T]:
    """Make a method that sends a call and waits for its answer."""

    @functools.wraps(describe)
    def method(self: "ServiceClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(describe(*args, **kwargs))

    return method


def _awaited(
    describe: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncServiceClient", P], Awaitable[T]]:
    """Make a method that sends a call and awaits its answer."""

    @functools.wraps(describe)
    async def method(self: "AsyncServiceClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(describe(*args, **kwargs))

    return method


class ServiceClient:
    """Speaks to one running service, from any number of threads; close it, or use it in a `with`.

    Every method raises ServiceError.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        max_connections: int = MAX_CONNECTIONS,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Without a key only a service that asks for none will answer.

        `timeout_s` bounds each wait for the network, `patience` a call with all its sendings.

        Raises: ValueError if the key cannot be sent in a header, or is not the only secret.
        """
        self._timeout_s = timeout_s
        self._patience = patience or Patience()
        self._sleep = sleep
        self._http = httpx.Client(transport=transport, **_options(url, api_key, max_connections))
        self._address = _address(self._http.base_url)

    def __repr__(self) -> str:
        """Name the service."""
        return f"{type(self).__name__}({self._address!r})"

    def __enter__(self) -> "ServiceClient":
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call as often as it takes; returns its answer. Raises: ServiceError."""
        tries = Tries(call, self._patience, self._address)
        while True:
            wait_s = tries.take(
                self._once(call, tries.timeout(max(self._timeout_s, call.timeout_s)))
            )
            if tries.done:
                return tries.answer
            self._sleep(wait_s)

    def _once(self, call: Call[T], timeout: httpx.Timeout) -> httpx.Response | httpx.TransportError:
        try:
            with call.opened() as content:
                return self._http.request(call.method, call.path, timeout=timeout, **content)
        except httpx.TransportError as error:
            return error

    enroll = _waited(calls.enroll)
    enroll_batch = _waited(calls.enroll_batch)
    query = _waited(calls.query)
    patterns = _waited(calls.patterns)
    embed = _waited(calls.embed)
    compare = _waited(calls.compare)
    get = _waited(calls.get)
    crop = _waited(calls.crop)
    page = _waited(calls.page)
    update = _waited(calls.update)
    delete = _waited(calls.delete)
    erase_person = _waited(calls.erase_person)
    models = _waited(calls.models)
    model = _waited(calls.model)
    publish_model = _waited(calls.publish_model)
    activate = _waited(calls.activate)
    rollback = _waited(calls.rollback)
    reclaim = _waited(calls.reclaim)
    calibrate = _waited(calls.calibrate)
    jobs = _waited(calls.jobs)
    job = _waited(calls.job)
    cancel = _waited(calls.cancel)
    whoami = _waited(calls.whoami)
    audit = _waited(calls.audit)
    health = _waited(calls.health)
    ready = _waited(calls.ready)
    metrics = _waited(calls.metrics)
    openapi = _waited(calls.openapi)

    def list(self, *, limit: int = PAGE_SIZE, **filters: Any) -> Iterator[Entry]:
        """Yield entries in the order of enrolment, all pages of them; filters are as of `page`."""
        cursor = None
        while True:
            page = self.page(limit=limit, cursor=cursor, **filters)
            yield from page["entries"]
            cursor = page["next_cursor"]
            if cursor is None:
                return


class AsyncServiceClient:
    """Speaks to one running service from an event loop; close it, or use it in an `async with`.

    Its methods are those of `ServiceClient`, to be awaited.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        max_connections: int = MAX_CONNECTIONS,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Do as `ServiceClient`."""
        self._timeout_s = timeout_s
        self._patience = patience or Patience()
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            transport=transport, **_options(url, api_key, max_connections)
        )
        self._address = _address(self._http.base_url)

    def __repr__(self) -> str:
        """Name the service."""
        return f"{type(self).__name__}({self._address!r})"

    async def __aenter__(self) -> "AsyncServiceClient":
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call as often as it takes; returns its answer. Raises: ServiceError."""
        tries = Tries(call, self._patience, self._address)
        while True:
            wait_s = tries.take(
                await self._once(call, tries.timeout(max(self._timeout_s, call.timeout_s)))
            )
            if tries.done:
                return tries.answer
            await self._sleep(wait_s)

    async def _once(
        self, call: Call[T], timeout: httpx.Timeout
    ) -> httpx.Response | httpx.TransportError:
        try:
            with call.opened() as content:
                return await self._http.request(call.method, call.path, timeout=timeout, **content)
        except httpx.TransportError as error:
            return error

    enroll = _awaited(calls.enroll)
    enroll_batch = _awaited(calls.enroll_batch)
    query = _awaited(calls.query)
    patterns = _awaited(calls.patterns)
    embed = _awaited(calls.embed)
    compare = _awaited(calls.compare)
    get = _awaited(calls.get)
    crop = _awaited(calls.crop)
    page = _awaited(calls.page)
    update = _awaited(calls.update)
    delete = _awaited(calls.delete)
    erase_person = _awaited(calls.erase_person)
    models = _awaited(calls.models)
    model = _awaited(calls.model)
    publish_model = _awaited(calls.publish_model)
    activate = _awaited(calls.activate)
    rollback = _awaited(calls.rollback)
    reclaim = _awaited(calls.reclaim)
    calibrate = _awaited(calls.calibrate)
    jobs = _awaited(calls.jobs)
    job = _awaited(calls.job)
    cancel = _awaited(calls.cancel)
    whoami = _awaited(calls.whoami)
    audit = _awaited(calls.audit)
    health = _awaited(calls.health)
    ready = _awaited(calls.ready)
    metrics = _awaited(calls.metrics)
    openapi = _awaited(calls.openapi)

    async def list(self, *, limit: int = PAGE_SIZE, **filters: Any) -> AsyncIterator[Entry]:
        """Yield entries in the order of enrolment, all pages of them; filters are as of `page`."""
        cursor = None
        while True:
            page = await self.page(limit=limit, cursor=cursor, **filters)
            for entry in page["entries"]:
                yield entry
            cursor = page["next_cursor"]
            if cursor is None:
                return


def _options(url: str, api_key: str | None, max_connections: int) -> dict[str, Any]:
    """Return what both kinds of httpx client are made with."""
    if api_key is not None and not _KEY.fullmatch(api_key):
        raise ValueError("api_key: expected printable ASCII without spaces, came something else")
    if api_key is not None and httpx.URL(url).userinfo:
        raise ValueError("url: expected no user and password beside an API key, came both")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    limits = httpx.Limits(
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=IDLE_S,
    )
    return {"base_url": url, "headers": headers, "limits": limits}


def _address(url: httpx.URL) -> str:
    """Return a URL as it may be shown: without user and password."""
    return str(url.copy_with(userinfo=b"")).rstrip("/")
