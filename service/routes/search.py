"""`/query`, `/embed`, `/compare`: what is asked of the model."""

import time
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request, Response

from model.calibration import pair_kind
from service.answered import Answered, Asked, demanded_thresholds
from service.auditing import AuditedRoute, trail_of
from service.bodies.fields import NAME_FIELDS, CompareFields, EmbedFields, QueryFields
from service.bodies.schemas import (
    CompareBody,
    EmbedBody,
    QueryBody,
    Timings,
    json_answer,
)
from service.bodies.uploads import Upload, read_form
from service.context import Context, ServiceContext, unless_client_leaves
from service.describing.openapi import form_body
from service.engine.crop_jobs import EmbeddedCrop
from service.explaining.parts import pattern_parts
from service.observing.stages import of_crops, stages_of
from service.refresh.served import ServedModel
from service.scores import SeenPerson, prior_among, thresholds_at
from service.searching import Found

router = APIRouter(tags=["search"], route_class=AuditedRoute)


@router.post(
    "/query",
    response_model=QueryBody,
    openapi_extra=form_body(QueryFields, several=True),
)
async def query(request: Request, context: Context) -> Response:
    """Find the entries most like a person, shown by one crop or several of the same person."""
    settings = context.settings
    fields, uploads = await read_form(
        request, QueryFields, settings, max_files=settings.max_files, repeatable=NAME_FIELDS
    )
    trail_of(request).sent(fields, uploads)
    deadline = time.monotonic() + settings.query_deadline_s
    drift = context.metrics.drift

    async def answer(served: ServedModel) -> Answered:
        demanded_thresholds(fields, served)  # what cannot be promised is refused before any work
        crops = await _embed(request, context, uploads, served)
        asked = Asked.of(fields, served, crops)

        def search() -> Answered:
            drift.look(context.gallery, served, fields.modality, crops[0].embedding)
            return asked.answer(context.gallery)

        return await context.searches.run(search, deadline)

    answered = await context.models.with_active(answer)
    trail_of(request).found(answered.found.matches, answered.asked.thresholds)
    timings = _timings(answered.asked.crops, answered.found)
    stages_of(request)["search"] = timings.search
    if fields.rerank:
        stages_of(request)["rerank"] = timings.rerank
    context.metrics.count_query()
    if (known := answered.is_known()) is not None:
        drift.count_query(known=known)
    body = answered.body(timings)
    if fields.explain:
        context.explained.keep(answered.kept(body.query_id, request, uploads))
    return json_answer(body, exclude_unset=True)


@router.post(
    "/embed",
    response_model=EmbedBody,
    openapi_extra=form_body(EmbedFields, several=False),
)
async def embed(request: Request, context: Context) -> Response:
    """Return the embedding of one crop; nothing is stored."""
    fields, uploads = await read_form(request, EmbedFields, context.settings)
    trail_of(request).sent(fields, uploads)
    served = context.models.active()
    [crop] = await _embed(request, context, uploads, served)
    return json_answer(
        EmbedBody(
            model_id=served.model_id,
            embedding=crop.embedding.tolist(),
            dimension=len(crop.embedding),
        )
    )


@router.post(
    "/compare",
    response_model=CompareBody,
    openapi_extra=form_body(CompareFields, several=True),
)
async def compare(request: Request, context: Context) -> CompareBody:
    """Say how alike two crops are: two `file` parts, `modality` once for both or one each."""
    fields, uploads = await read_form(
        request,
        CompareFields,
        context.settings,
        min_files=2,
        max_files=2,
        repeatable=["modality"],
    )
    trail_of(request).sent(fields, uploads)
    served = context.models.active()
    first, second = fields.modality[0], fields.modality[-1]
    pair = pair_kind(first, second)
    rate = fields.max_false_accept_rate
    threshold = None if rate is None else thresholds_at(rate, [pair], served.calibration)[pair]
    one, other = await _embed(request, context, uploads, served)
    products = one.embedding.astype(np.float64) * other.embedding
    similarity = float(products.sum())
    return CompareBody(
        model_id=served.model_id,
        similarity=similarity,
        probability=SeenPerson(first, one.embedding).probability(
            second, similarity, served.calibration, prior_among(1)
        ),
        threshold=threshold,
        accepted=None if threshold is None else similarity >= threshold,
        patterns=pattern_parts(products, served.encoder.config),
    )


async def _embed(
    request: Request, context: ServiceContext, uploads: Sequence[Upload], served: ServedModel
) -> list[EmbeddedCrop]:
    """Embed every upload with a model. Raises: the error of the first bad one."""
    contents = [upload.content() for upload in uploads]
    begun = context.embedder.begin(contents, kind="query", encoder=served.encoder)
    results = await unless_client_leaves(request, begun)
    crops = []
    for result in results:
        if not isinstance(result, EmbeddedCrop):
            raise result
        crops.append(result)
    stages_of(request).update(of_crops(crops))
    return crops


def _timings(crops: Sequence[EmbeddedCrop], found: Found) -> Timings:
    spent = {**of_crops(crops), "search": found.search_ms, "rerank": found.rerank_ms}
    return Timings(**{stage: round(ms, 3) for stage, ms in spent.items()})
