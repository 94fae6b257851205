"""`/audit`: what the audit log has, for those who have to answer for it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.audit.search import AuditFilter, find_calls
from service.auditing import AuditedRoute, trail_of
from service.bodies.fields import AuditFields
from service.bodies.schemas import AuditBody
from service.bodies.uploads import refuse_repeated
from service.context import Context, in_thread
from service.errors import AuditOffError

router = APIRouter(tags=["status"], route_class=AuditedRoute)


@router.get("/audit", response_model=AuditBody)
async def list_audit_events(
    request: Request, fields: Annotated[AuditFields, Query()], context: Context
) -> AuditBody:
    """Read the calls that the audit log has, newest first, a page at a time.

    A page looks at a bounded piece of the log: it may have few events, or none, and lead on.
    """
    refuse_repeated(request, frozenset())
    trail_of(request).sent(fields)
    if context.audit is None:
        raise AuditOffError("the service keeps no audit log: it was started without one")
    wanted = AuditFilter(**fields.model_dump(exclude={"limit", "cursor"}))
    page = await in_thread(
        find_calls, context.audit.directory, wanted, limit=fields.limit, cursor=fields.cursor
    )
    trail_of(request).counted({"shown": len(page.events)})
    return AuditBody(
        events=page.events,
        damaged=page.damaged,
        searched_to=page.searched_to,
        next_cursor=page.cursor,
    )
