"""`/models` and `/jobs`: the one model that is served; refreshing it comes with its own issue."""

from fastapi import APIRouter, Request

from service.auditing import AuditedRoute, trail_of
from service.bodies.schemas import ModelBody, ModelsBody
from service.context import Context, ServiceContext
from service.errors import JobNotFoundError, ModelNotFoundError, NoEarlierModelError

router = APIRouter(tags=["models"], route_class=AuditedRoute)


@router.get("/models", response_model=ModelsBody)
async def list_models(context: Context) -> ModelsBody:
    """List the models that the service has."""
    return ModelsBody(active=context.models.active().encoder.model_id, models=[_active(context)])


@router.get("/models/{model_id}", response_model=ModelBody)
async def get_model(model_id: str, context: Context) -> ModelBody:
    """Read one model: its network, its metrics, its calibration."""
    return _named(model_id, context)


@router.post("/models/rollback", response_model=ModelBody)
async def roll_back(request: Request) -> None:
    """Go back to the model before. There is none yet: 409."""
    await trail_of(request).begin()
    raise NoEarlierModelError("the service has had no other model than the active one")


@router.post(
    "/models/{model_id}/activate",
    response_model=ModelBody,
)
async def activate_model(model_id: str, request: Request, context: Context) -> ModelBody:
    """Make a model the active one; the active one stays it."""
    await trail_of(request).begin()
    return _named(model_id, context)


@router.get("/jobs/{job_id}", response_model=None)
async def get_job(job_id: str) -> None:
    """Read how far a job is. Nothing starts jobs yet: 404."""
    raise JobNotFoundError(f"no job {job_id!r}")


def _named(model_id: str, context: ServiceContext) -> ModelBody:
    if model_id != context.models.active().encoder.model_id:
        raise ModelNotFoundError(
            f"no model {model_id!r}; the service has {context.models.active().encoder.model_id!r}"
        )
    return _active(context)


def _active(context: ServiceContext) -> ModelBody:
    encoder = context.models.active().encoder
    calibration = context.models.active().calibration
    return ModelBody(
        model_id=encoder.model_id,
        active=True,
        config=encoder.config.model_dump(mode="json"),
        embedding_dim=encoder.config.embedding_dim,
        provider=encoder.provider,
        precision=encoder.precision,
        metrics=context.models.active().metrics,
        calibration=None if calibration is None else calibration.to_manifest(),
    )
