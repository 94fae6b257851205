"""`/query`, `/embed`, `/compare`: what is asked of the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from gallery_index.records import Match
from model.calibration import PairKind, pair_kind
from model.config import MPANetConfig
from service.auditing import AuditedRoute, trail_of
from service.bodies.fields import NAME_FIELDS, CompareFields, EmbedFields, QueryFields
from service.bodies.schemas import (
    CompareBody,
    EmbedBody,
    PatternPart,
    QueryBody,
    Timings,
    json_answer,
    match_body,
)
from service.bodies.uploads import Upload, read_form
from service.context import Context, ServiceContext, unless_client_leaves
from service.describing.openapi import form_body
from service.engine.crop_jobs import EmbeddedCrop
from service.errors import NotAvailableYetError, NotCalibratedError, RateNotPromisedError
from service.ids import new_id
from service.observing.score_drift import KNOWN_AT
from service.observing.stages import of_crops, stages_of
from service.refresh.served import ServedModel
from service.scores import SeenPerson, prior_among, thresholds_at
from service.searching import Found, find, target_modalities


@dataclass(frozen=True, slots=True)
class Answered:
    """What was found for a person with a model, and the thresholds of a rate if one was asked."""

    served: ServedModel
    person: SeenPerson
    thresholds: dict[PairKind, float] | None
    found: Found

    @property
    def prior(self) -> float:
        """How probable it was that an entry shows the person, before it was looked at."""
        return prior_among(self.found.individuals)

    def probability(self, match: Match) -> float | None:
        """Return how probable it is that a match shows the person."""
        return self.person.probability(
            match.entry.modality, match.similarity, self.served.calibration, self.prior
        )


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
    _refuse_unavailable(fields)
    deadline = time.monotonic() + settings.query_deadline_s
    drift = context.metrics.drift

    async def answer(served: ServedModel) -> tuple[list[EmbeddedCrop], Answered]:
        demanded = _demanded(fields, served)
        crops = await _embed(request, context, uploads, served)
        person = SeenPerson.of(fields.modality, [crop.embedding for crop in crops])
        thresholds = None if demanded is None else person.least(demanded)

        def search() -> Found:
            drift.look(context.gallery, served, fields.modality, crops[0].embedding)
            return find(context.gallery, person.direction, fields, served.model_id, thresholds)

        found = await context.searches.run(search, deadline)
        return crops, Answered(served, person, thresholds, found)

    crops, answered = await context.models.with_active(answer)
    found = answered.found
    trail_of(request).found(found.matches, answered.thresholds)
    timings = _timings(crops, found)
    stages_of(request)["search"] = timings.search
    if fields.rerank:
        stages_of(request)["rerank"] = timings.rerank
    context.metrics.count_query()
    if (known := _is_known(fields, answered)) is not None:
        drift.count_query(known=known)
    return json_answer(_query_body(fields, answered, timings))


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
        patterns=_parts(products, served.encoder.config),
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


def _parts(products: NDArray[np.float64], config: MPANetConfig) -> list[PatternPart] | None:
    """Sum products (D,) by block of the embedding; a projection has mixed the blocks: None."""
    if config.projected_dim is not None:
        return None
    parts = products.reshape(config.num_patterns + 1, -1).sum(axis=1)  # (P + 1, C) -> (P + 1)
    names = [f"pattern_{number}" for number in range(1, config.num_patterns + 1)] + ["global"]
    return [
        PatternPart(pattern=name, similarity=float(part))
        for name, part in zip(names, parts, strict=True)
    ]


def _demanded(fields: QueryFields, served: ServedModel) -> dict[PairKind, float] | None:
    """Return the thresholds of the rate that is asked for. Raises: as `thresholds_at`."""
    if fields.max_false_accept_rate is None:
        return None
    return thresholds_at(fields.max_false_accept_rate, _pairs(fields), served.calibration)


def _pairs(fields: QueryFields) -> list[PairKind]:
    return [pair_kind(fields.modality, target) for target in target_modalities(fields)]


def _is_known(fields: QueryFields, answered: Answered) -> bool | None:
    """Return whether a match is one at the rate of `KNOWN_AT`; None where that is not to be said.

    A query that asks for more than that is no measure of who is known.
    """
    rate = fields.max_false_accept_rate
    if fields.min_similarity is not None or (rate is not None and rate < KNOWN_AT):
        return None
    try:
        thresholds = thresholds_at(KNOWN_AT, _pairs(fields), answered.served.calibration)
    except (NotCalibratedError, RateNotPromisedError):
        return None
    least = answered.person.least(thresholds)
    return any(
        match.similarity >= least[pair_kind(fields.modality, match.entry.modality)]
        for match in answered.found.matches
    )


def _query_body(fields: QueryFields, answered: Answered, timings: Timings) -> QueryBody:
    found, served = answered.found, answered.served
    rate, compared = fields.max_false_accept_rate, found.compared
    return QueryBody(
        query_id=new_id(),
        model_id=served.model_id,
        gallery_size=found.gallery_size,
        timings_ms=timings,
        unknown=not found.matches,
        prior=answered.prior,
        thresholds=answered.thresholds,
        compared=compared,
        expected_false_accepts=None if rate is None or compared is None else rate * compared,
        matches=[
            match_body(rank, match, answered.probability(match))
            for rank, match in enumerate(found.matches, start=1)
        ],
    )


def _refuse_unavailable(fields: QueryFields) -> None:
    if fields.explain:
        raise NotAvailableYetError("explain: this version answers only without it")


def _timings(crops: Sequence[EmbeddedCrop], found: Found) -> Timings:
    spent = {**of_crops(crops), "search": found.search_ms, "rerank": found.rerank_ms}
    return Timings(**{stage: round(ms, 3) for stage, ms in spent.items()})
