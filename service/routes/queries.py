"""`/queries`: what a query that was asked with `explain` was answered by, for a person to see."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from PIL import Image

from gallery_index.errors import EntryNotFoundError
from gallery_index.records import GalleryEntry, Match
from model.preprocessing import ImageLimits, read_image
from service.access.caller import Caller
from service.auditing import AuditedRoute, trail_of
from service.context import Context, ServiceContext, in_thread, unless_client_leaves
from service.engine.crop_jobs import EmbeddedCrop
from service.errors import QueryNotFoundError
from service.explaining.kept_queries import KeptQuery
from service.explaining.parts import parts_of
from service.explaining.picture import Side, draw

router = APIRouter(tags=["search"], route_class=AuditedRoute)
PNG = "image/png"


@router.get(
    "/queries/{query_id}/patterns.png",
    response_class=Response,
    responses={200: {"description": "The picture.", "content": {PNG: {}}}},
)
async def draw_patterns(
    query_id: str,
    request: Request,
    context: Context,
    entry_id: Annotated[str, Query(description="An entry that the query was answered with.")],
    crop: Annotated[int, Query(ge=1, description="Which crop of the query, from 1.")] = 1,
) -> Response:
    """Draw a query's crop and a match, and over both where each pattern looks.

    Only for a query that was asked with `explain` a short time ago, and only for the key that
    asked it.
    """
    caller = request.state.caller
    assert isinstance(caller, Caller)
    kept = context.explained.get(query_id, caller.key_id)
    if context.models.find(kept.served.model_id) is None:
        raise QueryNotFoundError(f"the model that answered query {query_id!r} is gone")
    if entry_id not in kept.rows:
        raise EntryNotFoundError(entry_id)
    if crop > len(kept.crops):
        raise QueryNotFoundError(f"query {query_id!r} has {len(kept.crops)} crops, came {crop}")
    entry = await in_thread(context.gallery.get, entry_id)
    if entry.row != kept.rows[entry_id]:  # deleted since, and its id given to another crop
        raise EntryNotFoundError(entry_id)
    trail_of(request).about(entry)
    stored, _ = await in_thread(context.gallery.crop, entry_id)
    pair = [kept.crops[crop - 1], stored]
    begun = context.embedder.begin(pair, kind="query", encoder=kept.served.encoder, maps=True)
    embedded = await unless_client_leaves(request, begun)
    for outcome in embedded:
        if not isinstance(outcome, EmbeddedCrop):
            raise outcome
    crops = [outcome for outcome in embedded if isinstance(outcome, EmbeddedCrop)]
    picture = await in_thread(_drawn, context, kept, entry, pair, crops)
    return Response(picture, media_type=PNG, headers={"Cache-Control": "private, no-store"})


def _drawn(
    context: ServiceContext,
    kept: KeptQuery,
    entry: GalleryEntry,
    uploads: list[bytes],
    crops: list[EmbeddedCrop],
) -> bytes:
    """Draw. Raises: ModelChangedError where the gallery has no vectors of the model any more."""
    config = kept.served.encoder.config
    [parts] = parts_of(
        context.gallery, [Match(entry, 0.0)], kept.direction, kept.served.model_id, config
    )
    similarity = (
        sum(part.similarity for part in parts)
        if parts
        else float(kept.direction @ crops[1].embedding)
    )
    settings = context.settings
    limits = ImageLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    height, width = config.image_size
    sides = []
    for title, upload, crop in zip(("query", "match"), uploads, crops, strict=True):
        seen = read_image(upload, limits).resize((width, height), Image.Resampling.BILINEAR)
        assert crop.pattern_maps is not None
        sides.append(Side(title, seen, crop.pattern_maps))
    subtitle = f"query {kept.query_id}, entry {entry.entry_id}, model {kept.served.model_id[:16]}"
    return draw(sides[0], sides[1], parts, similarity, subtitle)
