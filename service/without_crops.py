"""Enrolments whose crops are not kept: embedded for the other generation now, or never."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from fastapi import Request

from gallery_index.errors import RefreshStateError
from gallery_index.records import NewEntry
from service.context import ServiceContext, in_thread, unless_client_leaves, written
from service.engine.crop_jobs import EmbeddedCrop
from service.refresh.served import ServedModel


async def other_model(context: ServiceContext) -> ServedModel | None:
    """Return the model of the other generation, where crops are not kept and there is one."""
    if context.settings.store_crops or context.generations is None:
        return None
    other = await in_thread(context.generations.other)
    return None if other is None else context.models.find(other.model_id)


async def without_crops(
    request: Request,
    context: ServiceContext,
    entries: Sequence[NewEntry],
    other: ServedModel | None,
) -> list[NewEntry]:
    """Return entries whose crops are not to be kept, with their vectors by the other model."""
    entries = [replace(entry, keep_crop=False) for entry in entries]
    if other is None:
        return entries
    crops = [entry.crop for entry in entries]
    begun = context.embedder.begin(crops, kind="enroll", encoder=other.encoder)
    embedded = await unless_client_leaves(request, begun)
    return [
        replace(entry, other_embedding=result.embedding, other_model_id=other.model_id)
        if isinstance(result, EmbeddedCrop)
        else entry
        for entry, result in zip(entries, embedded, strict=True)
    ]


async def catch_up(
    context: ServiceContext, crops: Mapping[int, bytes], before: ServedModel | None
) -> None:
    """Embed entries, by row, for a generation that was begun while they were enrolled.

    `before`: the model that they were embedded by beside the active one. To be called before the
    enrolment is acknowledged: afterwards nobody has the crops.
    """
    other = await other_model(context)
    if other is None or not crops or (before is not None and before.model_id == other.model_id):
        return
    assert context.generations is not None
    begun = context.embedder.begin_in_thread(
        list(crops.values()), encoder=other.encoder, kind="enroll"
    )
    outcomes = await asyncio.wrap_future(begun)
    vectors = {
        row: outcome.embedding
        for row, outcome in zip(crops, outcomes, strict=True)
        if isinstance(outcome, EmbeddedCrop)
    }
    with suppress(RefreshStateError):  # dropped or changed meanwhile
        await written(context, context.generations.fill, vectors, model_id=other.model_id)
