"""What every route handler works with, and how handlers run what is slow."""

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from gallery_index.person_gallery import PersonGallery
from gallery_index.records import GalleryStats
from gallery_index.refreshable import RefreshableGallery
from service.audit.log import AuditLog
from service.engine.embedding import CropEmbedder
from service.engine.search_pool import SearchPool
from service.errors import ClientLeftError
from service.explaining.kept_queries import KeptQueries
from service.observing.metrics import Metrics
from service.observing.single_flight import SingleFlight
from service.refresh.refresher import Refresher
from service.refresh.registry import ModelRegistry
from service.refresh.served import ServedModels
from service.settings import ServiceSettings
from service.web_files import WebFile, read_web_files

P = ParamSpec("P")
T = TypeVar("T")


MAX_WATCHERS = 64
"""How many clients may follow jobs at once."""
WRITING_THREADS = 32
"""How many writes wait for the store at once: the gallery puts them into one commit, and a store
that hangs must leave threads to searches."""


class Watchers:
    """Counts the clients that follow a job: a connection each. Belongs to one event loop."""

    def __init__(self) -> None:
        self.free = MAX_WATCHERS

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one."""
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The parts of one running service."""

    settings: ServiceSettings
    models: ServedModels
    embedder: CropEmbedder
    gallery: PersonGallery
    searches: SearchPool
    metrics: Metrics = field(default_factory=Metrics)
    probes: SingleFlight[None] = field(default_factory=SingleFlight)
    stats_reads: SingleFlight[GalleryStats] = field(default_factory=SingleFlight)
    audit: AuditLog | None = None
    registry: ModelRegistry | None = None
    refresher: Refresher | None = None
    explained: KeptQueries = field(default_factory=lambda: KeptQueries(600))
    generations: RefreshableGallery | None = None
    watchers: Watchers = field(default_factory=Watchers)
    web: Mapping[str, WebFile] = field(default_factory=read_web_files)
    writes: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(WRITING_THREADS)
    )


async def context_of(request: Request) -> ServiceContext:
    """Return the parts of the service that a request came to (async: no thread is needed)."""
    context = request.app.state.context
    assert isinstance(context, ServiceContext)
    return context


Context = Annotated[ServiceContext, Depends(context_of)]


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call of the gallery off the event loop; once begun it runs to its end."""
    return await run_in_threadpool(call, *args, **kwargs)


async def written(
    context: ServiceContext, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a writing call of the gallery off the event loop, among the few that may wait at once."""
    work = functools.partial(call, *args, **kwargs)
    return await anyio.to_thread.run_sync(work, limiter=context.writes)


async def unless_client_leaves(request: Request, work: "asyncio.Future[T]") -> T:
    """Wait for work, but cancel it when the client closes the connection.

    The request's body must have been read. Raises: ClientLeftError.
    """
    departure = asyncio.ensure_future(_departure(request))
    departure.add_done_callback(lambda _: work.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if departure.done() and not departure.cancelled():
            raise ClientLeftError("the client left before its answer was ready") from None
        raise
    finally:
        departure.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
