"""What the operator asks: liveness, readiness, metrics, documentation."""

from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from service.bodies.schemas import (
    HealthBody,
    ReadyBody,
    ReadyCheck,
    ReadyIndex,
    ReadyModel,
    ReadyStore,
)
from service.context import Context
from service.describing.docs_page import docs_page
from service.errors import NotReadyError
from service.observing.exposition import MEDIA_TYPE
from service.observing.readiness import check_encoder, checks, standing, stats

router = APIRouter(tags=["status"])
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@router.get("/healthz", response_model=HealthBody)
async def is_alive(context: Context) -> HealthBody:
    """Say that the process answers and its encoder embeds; needs no key.

    Costs nothing while the encoder works; after a failure a small image goes through it.
    """
    await check_encoder(context)
    return HealthBody(status="ok")


@router.get("/readyz", response_model=ReadyBody)
async def is_ready(context: Context) -> ReadyBody:
    """Say whether every part works, and what an acknowledged enrolment survives."""
    known = await stats(context)
    every = await checks(context, known)
    reasons = [f"{check.name}: {check.detail}" for check in every if not check.ok]
    if reasons or known is None:
        raise NotReadyError(reasons)
    encoder = context.models.active().encoder
    return ReadyBody(
        status="ready",
        model=ReadyModel(
            model_id=encoder.model_id,
            embedding_dim=known.embedding_dim,
            provider=encoder.provider,
            precision=encoder.precision,
        ),
        store=ReadyStore(kind=known.store, durability=known.durability),
        index=ReadyIndex(
            kind=known.index_kind,
            entries=known.entries,
            persons=known.persons,
            recall_at_10=known.recall_at_10,
            recall_target=known.recall_target,
        ),
        durability=known.durability,
        checks=[ReadyCheck(**asdict(check)) for check in every],
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "The text format of Prometheus.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
    },
)
async def metrics(context: Context) -> Response:
    """Say what the gallery holds and how requests and searches go, for Prometheus."""
    text = context.metrics.text(await standing(context))
    return Response(text, headers={"Content-Type": MEDIA_TYPE})


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """Show this documentation as a page."""
    page = docs_page(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})
