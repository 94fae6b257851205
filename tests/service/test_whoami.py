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
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.conftest import open_gallery
from tests.service.fakes import TinyEncoder

ROLES: list[tuple[Role, ...]] = [("query",), ("enroll",), ("admin",), ("query", "enroll")]


@pytest.fixture
def locked(settings: ServiceSettings) -> Iterator[tuple[httpx.Client, list[str]]]:
    """A service with a key for each of ROLES."""
    keys = []
    for roles in ROLES:
        text, key = make_key("ann", roles, now=datetime.now(UTC))
        add_key(settings.keys_file, key)
        keys.append(text)
    with (
        open_gallery(settings) as gallery,
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        yield http, keys


def test_it_says_what_the_key_opens(locked: tuple[httpx.Client, list[str]]) -> None:
    http, keys = locked
    for roles, key in zip(ROLES, keys, strict=True):
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


def test_a_wrong_key_learns_nothing(locked: tuple[httpx.Client, list[str]]) -> None:
    http, _ = locked
    problem_of(http.get("/whoami"), 401, "key_required")
    other, _ = make_key("other", ("admin",), now=datetime.now(UTC))
    problem_of(http.get("/whoami", headers={"X-API-Key": other}), 401, "key_unknown")
