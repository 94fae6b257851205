"""`/whoami`: a page shows what a key may do by it, so it must say no more and no less."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from service.access.caller import Role
from service.access.keys import add_key, make_key
from service.access.roles import ROLES_OF_CALL
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import AppTransport, running
from tests.service.claims import problem_of
from tests.service.conftest import open_gallery
from tests.service.fakes import TinyEncoder


def key_of(settings: ServiceSettings, name: str, *roles: Role) -> str:
    text, key = make_key(name, roles, now=datetime.now(UTC))
    add_key(settings.keys_file, key)
    return text


@pytest.fixture
def locked(settings: ServiceSettings) -> Iterator[tuple[AppTransport, ServiceSettings]]:
    key_of(settings, "somebody", "admin")
    with (
        open_gallery(settings) as gallery,
        running(create_app(settings, TinyEncoder(), gallery)) as app,
    ):
        yield app, settings


@pytest.mark.parametrize("roles", [("query",), ("enroll",), ("admin",), ("query", "enroll")])
def test_it_says_what_the_key_opens(
    locked: tuple[AppTransport, ServiceSettings], roles: tuple[Role, ...]
) -> None:
    transport, settings = locked
    key = key_of(settings, "ann", *roles)
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        body = http.get("/whoami", headers={"X-API-Key": key}).json()
    assert (body["name"], body["roles"], body["keys"]) == ("ann", list(roles), True)
    allowed = {f"{m} {p}" for (m, p), open_to in ROLES_OF_CALL.items() if open_to & set(roles)}
    opened = {"GET /healthz", "GET /", "GET /web/{path}"}
    assert set(body["calls"]) == allowed | opened
    assert len(body["calls"]) == len(set(body["calls"]))
    assert ("DELETE /persons/{person_id}" in body["calls"]) == ("admin" in roles)
    assert ("GET /audit" in body["calls"]) == ("admin" in roles)


def test_without_keys_everybody_may_do_everything(shared_http: httpx.Client) -> None:
    body = shared_http.get("/whoami").json()
    assert (body["name"], body["keys"]) == ("anonymous", False)
    assert body["roles"] == ["query", "enroll", "admin"]
    assert len(body["calls"]) == len(ROLES_OF_CALL)


def test_a_wrong_key_learns_nothing(locked: tuple[AppTransport, ServiceSettings]) -> None:
    with httpx.Client(transport=locked[0], base_url="http://localhost") as http:
        problem_of(http.get("/whoami"), 401, "key_required")
        other, _ = make_key("other", ("admin",), now=datetime.now(UTC))
        problem_of(http.get("/whoami", headers={"X-API-Key": other}), 401, "key_unknown")
