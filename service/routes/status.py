"""What the operator asks: liveness, readiness, metrics, documentation."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gallery_index.records import StoreKind
from service.context import Context, in_thread
from service.docs_page import docs_page
from service.errors import NotReadyError
from service.exposition import MEDIA_TYPE
from service.openapi import problems
from service.schemas import HealthBody, ReadyBody, ReadyIndex, ReadyModel, ReadyStore

router = APIRouter(tags=["status"])
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@router.get("/healthz", response_model=HealthBody, responses=problems())
async def is_alive() -> HealthBody:
    """Say that the process answers; needs no key."""
    return HealthBody(status="ok")


@router.get("/readyz", response_model=ReadyBody, responses=problems(503))
async def is_ready(context: Context) -> ReadyBody:
    """Say whether every part works, and what an acknowledged enrolment survives."""
    encoder = context.encoder
    stats = await in_thread(context.gallery.stats)
    if not stats.ready:
        raise NotReadyError([_away(stats.store)])
    return ReadyBody(
        status="ready",
        model=ReadyModel(
            model_id=encoder.model_id,
            embedding_dim=stats.embedding_dim,
            provider=encoder.provider,
            precision=encoder.precision,
        ),
        store=ReadyStore(kind=stats.store, durability=stats.durability),
        index=ReadyIndex(
            kind=stats.index_kind,
            entries=stats.entries,
            persons=stats.persons,
            recall_at_10=stats.recall_at_10,
            recall_target=stats.recall_target,
        ),
        durability=stats.durability,
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "The text format of Prometheus.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **problems(503),
    },
)
async def metrics(context: Context) -> Response:
    """Say what the gallery holds and how searches go, for Prometheus."""
    text = context.metrics.text(await in_thread(context.gallery.stats))
    return Response(text, headers={"Content-Type": MEDIA_TYPE})


@router.get("/docs", response_class=HTMLResponse, responses=problems())
async def docs(request: Request) -> HTMLResponse:
    """Show this documentation as a page."""
    page = docs_page(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})


@router.get("/", response_class=RedirectResponse, status_code=307, responses=problems())
async def index() -> str:
    """Lead to the documentation."""
    return "/docs"


def _away(store: StoreKind) -> str:
    if store == "shared":
        return "store: Redis, Qdrant or the crop store does not answer"
    return f"store: {store} does not answer; searches go on"
