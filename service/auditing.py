"""What is recorded of which call: the routes of the service and its audit log brought together.

The class of a route records its calls before they are answered; a handler notes on the call's trail
what it is about. How records get to the disk is `audit`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Literal

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gallery_index.records import Added, ErasureReceipt, GalleryEntry, Match
from model.calibration import PairKind
from service.audit.event import AuditEvent, Phase, ShownEntry
from service.audit.log import AuditLog
from service.bodies.fields import EnrolFields, EntryPatch, Fields
from service.bodies.uploads import Upload
from service.context import ServiceContext, in_thread
from service.enrolment import Enrolment
from service.errors import AuditUnavailableError
from service.observing.stages import stages_of, timed
from service.problems import INVALID_FIELDS, kind_of

Kept = Literal["changes", "looks", "nothing"]

AUDITED: Final[dict[str, Kept]] = {
    "POST /gallery": "changes",
    "POST /gallery/batch": "changes",
    "PATCH /gallery/{entry_id}": "changes",
    "DELETE /gallery/{entry_id}": "changes",
    "DELETE /persons/{person_id}": "changes",
    "POST /models": "changes",
    "POST /models/rollback": "changes",
    "POST /models/{model_id}/activate": "changes",
    "POST /query": "looks",
    "POST /embed": "looks",
    "POST /compare": "looks",
    "GET /queries/{query_id}/patterns.png": "looks",
    "GET /gallery": "looks",
    "GET /gallery/{entry_id}": "looks",
    "GET /gallery/{entry_id}/crop": "looks",
    "GET /models": "nothing",
    "GET /models/{model_id}": "nothing",
    "POST /models/reclaim": "changes",
    "POST /models/{model_id}/calibrate": "changes",
    "DELETE /jobs/{job_id}": "changes",
    "GET /jobs": "nothing",
    "GET /jobs/{job_id}": "nothing",
    "GET /jobs/{job_id}/events": "nothing",
    "GET /healthz": "nothing",
    "GET /readyz": "nothing",
    "GET /metrics": "nothing",
    "GET /docs": "nothing",
    "GET /whoami": "nothing",
    "GET /audit": "looks",
    "GET /": "nothing",
    "GET /web/{path}": "nothing",
}
"""Every call of the service: it changes something, shows something of a person, or neither and is
not recorded. A call that stands nowhere counts as a change."""

MAX_NAME = 256
INLINE_BYTES = 128 * 1024
"""Images up to this are digested on the event loop, in 0.1 ms: less than a thread costs."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class AuditedRoute(APIRoute):
    """A route whose calls are recorded: an answer goes out when its record is on the disk."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler, all that FastAPI does before and after it included."""
        handle = super().get_route_handler()
        call = " ".join([*(self.methods or ()), self.path_format])
        kept = AUDITED.get(call, "changes")

        async def recorded(request: Request) -> Response:
            context = request.app.state.context
            assert isinstance(context, ServiceContext)
            log = None if kept == "nothing" else context.audit
            trail = request.state.trail = Trail(request, call, log, changes=kept == "changes")
            await trail.check()
            try:
                response = await handle(request)
            except asyncio.CancelledError:
                trail.break_off()
                raise
            except Exception as error:
                await trail.end_in(error)
                raise
            await trail.end(response.status_code)
            return response

        return recorded


def trail_of(request: Request) -> "Trail":
    """Return where to note what a call is about."""
    trail = request.state.trail
    assert isinstance(trail, Trail)
    return trail


class Trail:
    """What is known of one call so far. Without a log it is kept and goes nowhere."""

    def __init__(self, request: Request, call: str, log: AuditLog | None, *, changes: bool) -> None:
        caller = request.state.caller
        self._stages = stages_of(request)
        self._log = log
        self._changes = changes
        self._event = AuditEvent(
            call=call,
            phase="done",
            request_id=request.state.request_id,
            caller=caller.name,
            key_id=caller.key_id,
            client=request.client.host if request.client else None,
        )
        self._crops: list[bytes] = []
        self._persons: dict[str, None] = {}
        self._entries: dict[str, None] = {}
        self._add(request.path_params.get("person_id"), request.path_params.get("entry_id"))
        if model_id := request.path_params.get("model_id"):
            self._event = replace(self._event, fields={"model_id": _short(model_id)})

    def sent(self, fields: Fields, uploads: Sequence[Upload] = ()) -> None:
        """Note the fields and images of a request."""
        values = fields.model_dump(
            mode="json",
            exclude_none=not isinstance(fields, EntryPatch),
            exclude_unset=isinstance(fields, EntryPatch),
        )
        if isinstance(fields, EntryPatch | EnrolFields) and values.get("attributes"):
            values["attributes"] = sorted(values["attributes"])  # what they say is not for here
        self._event = replace(self._event, fields={**self._event.fields, **values})
        self._crops = [upload.data for upload in uploads if upload.size <= upload.max_bytes]
        person_ids = values.get("person_id")
        for person_id in person_ids if isinstance(person_ids, list) else [person_ids]:
            self._add(person_id, values.get("entry_id"))

    def sent_batch(self, items: Iterable[object]) -> None:
        """Note the items of a batch, those that are none left out."""
        for item in items:
            if isinstance(item, Enrolment):
                self._crops.append(item.crop)
                self._add(item.fields.person_id, item.fields.entry_id)

    def about(self, entry: GalleryEntry) -> None:
        """Note an entry that is shown or changed, and its person."""
        self._add(entry.person_id, entry.entry_id)

    def about_model(self, model_id: str) -> None:
        """Note the model that a call is about, where its path does not say."""
        self._event = replace(self._event, fields={"model_id": _short(model_id)})

    def found(self, matches: Sequence[Match], thresholds: Mapping[PairKind, float] | None) -> None:
        """Note what a query is answered with, and the thresholds of the rate it asked for."""
        shown = tuple(
            ShownEntry(match.entry.entry_id, match.entry.person_id, match.similarity)
            for match in matches
        )
        least = {str(pair): similarity for pair, similarity in (thresholds or {}).items()}
        self._event = replace(self._event, shown=shown, unknown=not shown, thresholds=least)

    def enrolled(self, outcomes: Iterable[Added | Exception]) -> None:
        """Note what became of each item."""
        counts: Counter[str] = Counter()
        for outcome in outcomes:
            if isinstance(outcome, Added):
                self.about(outcome.entry)
                counts["replayed" if outcome.replayed else "enrolled"] += 1
            else:
                counts[kind_of(outcome).code] += 1
        self.counted(counts)

    def erased(self, receipt: ErasureReceipt) -> None:
        """Note what is gone."""
        for entry_id in receipt.entry_ids:
            self._add(None, entry_id)
        self.counted({"erased": receipt.entries})

    def counted(self, counts: dict[str, int]) -> None:
        """Note how many of what."""
        self._event = replace(self._event, counts=dict(counts))

    async def check(self) -> None:
        """Return if the call can be recorded. Raises: AuditUnavailableError."""
        if self._log is not None:
            await self._log.check()

    async def begin(self) -> None:
        """Record that the call is asked for, before it is done. Raises: AuditUnavailableError."""
        if self._log is not None:
            with timed(self._stages, "audit"):
                await self._log.record(self._made("asked", None, None, ()))

    async def end(self, status: int, code: str | None = None) -> None:
        """Record how the call ends. Raises: AuditUnavailableError.

        A change that has been made is then recorded as soon as that is possible.
        """
        if self._log is None:
            return
        large = sum(map(len, self._crops)) > INLINE_BYTES
        crops = await in_thread(_digests, self._crops) if large else _digests(self._crops)
        event = self._made("done", status, code, crops)
        try:
            with timed(self._stages, "audit"):
                await self._log.record(event)
        except AuditUnavailableError as failure:
            if self._changes and code is None:
                kind = kind_of(failure)
                self._owe(replace(event, status=kind.status, code=kind.code))
            raise

    async def end_in(self, error: Exception) -> None:
        """Record that the call ends in an error. Raises: AuditUnavailableError."""
        invalid = isinstance(error, RequestValidationError)
        kind = INVALID_FIELDS if invalid else kind_of(error)
        await self.end(kind.status, kind.code)

    def break_off(self) -> None:
        """Record a call that nobody waits for any more; what it had begun may go on."""
        self._owe(self._made("done", None, "broken_off", _digests(self._crops)))

    def _owe(self, event: AuditEvent) -> None:
        if self._log is not None:
            with suppress(AuditUnavailableError):
                self._log.owe(event)

    def _made(
        self, phase: Phase, status: int | None, code: str | None, crops: tuple[str, ...]
    ) -> AuditEvent:
        return replace(
            self._event,
            phase=phase,
            status=status,
            code=code,
            crops=crops,
            person_ids=tuple(self._persons),
            entry_ids=tuple(self._entries),
        )

    def _add(self, person_id: str | None, entry_id: str | None) -> None:
        if person_id is not None:
            self._persons[_short(person_id)] = None
        if entry_id is not None:
            self._entries[_short(entry_id)] = None


def _short(name: str) -> str:
    """Cut what a client put into a path; names of the gallery are shorter."""
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."


def _digests(crops: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(crop).hexdigest() for crop in crops)
