"""`create_app`: the application, put together from its parts. Opens and closes none of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from gallery_index.gallery import Gallery
from gallery_index.person_gallery import PersonGallery
from service import problems
from service.access.auth import KeyRing
from service.access.gate import Gate
from service.access.roles import check_role
from service.access.security_headers import SecurityHeaders
from service.audit.log import AuditLog
from service.context import ServiceContext
from service.describing import openapi
from service.edge import Edge
from service.engine.crop_encoder import CropEncoder
from service.engine.embedding import CropEmbedder
from service.engine.search_pool import SearchPool
from service.engine.shedding import Shedding
from service.explaining.kept_queries import KeptQueries
from service.observing.metrics import Metrics
from service.observing.route_templates import RouteTemplates
from service.refresh.calibrating import calibrate_gallery
from service.refresh.gate import Evaluate, EvaluationGate
from service.refresh.jobs import JOBS, JobStore
from service.refresh.refresher import Refresher
from service.refresh.registry import ModelRegistry
from service.refresh.served import OpenModel, ServedModel, ServedModels
from service.routes import audit as audit_routes
from service.routes import gallery as gallery_routes
from service.routes import jobs as job_routes
from service.routes import models as model_routes
from service.routes import publish, queries, search, status, web, whoami
from service.settings import ServiceSettings


def create_app(
    settings: ServiceSettings,
    model: ServedModel | CropEncoder,
    gallery: PersonGallery,
    *,
    audit: AuditLog | None = None,
    registry: ModelRegistry | None = None,
    open_model: OpenModel | None = None,
    evaluate: Evaluate | None = None,
) -> FastAPI:
    """Build the application around a model, or its encoder alone, and a gallery.

    The caller opens and closes them, and `audit`; without that nothing is recorded. Without a
    `registry` and `open_model`, which opens a model of it, there is no other model; without
    `evaluate` none is measured before it is activated.
    """
    if not isinstance(model, ServedModel):
        model = ServedModel(model)
    metrics = Metrics()
    searches = SearchPool()
    models = ServedModels(gallery, model)
    embedder = CropEmbedder(
        lambda: models.active().encoder, settings, metrics, searches.expected_wait_s
    )

    gate = EvaluationGate(evaluate, settings.evaluation_margin) if evaluate else None
    refresher = None
    generations = gallery if isinstance(gallery, Gallery) else None
    if registry is not None and open_model is not None and generations is not None:
        refresher = Refresher(
            generations,
            models,
            embedder,
            JobStore(settings.data / JOBS),
            open_model=open_model,
            gate=gate,
            calibrate=calibrate_gallery,
            keep_calibration=registry.recalibrate,
        )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if refresher is not None:
            refresher.start()
        yield
        if refresher is not None:
            await asyncio.to_thread(refresher.stop, settings.shutdown_s)
        await asyncio.to_thread(embedder.close, settings.shutdown_s)
        searches.close()

    app = FastAPI(
        title="mpanet",
        version=version("mpanet"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever the Host header says
        dependencies=[Depends(check_role)],
    )
    app.state.context = ServiceContext(
        settings,
        models,
        embedder,
        gallery,
        searches,
        metrics,
        audit=audit,
        registry=registry,
        refresher=refresher,
        explained=KeptQueries(settings.explain_kept_s),
        generations=generations,
    )
    every_room = (
        *(gallery_routes, search, queries, model_routes, publish, job_routes),
        *(audit_routes, whoami, status, web),
    )
    routers = [routes.router for routes in every_room]
    for router in routers:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        Shedding,
        admission=embedder.admission,
        max_request_bytes=settings.max_request_bytes,
        read_timeout_s=settings.read_timeout_s,
        publish_read_timeout_s=settings.publish_read_timeout_s,
    )
    app.add_middleware(
        Gate,
        keys=KeyRing(settings.api_keys, settings.keys_file),
        rate_limit=settings.rate_limit,
        insecure=settings.insecure,
    )
    every_route = [*app.routes, *(route for router in routers for route in router.routes)]
    app.add_middleware(Edge, metrics=metrics.requests, templates=RouteTemplates(every_route))
    app.add_middleware(SecurityHeaders)
    return app
