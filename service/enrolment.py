"""Enrolling crops: replays answered without work, the others embedded, all added at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from gallery_index.errors import EntryConflictError, GalleryError
from gallery_index.person_gallery import PersonGallery
from gallery_index.records import Added, NewEntry
from model.errors import ImageError
from service.bodies.fields import EnrolFields
from service.bodies.idempotency import IdempotencyKey
from service.bodies.uploads import media_type_of
from service.context import ServiceContext, in_thread, unless_client_leaves, written
from service.engine.crop_jobs import EmbeddedCrop
from service.errors import RequestError
from service.observing.stages import of_crops, stages_of, timed
from service.refresh.served import ServedModel

Outcome = Added | RequestError | ImageError | GalleryError


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A crop to enrol and what is said about it."""

    crop: bytes
    fields: EnrolFields


async def enrol(
    request: Request,
    context: ServiceContext,
    items: Sequence[Enrolment | RequestError],
    key: IdempotencyKey | None = None,
) -> list[Outcome]:
    """Enrol what can be enrolled; every item gets its own outcome, in the order given.

    Under a `key` an item without an entry id is the same entry whenever it comes again.

    Raises: QueueFullError, DeadlineExceededError, ClientLeftError: nothing was enrolled then.
    """
    outcomes: dict[int, Outcome] = {}
    named: dict[int, Enrolment] = {}
    for index, item in enumerate(items):
        if isinstance(item, Enrolment):
            named[index] = _named(item, key, index)
        else:
            outcomes[index] = item
    if any(item.fields.entry_id is not None for item in named.values()):
        outcomes.update(await in_thread(_known, context.gallery, named))
    new = {index: item for index, item in named.items() if index not in outcomes}
    if new:
        outcomes.update(
            await context.models.with_active(lambda served: _added(request, context, new, served))
        )
    for index, item in named.items():
        if item is not items[index] and isinstance(outcomes[index], EntryConflictError):
            assert key is not None
            outcomes[index] = key.reused(index)
    context.metrics.count_enrolments(outcomes.values())
    return [outcomes[index] for index in range(len(items))]


def _named(item: Enrolment, key: IdempotencyKey | None, index: int) -> Enrolment:
    """Return an item with the entry id of the key, if it has none of its own."""
    if key is None or item.fields.entry_id is not None:
        return item
    made = item.fields.model_copy(update={"entry_id": key.entry_id(index)})
    return Enrolment(item.crop, made)


def _known(gallery: PersonGallery, items: Mapping[int, Enrolment]) -> dict[int, Outcome]:
    """Return what is there already under the items' ids, and the conflicts."""
    known: dict[int, Outcome] = {}
    for index, item in items.items():
        if item.fields.entry_id is None:
            continue
        try:
            there = gallery.existing(item.fields.entry_id, item.crop, item.fields.modality)
        except EntryConflictError as error:
            known[index] = error
            continue
        if there is not None:
            known[index] = there
    return known


async def _added(
    request: Request,
    context: ServiceContext,
    items: Mapping[int, Enrolment],
    served: ServedModel,
) -> dict[int, Outcome]:
    """Embed crops with a model and add them to the gallery. Raises: ModelChangedError."""
    crops = [item.crop for item in items.values()]
    begun = context.embedder.begin(crops, kind="enroll", encoder=served.encoder)
    embedded = await unless_client_leaves(request, begun)
    others = await _embedded_by_other(request, context, crops)
    outcomes: dict[int, Outcome] = {}
    entries: dict[int, NewEntry] = {}
    for (index, item), result, other in zip(items.items(), embedded, others, strict=True):
        if not isinstance(result, EmbeddedCrop):
            outcomes[index] = result
            continue
        entry = _new_entry(item, result)
        if not context.settings.store_crops:
            entry = replace(entry, keep_crop=False, **other)
        entries[index] = entry
    stages = stages_of(request)
    stages.update(of_crops([result for result in embedded if isinstance(result, EmbeddedCrop)]))
    with timed(stages, "store"):
        added = await written(
            context, context.gallery.add, list(entries.values()), model_id=served.model_id
        )
    outcomes.update(zip(entries, added, strict=True))
    return outcomes


async def _embedded_by_other(
    request: Request, context: ServiceContext, crops: Sequence[bytes]
) -> list[dict[str, Any]]:
    """Return what `NewEntry` says of each crop by the model of the gallery's other generation.

    Crops that are kept can be embedded later, and say nothing.
    """
    other = None if context.settings.store_crops else context.models.other()
    if other is None:
        return [{} for _ in crops]
    begun = context.embedder.begin(crops, kind="enroll", encoder=other.encoder)
    return [
        {"other_embedding": result.embedding, "other_model_id": other.model_id}
        if isinstance(result, EmbeddedCrop)
        else {}
        for result in await unless_client_leaves(request, begun)
    ]


def _new_entry(item: Enrolment, embedded: EmbeddedCrop) -> NewEntry:
    fields = item.fields
    return NewEntry(
        embedding=embedded.embedding,
        crop=item.crop,
        media_type=media_type_of(item.crop),
        modality=fields.modality,
        entry_id=fields.entry_id,
        person_id=fields.person_id,
        camera_id=fields.camera_id,
        captured_at=fields.captured_at,
        attributes=fields.attributes or {},
    )
