"""`POST /models`: a model comes in, is verified, and is one of the service's. None is activated."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from anyio import CancelScope
from fastapi import APIRouter, Request, Response

from model.artifact import MANIFEST_NAME, ONNX_NAME
from service.access.caller import Caller
from service.auditing import AuditedRoute, trail_of
from service.bodies.model_bodies import ModelBody, model_body
from service.bodies.schemas import json_answer
from service.bodies.spooling import FilePart, spool_form
from service.bodies.uploads import MAX_TEXT_BYTES
from service.context import Context, ServiceContext, in_thread
from service.describing.openapi import files_body
from service.errors import NotAvailableYetError
from service.refresh.registry import ModelRegistry, RegisteredModel
from service.refresh.verification import read_artifact

router = APIRouter(tags=["models"], route_class=AuditedRoute)

FILES = {
    "manifest": "`manifest.json` of the model directory.",
    "model": "`model.onnx` of the model directory.",
}


@router.post(
    "/models",
    status_code=201,
    response_model=ModelBody,
    responses={200: {"model": ModelBody, "description": "The service has it already."}},
    openapi_extra=files_body(FILES),
)
async def publish_model(request: Request, context: Context) -> Response:
    """Publish a model: both files of its directory, as `mpanet export` writes them.

    It is verified before it is listed: its hashes, and that it runs and embeds as it says. Which
    model answers does not change. A model that is there already stays as it is: 200.
    """
    registry = context.registry
    if registry is None:
        raise NotAvailableYetError("this service has no models directory")
    caller = request.state.caller
    assert isinstance(caller, Caller)
    async with _incoming(registry) as place:
        limit = context.settings.max_model_bytes
        manifest = FilePart("manifest", place / MANIFEST_NAME, MAX_TEXT_BYTES)
        await spool_form(request, [manifest, FilePart("model", place / ONNX_NAME, limit)])
        artifact = await in_thread(read_artifact, place)
        trail_of(request).about_model(artifact.model_id)
        await trail_of(request).begin()
        model, added = await in_thread(registry.admit, artifact, by=caller.name)
    headers = {"Location": f"/models/{model.model_id}"}
    return json_answer(_body(model, context), 201 if added else 200, headers)


@asynccontextmanager
async def _incoming(registry: ModelRegistry) -> AsyncIterator[Path]:
    """Hold a place of the registry; it is cleared even for a client that has left."""
    with ExitStack() as stack:
        place = await in_thread(stack.enter_context, registry.incoming())
        try:
            yield place
        finally:
            with CancelScope(shield=True):
                await in_thread(stack.close)


def _body(model: RegisteredModel, context: ServiceContext) -> ModelBody:
    active = model.model_id == context.gallery.model_id
    return model_body(
        model.model_id,
        "active" if active else "available",
        served=context.models.find(model.model_id),
        registered=model,
    )
