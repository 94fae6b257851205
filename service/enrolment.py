"""Enrolling crops: replays answered without work, the others embedded, all added at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from service.without_crops import catch_up, other_model, without_crops

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
    outcomes: dict[int, Outcome] = {}
    entries: dict[int, NewEntry] = {}
    for (index, item), result in zip(items.items(), embedded, strict=True):
        if isinstance(result, EmbeddedCrop):
            entries[index] = _new_entry(item, result)
        else:
            outcomes[index] = result
    stages = stages_of(request)
    stages.update(of_crops([result for result in embedded if isinstance(result, EmbeddedCrop)]))
    add = _store if context.settings.store_crops else _store_without_crops
    with timed(stages, "store"):
        added = await add(request, context, list(entries.values()), served.model_id)
    outcomes.update(zip(entries, added, strict=True))
    return outcomes


async def _store(
    request: Request, context: ServiceContext, entries: Sequence[NewEntry], model_id: str
) -> list[Added | GalleryError]:
    return await written(context, context.gallery.add, entries, model_id=model_id)


async def _store_without_crops(
    request: Request, context: ServiceContext, entries: Sequence[NewEntry], model_id: str
) -> list[Added | GalleryError]:
    """Add entries with all that their crops will ever be good for."""
    other = await other_model(context)
    bare = await without_crops(request, context, entries, other)
    added = await _store(request, context, bare, model_id)
    crops = {
        outcome.entry.row: entry.crop
        for outcome, entry in zip(added, entries, strict=True)
        if isinstance(outcome, Added) and not outcome.replayed
    }
    await catch_up(context, crops, other)
    return added


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
