"""Keys: who gets in."""

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from gallery_index.gallery import Gallery
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.fakes import TinyEncoder, crop

KEYS = "first-key, second-key"


@pytest.fixture
def locked(settings: ServiceSettings, gallery: Gallery) -> Iterator[httpx.Client]:
    with_keys = settings.model_copy(update={"api_key": SecretStr(KEYS)})
    with (
        running(create_app(with_keys, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gallery"),
        ("POST", "/gallery/batch"),
        ("GET", "/gallery"),
        ("GET", "/gallery/a"),
        ("GET", "/gallery/a/crop"),
        ("PATCH", "/gallery/a"),
        ("DELETE", "/gallery/a"),
        ("DELETE", "/persons/p"),
        ("POST", "/query"),
        ("POST", "/embed"),
        ("POST", "/compare"),
        ("GET", "/models"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/whoami"),
        ("GET", "/audit"),
        ("GET", "/web"),
        ("GET", "/nowhere"),
        ("GET", "/healthz/"),
    ],
)
def test_without_a_key_every_call_is_closed(locked: httpx.Client, method: str, path: str) -> None:
    response = locked.request(method, path)
    problem_of(response, 401, "key_required")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_health_is_open_to_all(locked: httpx.Client) -> None:
    assert locked.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"},
        {"Authorization": "bearer  second-key"},
        {"X-API-Key": "second-key"},
        {"Authorization": "Basic abc", "X-API-Key": "first-key"},
    ],
)
def test_any_of_the_keys_opens(locked: httpx.Client, headers: dict[str, str]) -> None:
    assert locked.get("/models", headers=headers).status_code == 200
    files, data = {"file": crop(1)}, {"modality": "visible"}
    assert locked.post("/embed", files=files, data=data, headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["first-ke", "first-key2", "FIRST-KEY", KEYS, "*", "\u00fc"])
def test_any_other_key_does_not(locked: httpx.Client, key: str) -> None:
    response = locked.get("/models", headers={b"X-API-Key": key.encode()})
    problem_of(response, 401, "key_unknown")
    assert key not in response.text


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer "}, {"X-API-Key": ""}])
def test_an_empty_key_is_no_key(locked: httpx.Client, headers: dict[str, str]) -> None:
    problem_of(locked.get("/models", headers=headers), 401, "key_required")


def test_a_key_in_the_address_opens_nothing(locked: httpx.Client) -> None:
    problem_of(locked.get("/models?api_key=first-key"), 401, "key_required")
