"""`/models`: the models that the service has, which one answers, and how that is changed."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from service.access.caller import Caller
from service.auditing import AuditedRoute, trail_of
from service.bodies.fields import ActivateFields, parse_fields
from service.bodies.model_bodies import (
    JobBody,
    ModelBody,
    ModelsBody,
    ModelState,
    ReclaimBody,
    job_body,
    model_body,
)
from service.bodies.schemas import json_answer
from service.bodies.uploads import read_json
from service.context import Context, ServiceContext, in_thread
from service.describing.openapi import json_body
from service.errors import ModelNotFoundError, NoEarlierModelError, RefreshUnsupportedError
from service.refresh.jobs import Job
from service.refresh.refresher import Refresher
from service.refresh.registry import RegisteredModel

router = APIRouter(tags=["models"], route_class=AuditedRoute)


@router.get("/models", response_model=ModelsBody)
async def list_models(context: Context) -> ModelsBody:
    """List the models that the service has."""
    states = await in_thread(_states, context)
    registered = await in_thread(_registered, context)
    names = [*registered, *(name for name in states if name not in registered)]
    of_state = {state: model_id for model_id, state in states.items()}
    return ModelsBody(
        active=of_state["active"],
        kept=of_state.get("kept"),
        refreshing=of_state.get("refreshing"),
        models=[_body(name, states, registered, context) for name in names],
    )


@router.get("/models/{model_id}", response_model=ModelBody)
async def get_model(model_id: str, context: Context) -> ModelBody:
    """Read one model: its network, its metrics, its calibration, who published it when."""
    return await in_thread(_named, model_id, context)


@router.post("/models/rollback", response_model=ModelBody)
async def roll_back(request: Request, context: Context) -> ModelBody:
    """Go back to the model before, whose vectors are kept, entries enrolled since included."""
    await trail_of(request).begin()
    if context.refresher is None:
        raise NoEarlierModelError("the service has had no other model than the active one")
    model_id = await in_thread(context.refresher.roll_back)
    trail_of(request).about_model(model_id)
    return await in_thread(_named, model_id, context)


@router.post("/models/reclaim", response_model=ReclaimBody)
async def reclaim(request: Request, context: Context) -> ReclaimBody:
    """Give up the vectors that are kept to go back to; their model stays in the registry."""
    await trail_of(request).begin()
    if context.refresher is None:
        raise NoEarlierModelError("the service has had no other model than the active one")
    model_id, freed = await in_thread(context.refresher.reclaim)
    trail_of(request).about_model(model_id)
    return ReclaimBody(model_id=model_id, bytes_freed=freed)


@router.post(
    "/models/{model_id}/activate",
    status_code=202,
    response_model=JobBody,
    responses={200: {"model": ModelBody, "description": "It is the active one already."}},
    openapi_extra=json_body(ActivateFields, required=False),
)
async def activate_model(model_id: str, request: Request, context: Context) -> Response:
    """Make a model the active one: a job embeds every crop anew, and then changes over at once.

    Until then the model before answers. Asked for again, it is the same job.
    """
    fields = parse_fields(ActivateFields, await read_json(request, empty={}))
    trail_of(request).sent(fields)
    await trail_of(request).begin()
    if model_id == context.gallery.model_id:
        return json_answer(await in_thread(_named, model_id, context))
    await in_thread(_named, model_id, context)
    job = await in_thread(
        _refresher(context).activate,
        model_id,
        asked_by=_caller(request),
        override=fields.override,
        entries_without_crop=fields.entries_without_crop,
        reclaim_kept=fields.reclaim_kept,
    )
    return _accepted(job)


@router.post("/models/{model_id}/calibrate", status_code=202, response_model=JobBody)
async def calibrate_model(model_id: str, request: Request, context: Context) -> Response:
    """Calibrate the active model anew, from the person ids of the gallery itself; a job."""
    await trail_of(request).begin()
    await in_thread(_named, model_id, context)
    if model_id != context.gallery.model_id:
        raise RefreshUnsupportedError(
            f"only the active model is calibrated from the gallery, {context.gallery.model_id}"
        )
    return _accepted(await in_thread(_refresher(context).recalibrate, asked_by=_caller(request)))


def _refresher(context: ServiceContext) -> Refresher:
    if context.refresher is None:
        raise RefreshUnsupportedError(
            "the gallery of several services cannot be refreshed: enrol into a new one"
            " with the other model (`mpanet gallery replay`), then point the services there"
        )
    return context.refresher


def _accepted(job: Job) -> Response:
    return json_answer(job_body(job), 202, {"Location": f"/jobs/{job.job_id}"})


def _caller(request: Request) -> str:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller.name


def _states(context: ServiceContext) -> dict[str, ModelState]:
    """Return what each model is that the gallery has vectors of."""
    states: dict[str, ModelState] = {}
    if context.refresher is not None and (other := context.refresher.other()) is not None:
        states[other.model_id] = "kept" if other.kept else "refreshing"
    states[context.gallery.model_id] = "active"
    return states


def _registered(context: ServiceContext) -> dict[str, RegisteredModel]:
    models = [] if context.registry is None else context.registry.list()
    return {model.model_id: model for model in models}


def _named(model_id: str, context: ServiceContext) -> ModelBody:
    states, registered = _states(context), _registered(context)
    if model_id not in states and model_id not in registered:
        names = ", ".join(repr(name) for name in {*states, *registered})
        raise ModelNotFoundError(f"no model {model_id!r}; the service has {names}")
    return _body(model_id, states, registered, context)


def _body(
    model_id: str,
    states: Mapping[str, ModelState],
    registered: Mapping[str, RegisteredModel],
    context: ServiceContext,
) -> ModelBody:
    return model_body(
        model_id,
        states.get(model_id, "available"),
        served=context.models.find(model_id),
        registered=registered.get(model_id),
    )
