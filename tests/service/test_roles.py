"""Every route against every role and no key: the table below is the promise of docs/security.md."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from gallery_index.gallery import Gallery
from service.access.caller import Role
from service.access.keys import add_key, make_key
from service.access.roles import ROLES_OF_CALL
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.conftest import open_gallery, small_settings
from tests.service.fakes import TinyEncoder

Q, E, A = "query", "enroll", "admin"
EXPECTED: dict[tuple[str, str], set[str]] = {
    ("POST", "/query"): {Q, A},
    ("POST", "/embed"): {Q, A},
    ("POST", "/compare"): {Q, A},
    ("POST", "/gallery"): {E, A},
    ("POST", "/gallery/batch"): {E, A},
    ("PATCH", "/gallery/{entry_id}"): {E, A},
    ("GET", "/gallery"): {Q, E, A},
    ("GET", "/gallery/{entry_id}"): {Q, E, A},
    ("GET", "/gallery/{entry_id}/crop"): {Q, A},
    ("DELETE", "/gallery/{entry_id}"): {A},
    ("DELETE", "/persons/{person_id}"): {A},
    ("GET", "/models"): {Q, E, A},
    ("GET", "/models/{model_id}"): {Q, E, A},
    ("POST", "/models"): {A},
    ("POST", "/models/{model_id}/activate"): {A},
    ("POST", "/models/rollback"): {A},
    ("GET", "/queries/{query_id}/patterns.png"): {Q, A},
    ("POST", "/models/reclaim"): {A},
    ("POST", "/models/{model_id}/calibrate"): {A},
    ("GET", "/jobs"): {Q, E, A},
    ("GET", "/jobs/{job_id}"): {Q, E, A},
    ("GET", "/jobs/{job_id}/events"): {Q, E, A},
    ("DELETE", "/jobs/{job_id}"): {A},
    ("GET", "/readyz"): {Q, E, A},
    ("GET", "/metrics"): {Q, E, A},
    ("GET", "/docs"): {Q, E, A},
    ("GET", "/openapi.json"): {Q, E, A},
    ("GET", "/whoami"): {Q, E, A},
    ("GET", "/audit"): {A},
    ("GET", "/"): {Q, E, A, "nobody"},
    ("GET", "/web/{path}"): {Q, E, A, "nobody"},
    ("GET", "/healthz"): {Q, E, A, "nobody"},
}
ROLES: tuple[Role, ...] = ("query", "enroll", "admin")
CALLERS: dict[str, tuple[Role, ...]] = {
    **{role: (role,) for role in ROLES},
    "both": ("query", "enroll"),
}


class Locked:
    """A service with one key for each kind of caller."""

    def __init__(self, http: httpx.Client, app: FastAPI, keys: dict[str, str]) -> None:
        self.app = app
        self._http = http
        self._keys = keys

    def call(self, method: str, path: str, caller: str, **options: object) -> httpx.Response:
        headers = {"X-API-Key": self._keys[caller]} if caller in self._keys else {}
        path = path.replace("{", "").replace("}", "")
        return self._http.request(method, path, headers=headers, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    settings = small_settings(tmp_path_factory.mktemp("roles"))
    keys = {name: key_of(settings.keys_file, roles) for name, roles in CALLERS.items()}
    with open_gallery(settings) as gallery:
        app = create_app(settings, TinyEncoder(), gallery)
        with (
            running(app) as transport,
            httpx.Client(transport=transport, base_url="http://localhost") as http,
        ):
            yield Locked(http, app, keys)


def key_of(path: Path, roles: tuple[Role, ...]) -> str:
    text, key = make_key("caller", roles, now=datetime.now(UTC))
    add_key(path, key)
    return text


def flat(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Yield every route; an included router may stand among them as one."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from flat(route.original_router.routes)  # type: ignore[attr-defined]


def test_every_route_has_a_row(locked: Locked) -> None:
    routes = list(flat(locked.app.routes))
    found = {
        (method, route.path_format)
        for route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert found == set(EXPECTED) == set(ROLES_OF_CALL)
    unchecked = [route.path for route in routes if not isinstance(route, APIRoute)]
    assert unchecked == ["/openapi.json"], "only an APIRoute has its role checked"


@pytest.mark.parametrize("caller", [*CALLERS, "nobody", "stranger"])
@pytest.mark.parametrize(("method", "path"), EXPECTED)
def test_who_may_call_what(locked: Locked, method: str, path: str, caller: str) -> None:
    response = locked.call(method, path, caller)
    allowed = EXPECTED[method, path]
    roles = set(CALLERS.get(caller, ()))
    if "nobody" in allowed or roles & allowed:
        assert response.status_code not in (401, 403), response.text
    elif roles:
        detail = problem_of(response, 403, "role_required")["detail"]
        needed, came = detail.split(", came")
        assert {role for role in ROLES if role in needed} == allowed
        assert {role for role in ROLES if role in came} == roles
    else:
        problem_of(response, 401, "key_required")


def test_a_body_nobody_may_send_is_not_read(locked: Locked) -> None:
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"x"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    keys = {**headers, "X-API-Key": locked._keys["enroll"]}
    response = locked._http.post("/query", headers=keys, content=body())
    problem_of(response, 403, "role_required")
    assert read == []


def test_a_route_without_a_row_is_closed_even_to_administrators(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    app = create_app(settings, TinyEncoder(), gallery)
    router = APIRouter()

    @router.get("/forgotten")
    async def forgotten() -> str:
        return "open"

    app.include_router(router)
    with (
        running(app) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        problem = problem_of(http.get("/forgotten"), 403, "role_required")
    assert problem["detail"] == "GET /forgotten is open to no role"
