"""`/jobs`: how far long work is, once or as it goes, and its end before its time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from service.auditing import AuditedRoute, trail_of
from service.bodies.model_bodies import JobBody, JobsBody, job_body
from service.bodies.schemas import json_answer
from service.context import Context, ServiceContext, in_thread
from service.errors import JobNotFoundError, QueueFullError
from service.refresh.jobs import Job

router = APIRouter(tags=["models"], route_class=AuditedRoute)

EVENTS: Final = "text/event-stream"
OF_EVENTS: Final[dict[str, Any]] = {
    EVENTS: {
        "schema": {"type": "string"},
        "example": 'event: progress\ndata: {"job_id": "...", "done": 6144, ...}\n\n',
    }
}
EVERY_S: Final = 0.25
HEARTBEAT_S: Final = 15.0
CANCEL_S: Final = 5.0
"""How long a cancelled job is waited for: it ends at the next crop."""


@router.get("/jobs", response_model=JobsBody)
async def list_jobs(context: Context) -> JobsBody:
    """List the last jobs, newest first."""
    jobs = [] if context.refresher is None else context.refresher.jobs.newest()
    return JobsBody(jobs=[job_body(job) for job in jobs])


@router.get(
    "/jobs/{job_id}",
    response_model=JobBody,
    responses={200: {"content": OF_EVENTS}},
)
async def get_job(job_id: str, request: Request, context: Context) -> Response:
    """Read how far a job is; with `Accept: text/event-stream` as it goes."""
    job = _job(job_id, context)
    if EVENTS in request.headers.get("accept", ""):
        return _watched(job_id, context)
    return json_answer(job_body(job))


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    responses={200: {"description": "Server-sent events.", "content": OF_EVENTS}},
)
async def watch_job(job_id: str, context: Context) -> Response:
    """Follow a job: an event `progress` whenever it is further, and `end` with its last state."""
    _job(job_id, context)
    return _watched(job_id, context)


@router.delete("/jobs/{job_id}", response_model=JobBody)
async def cancel_job(job_id: str, request: Request, context: Context) -> Response:
    """End a job that runs: what it has made is dropped, the model before goes on answering."""
    await trail_of(request).begin()
    job = _job(job_id, context)
    trail_of(request).about_model(job.model_id)
    assert context.refresher is not None
    await in_thread(context.refresher.cancel, job_id)
    until = time.monotonic() + CANCEL_S
    while (job := _job(job_id, context)).status == "running" and time.monotonic() < until:
        await asyncio.sleep(EVERY_S / 10)
    return json_answer(job_body(job))


def _job(job_id: str, context: ServiceContext) -> Job:
    if context.refresher is None:
        raise JobNotFoundError(f"no job {job_id!r}")
    return context.refresher.jobs.get(job_id)


def _watched(job_id: str, context: ServiceContext) -> Response:
    if context.watchers.free <= 0:
        raise QueueFullError("as many clients as may be follow jobs already", retry_after_s=5)
    events = _events(job_id, context)
    return StreamingResponse(events, media_type=EVENTS, headers={"Cache-Control": "no-store"})


async def _events(job_id: str, context: ServiceContext) -> AsyncIterator[str]:
    with context.watchers.one():
        shown: Job | None = None
        spoke = time.monotonic()
        while True:
            job = _job(job_id, context)
            if job != shown:
                shown, spoke = job, time.monotonic()
                name = "progress" if job.status == "running" else "end"
                yield f"event: {name}\ndata: {job_body(job).model_dump_json()}\n\n"
            elif time.monotonic() - spoke > HEARTBEAT_S:
                spoke = time.monotonic()
                yield ": still there\n\n"
            if job.status != "running" or context.embedder.admission.stopping:
                return
            await asyncio.sleep(EVERY_S)
