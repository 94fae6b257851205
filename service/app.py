"""`create_app`: the application, put together from its parts. Opens and closes none of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from gallery_index.person_gallery import PersonGallery
from service import openapi, problems
from service.auth import KeyCheck
from service.batching import CropEncoder
from service.context import ModelFacts, ServiceContext
from service.edge import Edge
from service.embedding import CropEmbedder
from service.gate import Gate
from service.routes import gallery as gallery_routes
from service.routes import models, search, status
from service.search_pool import SearchPool
from service.settings import ServiceSettings
from service.shedding import Shedding


def create_app(
    settings: ServiceSettings,
    encoder: CropEncoder,
    gallery: PersonGallery,
    model: ModelFacts | None = None,
) -> FastAPI:
    """Build the application around an encoder and a gallery that the caller opens and closes."""
    embedder = CropEmbedder(encoder, settings)
    searches = SearchPool()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(embedder.close, settings.shutdown_s)
        searches.close()

    app = FastAPI(
        title="mpanet",
        version=version("mpanet"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever the Host header says
    )
    app.state.context = ServiceContext(
        settings, encoder, embedder, gallery, model or ModelFacts(), searches
    )
    for routes in (gallery_routes, search, models, status):
        app.include_router(routes.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        Shedding,
        admission=embedder.admission,
        max_request_bytes=settings.max_request_bytes,
        read_timeout_s=settings.read_timeout_s,
    )
    app.add_middleware(Gate, keys=KeyCheck(settings.api_keys))
    app.add_middleware(Edge)
    return app
