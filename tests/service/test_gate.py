"""The gate over a small application: limits, pages of other sites, other hosts, logs."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from gallery_index.gallery import Gallery
from service.access.auth import KeyRing
from service.access.gate import Gate
from service.access.keys import add_key, make_key, revoke_key
from service.access.rate_limit import RateLimiter
from service.app import create_app
from service.edge import Edge
from service.observing.request_metrics import RequestCounts
from service.observing.route_templates import RouteTemplates
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.clock import Clock
from tests.service.fakes import TinyEncoder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def name_the_caller(scope: Scope, receive: Receive, send: Send) -> None:
    caller = scope["state"]["caller"]
    answer = {"name": caller.name, "roles": sorted(caller.roles)}
    await JSONResponse(answer)(scope, receive, send)


class Gated:
    """An edge and a gate around an application that says who calls."""

    def __init__(
        self,
        path: Path,
        *environment: str,
        rate_limit: int | None = None,
        insecure: bool = False,
    ) -> None:
        self.clock = Clock()
        self.keys = KeyRing(environment, path, stopwatch=self.clock)
        gate = Gate(
            name_the_caller,
            self.keys,
            rate_limit=rate_limit,
            insecure=insecure,
            limiter=RateLimiter(self.clock),
        )
        edge = Edge(gate, RequestCounts(), RouteTemplates([]))
        self._transport = httpx.ASGITransport(edge, raise_app_exceptions=False)

    def call(
        self,
        method: str = "GET",
        url: str = "http://localhost/models",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport) as http:
                return await http.request(method, url, headers=headers)

        return asyncio.run(send())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def add(path: Path, name: str, rate_limit: int | None = None) -> tuple[dict[str, str], str]:
    text, key = make_key(name, ["query"], now=NOW, rate_limit=rate_limit)
    add_key(path, key)
    return {"Authorization": f"Bearer {text}"}, key.id


def test_without_keys_everybody_here_is_everything(path: Path) -> None:
    answer = Gated(path).call().json()
    assert answer == {"name": "anonymous", "roles": ["admin", "enroll", "query"]}


def test_the_caller_is_the_holder_of_the_key(path: Path) -> None:
    headers, _ = add(path, "door")
    assert Gated(path).call(headers=headers).json() == {"name": "door", "roles": ["query"]}


def test_who_needs_no_key_has_no_role(path: Path) -> None:
    answer = Gated(path, "k").call(url="http://localhost/healthz").json()
    assert answer == {"name": "anonymous", "roles": []}


def test_a_revoked_key_is_out_within_a_second(path: Path) -> None:
    headers, key_id = add(path, "door")
    gated = Gated(path)
    assert gated.call(headers=headers).status_code == 200
    revoke_key(path, key_id, now=NOW)
    gated.clock.advance(1)
    problem_of(gated.call(headers=headers), 401, "key_unknown")
    problem_of(gated.call(), 401, "key_required")


def test_a_key_of_its_own_limit_and_one_of_the_settings(path: Path) -> None:
    strict, _ = add(path, "strict", rate_limit=2)
    other, _ = add(path, "other")
    gated = Gated(path, "k", rate_limit=3)
    statuses = [gated.call(headers=strict).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    for headers in (other, {"X-API-Key": "k"}):
        assert [gated.call(headers=headers).status_code for _ in range(4)] == [200] * 3 + [429]
    refused = gated.call(headers=strict)
    problem = problem_of(refused, 429, "rate_limited")
    assert refused.headers["Retry-After"] == "30"
    assert strict["Authorization"].rpartition("_")[2] not in str(problem)
    gated.clock.advance(29)
    assert gated.call(headers=strict).status_code == 429
    gated.clock.advance(1)
    assert gated.call(headers=strict).status_code == 200


def test_health_has_no_limit(path: Path) -> None:
    gated = Gated(path, "k", rate_limit=1)
    statuses = {gated.call(url="http://localhost/healthz").status_code for _ in range(5)}
    assert statuses == {200}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"]
)
def test_a_name_of_this_machine_is_answered(path: Path, host: str) -> None:
    assert Gated(path).call(headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.7:8000",
        "[2001:db8::1]:8000",
        "[::1].evil.example",
        "localhost@evil.example",
        "[",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_was_made_to_lead_here_is_refused(path: Path, host: str, method: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    problem_of(Gated(path).call(method, headers=headers), 403, "cross_origin")


def test_any_name_is_answered_where_keys_or_the_operator_guard(path: Path) -> None:
    headers = {"Host": "reid.example"}
    assert Gated(path, insecure=True).call(headers=headers).status_code == 200
    keyed = {**headers, "X-API-Key": "k"}
    assert Gated(path, "k").call(headers=keyed).status_code == 200


OTHER_SITES = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_a_page_of_another_site_changes_nothing(
    path: Path, headers: dict[str, str], method: str
) -> None:
    problem_of(Gated(path).call(method, headers=headers), 403, "cross_origin")
    with_key = {**headers, "X-API-Key": "k"}
    problem_of(Gated(path, "k").call(method, headers=with_key), 403, "cross_origin")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://LOCALHOST"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_program_and_a_page_of_this_site_may_write(path: Path, headers: dict[str, str]) -> None:
    assert Gated(path).call("POST", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", OTHER_SITES)
def test_a_link_from_another_site_leads_here_but_shares_nothing(
    path: Path, headers: dict[str, str]
) -> None:
    response = Gated(path).call("GET", headers=headers)
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_preflight_gets_no_permission(settings: ServiceSettings, gallery: Gallery) -> None:
    with (
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        response = http.options("/query", headers=headers)
    problem_of(response, 405, "method_not_allowed")
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_no_key_is_logged_or_answered(
    settings: ServiceSettings, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    text, key = make_key("door", ["query"], now=NOW)
    add_key(settings.keys_file, key)
    secret = text.rpartition("_")[2]
    with_keys = settings.model_copy(update={"api_key": SecretStr("environment-secret")})
    caplog.set_level(logging.DEBUG)
    answers = []
    with (
        running(create_app(with_keys, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        for value in (text, text + "0", "environment-secret", "environment-secret2"):
            for headers in ({"Authorization": f"Bearer {value}"}, {"X-API-Key": value}):
                for method, path in (("GET", "/models"), ("DELETE", "/gallery/a"), ("PUT", "/x")):
                    answers.append(http.request(method, path, headers=headers))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 401, 403, 404}
    for hidden in (secret, key.sha256, "environment-secret"):
        assert hidden not in caplog.text
        assert not any(hidden in answer.text + str(answer.headers) for answer in answers)
    assert "service.requests" in caplog.text


def test_a_key_in_an_address_is_neither_taken_nor_logged_by_the_service(
    settings: ServiceSettings, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    with_key = settings.model_copy(update={"api_key": SecretStr("environment-secret")})
    caplog.set_level(logging.DEBUG, "service")
    with (
        running(create_app(with_key, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        for query in ("api_key", "key", "X-API-Key", "access_token"):
            answer = http.get(f"/models?{query}=environment-secret")
            problem_of(answer, 401, "key_required")
    ours = [record for record in caplog.records if record.name.startswith("service")]
    assert len(ours) == 4
    assert not any("environment-secret" in record.getMessage() for record in ours)


@pytest.mark.parametrize("address", ["/{}", "/gallery/{}", "/models?api_key={}", "/gallery?{}=1"])
def test_an_address_with_a_key_is_refused_and_repeated_nowhere(
    settings: ServiceSettings,
    gallery: Gallery,
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    text, key = make_key("door", ["admin"], now=NOW)
    add_key(settings.keys_file, key)
    secret = text.rpartition("_")[2]
    caplog.set_level(logging.DEBUG, "service")
    with (
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        for headers in ({}, {"X-API-Key": text}):
            answer = http.get(address.format(text), headers=headers)
            assert "revoke it" in problem_of(answer, 401, "key_required")["detail"]
            assert secret not in answer.text + str(answer.headers)
    ours = [record for record in caplog.records if record.name.startswith("service")]
    assert [record.name for record in ours].count("service.requests") == 2
    assert not any(secret in str(vars(record)) + record.getMessage() for record in ours)
