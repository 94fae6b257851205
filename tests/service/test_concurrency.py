"""Many clients at once, over HTTP: batches, a full queue, clients that leave, a breakdown."""

import asyncio
from collections.abc import Coroutine, MutableMapping
from typing import Any

import httpx
import pytest

from gallery_index.gallery import Gallery
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.claims import problem_of
from tests.service.fakes import crop
from tests.service.test_batching import LONG_S, BrokenOnce, HeldEncoder

Message = MutableMapping[str, Any]


def embed(client: httpx.AsyncClient, seed: int) -> Coroutine[Any, Any, httpx.Response]:
    return client.post("/embed", files={"file": crop(seed)}, data={"modality": "visible"})


async def begun(held: HeldEncoder) -> None:
    """Wait until the encoder works on a batch."""
    assert await asyncio.to_thread(held.begun.acquire, timeout=LONG_S)


async def waiting(app: Any, crops: int) -> None:
    """Wait until this many crops wait for the encoder."""
    async with asyncio.timeout(LONG_S):
        while app.state.context.embedder.state().queued_queries < crops:
            await asyncio.sleep(0.01)


def run(app: Any, scenario: Coroutine[Any, Any, None]) -> None:
    async def inside() -> None:
        async with app.router.lifespan_context(app):
            await scenario

    asyncio.run(inside())


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def test_requests_that_come_while_the_encoder_works_share_a_batch(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    held = HeldEncoder()
    app = create_app(settings, held, gallery)

    async def scenario() -> None:
        async with client_of(app) as client:
            requests = [asyncio.create_task(embed(client, 0))]
            await begun(held)
            requests += [asyncio.create_task(embed(client, seed)) for seed in range(1, 6)]
            await waiting(app, 5)
            held.let.release()
            held.let.release()
            answers = await asyncio.gather(*requests)
        assert [answer.status_code for answer in answers] == [200] * 6
        assert len({tuple(answer.json()["embedding"][:50]) for answer in answers}) == 6

    run(app, scenario())
    assert held.batch_sizes == [1, 5]


def test_a_full_service_refuses_politely_and_answers_the_rest(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    held = HeldEncoder()
    app = create_app(settings.model_copy(update={"max_queue": 8}), held, gallery)

    async def scenario() -> None:
        async with client_of(app) as client:
            taken = [asyncio.create_task(embed(client, 0))]
            await begun(held)
            taken += [asyncio.create_task(embed(client, seed)) for seed in range(1, 8)]
            await waiting(app, 7)
            refused = await embed(client, 9)
            problem_of(refused, 503, "queue_full")
            assert int(refused.headers["Retry-After"]) >= 1
            for _ in range(8):
                held.let.release()
            answers = await asyncio.gather(*taken)
            assert [answer.status_code for answer in answers] == [200] * 8
            held.let.release()
            assert (await embed(client, 9)).status_code == 200

    run(app, scenario())


def test_a_client_that_leaves_costs_no_inference(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    held = HeldEncoder()
    app = create_app(settings, held, gallery)
    request = httpx.Request(
        "POST", "http://localhost/embed", files={"file": crop(1)}, data={"modality": "visible"}
    )
    body = request.read()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/embed",
        "raw_path": b"/embed",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("service", 80),
    }

    async def scenario() -> None:
        gone = asyncio.Event()
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            """Nobody is there to take it."""

        async with client_of(app) as client:
            first = asyncio.create_task(embed(client, 0))
            await begun(held)
            leaving = asyncio.create_task(app(scope, receive, send))
            await waiting(app, 1)
            gone.set()
            await leaving
            held.let.release()
            assert (await first).status_code == 200
            held.let.release()
            assert (await embed(client, 2)).status_code == 200

    run(app, scenario())
    assert held.batch_sizes == [1, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_encoder_that_breaks_down_is_503_once(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    app = create_app(settings, BrokenOnce(), gallery)

    async def scenario() -> None:
        async with client_of(app) as client:
            broken = await embed(client, 1)
            problem_of(broken, 503, "encoder_failed")
            assert "Retry-After" in broken.headers
            assert (await embed(client, 1)).status_code == 200

    run(app, scenario())
