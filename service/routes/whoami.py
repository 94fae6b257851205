"""`/whoami`: whose key it is, and which calls it opens."""

from fastapi import APIRouter, Request

from service.access.caller import ANYONE, ROLES, Caller
from service.access.roles import calls_of
from service.bodies.schemas import WhoBody

router = APIRouter(tags=["status"])


@router.get("/whoami", response_model=WhoBody)
async def who_am_i(request: Request) -> WhoBody:
    """Say whose key this is, as the audit log names them, and what it may do."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return WhoBody(
        name=caller.name,
        roles=[role for role in ROLES if role in caller.roles],
        keys=caller != ANYONE,
        calls=calls_of(caller),
    )
