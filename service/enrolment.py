"""Enrolling crops: replays answered without work, the others embedded, all added at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from gallery_index.errors import EntryConflictError, GalleryError
from gallery_index.records import Added, NewEntry
from model.errors import ImageError
from service import stages
from service.context import ServiceContext, in_thread, unless_client_leaves, written
from service.crop_jobs import EmbeddedCrop
from service.errors import RequestError
from service.fields import EnrolFields
from service.uploads import media_type_of

Outcome = Added | RequestError | ImageError | GalleryError


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A crop to enrol and what is said about it."""

    crop: bytes
    fields: EnrolFields


async def enrol(
    request: Request, context: ServiceContext, items: Sequence[Enrolment | RequestError]
) -> list[Outcome]:
    """Enrol what can be enrolled; every item gets its own outcome, in the order given.

    Raises: QueueFullError, DeadlineExceededError, ClientLeftError: nothing was enrolled then.
    """
    outcomes: dict[int, Outcome] = {}
    new: dict[int, Enrolment] = {}
    for index, item in enumerate(items):
        known = item if isinstance(item, RequestError) else await _known(context, item)
        if known is None:
            assert isinstance(item, Enrolment)
            new[index] = item
        else:
            outcomes[index] = known
    if new:
        crops = [item.crop for item in new.values()]
        embedded = await unless_client_leaves(request, context.embedder.begin(crops, kind="enroll"))
        entries: dict[int, NewEntry] = {}
        for (index, item), result in zip(new.items(), embedded, strict=True):
            if isinstance(result, EmbeddedCrop):
                entries[index] = _new_entry(item, result)
            else:
                outcomes[index] = result
        stages.note(request, stages.of_crops([r for r in embedded if isinstance(r, EmbeddedCrop)]))
        with stages.timed(request, "store"):
            added = await written(context, context.gallery.add, list(entries.values()))
        outcomes.update(zip(entries, added, strict=True))
    context.metrics.count_enrolments(outcomes.values())
    return [outcomes[index] for index in range(len(items))]


async def _known(context: ServiceContext, item: Enrolment) -> Outcome | None:
    """Return what is there already under the client's id, or the conflict; None: it is new."""
    if item.fields.entry_id is None:
        return None
    try:
        return await in_thread(
            context.gallery.existing, item.fields.entry_id, item.crop, item.fields.modality
        )
    except EntryConflictError as error:
        return error


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
