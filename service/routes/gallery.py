"""`/gallery` and `/persons`: enrol, list, read, change and erase entries."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gallery_index.records import Added, EntryChanges
from service.auditing import AuditedRoute, trail_of
from service.bodies.fields import (
    NAME_FIELDS,
    BatchFields,
    EnrolFields,
    EntryPatch,
    ListFields,
    parse_fields,
    shown,
)
from service.bodies.held_answer import HeldAnswer
from service.bodies.idempotency import idempotency_key
from service.bodies.schemas import (
    BatchBody,
    BatchItem,
    EntryBody,
    PageBody,
    ReceiptBody,
    entry_body,
    json_answer,
    page_body,
    receipt_body,
)
from service.bodies.uploads import Upload, parse_json, read_form, read_json, refuse_repeated
from service.context import Context, in_thread, written
from service.describing.openapi import form_body, json_body
from service.enrolment import Enrolment, enrol
from service.errors import InvalidFieldsError, RequestError
from service.problems import problem
from service.searching import list_filter

router = APIRouter(tags=["gallery"], route_class=AuditedRoute)
REPLAYED = "Idempotent-Replayed"


@router.post(
    "/gallery",
    status_code=201,
    response_model=EntryBody,
    openapi_extra=form_body(EnrolFields, several=False),
)
async def enrol_crop(request: Request, context: Context) -> Response:
    """Enrol one crop. The same `entry_id` and bytes again answer with the entry that is there."""
    key = idempotency_key(request)
    fields, [upload] = await read_form(request, EnrolFields, context.settings)
    trail_of(request).sent(fields, [upload])
    [outcome] = await enrol(request, context, [Enrolment(upload.content(), fields)], key)
    trail_of(request).enrolled([outcome])
    if isinstance(outcome, Exception):
        raise outcome
    body = entry_body(outcome.entry)
    headers = {"Location": f"/gallery/{body.entry_id}"}
    if outcome.replayed:
        headers[REPLAYED] = "true"
    return json_answer(body, 201, headers)


@router.post(
    "/gallery/batch",
    response_model=BatchBody,
    openapi_extra=form_body(BatchFields, file_field="files", several=True),
)
async def enrol_batch(request: Request, context: Context) -> Response:
    """Enrol several crops: `entries` is a JSON list with the fields of each of `files`, in order.

    A bad item gets its own problem and spoils no other.
    """
    key = idempotency_key(request)
    settings = context.settings
    form, uploads = await read_form(
        request, BatchFields, settings, file_field="files", max_files=settings.max_files
    )
    items = [
        _enrolment(upload, fields, f"entries[{index}]")
        for index, (upload, fields) in enumerate(
            zip(uploads, _entries(form.entries, len(uploads)), strict=True)
        )
    ]
    trail_of(request).sent_batch(items)
    outcomes = await enrol(request, context, items, key)
    trail_of(request).enrolled(outcomes)
    results = [_batch_item(outcome, request) for outcome in outcomes]
    answer = json_answer(BatchBody(results=results), exclude_unset=True)
    if all(isinstance(outcome, Added) and outcome.replayed for outcome in outcomes):
        answer.headers[REPLAYED] = "true"
    return answer


@router.get("/gallery", response_model=PageBody)
async def list_entries(
    request: Request, fields: Annotated[ListFields, Query()], context: Context
) -> PageBody:
    """List entries in the order of enrolment, a page at a time; stable while others write."""
    refuse_repeated(request, NAME_FIELDS)
    trail_of(request).sent(fields)
    page = await in_thread(
        context.gallery.list, list_filter(fields), limit=fields.limit, cursor=fields.cursor
    )
    trail_of(request).counted({"shown": len(page.entries)})
    return page_body(page)


@router.get("/gallery/{entry_id}", response_model=EntryBody)
async def get_entry(entry_id: str, request: Request, context: Context) -> EntryBody:
    """Read one entry."""
    entry = await in_thread(context.gallery.get, entry_id)
    trail_of(request).about(entry)
    return entry_body(entry)


@router.get(
    "/gallery/{entry_id}/crop",
    response_class=Response,
    responses={
        200: {"description": "The bytes as they were enrolled.", "content": {"image/*": {}}},
    },
)
async def get_crop(entry_id: str, request: Request, context: Context) -> Response:
    """Read the crop of an entry: the bytes as they were enrolled."""
    trail_of(request).about(await in_thread(context.gallery.get, entry_id))
    crop, media_type = await in_thread(context.gallery.crop, entry_id)
    headers = {"Cache-Control": "private, no-store"}
    return HeldAnswer(crop, media_type, headers, context.embedder.admission)


@router.patch(
    "/gallery/{entry_id}",
    response_model=EntryBody,
    openapi_extra=json_body(EntryPatch),
)
async def change_entry(entry_id: str, request: Request, context: Context) -> EntryBody:
    """Change what is said about an entry; null clears a field, a field left out stays."""
    fields = parse_fields(EntryPatch, await read_json(request))
    trail_of(request).sent(fields)
    trail_of(request).about(await in_thread(context.gallery.get, entry_id))
    changes = replace(
        EntryChanges(), **{name: getattr(fields, name) for name in fields.model_fields_set}
    )
    return entry_body(await written(context, context.gallery.update, entry_id, changes))


@router.delete(
    "/gallery/{entry_id}",
    status_code=204,
    response_class=Response,
)
async def delete_entry(entry_id: str, request: Request, context: Context) -> Response:
    """Erase one entry, its vector and its crop."""
    trail_of(request).about(await in_thread(context.gallery.get, entry_id))
    await trail_of(request).begin()
    await written(context, context.gallery.delete, entry_id)
    return Response(status_code=204)


@router.delete("/persons/{person_id:path}", response_model=ReceiptBody)
async def erase_person(person_id: str, request: Request, context: Context) -> ReceiptBody:
    """Erase every entry of a person, with vectors and crops; the answer is a receipt."""
    await trail_of(request).begin()
    receipt = await written(context, context.gallery.erase_person, person_id)
    trail_of(request).erased(receipt)
    return receipt_body(receipt)


def _entries(text: str, files: int) -> Sequence[object]:
    entries = parse_json(text)
    if isinstance(entries, list) and len(entries) == files:
        return entries
    came = f"a list of {len(entries)}" if isinstance(entries, list) else shown(text)
    expected = f"a JSON list of {files} objects, one for each of files"
    raise InvalidFieldsError([{"field": "entries", "expected": expected, "came": came}])


def _enrolment(upload: Upload, fields: object, where: str) -> Enrolment | RequestError:
    try:
        return Enrolment(upload.content(), parse_fields(EnrolFields, fields, where=where))
    except RequestError as error:
        return error


def _batch_item(outcome: Added | Exception, request: Request) -> BatchItem:
    if isinstance(outcome, Added):
        entry = entry_body(outcome.entry)
        if outcome.replayed:
            return BatchItem(status=201, entry=entry, replayed=True)
        return BatchItem(status=201, entry=entry)
    document = problem(outcome, request.state.request_id)
    return BatchItem.model_validate({"status": document["status"], "problem": document})
