"""Large answers whose clients do not read: they count as under way, up to a bound."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from service.bodies.held_answer import PIECE_BYTES, HeldAnswer
from service.engine.admission import Admission
from service.errors import QueueFullError

CROP = bytes(range(256)) * 1000  # 256,000 bytes: four pieces


def admission() -> Admission:
    return Admission(
        max_crops=1,
        max_bytes=600_000,
        deadline_s={"query": 10, "enroll": 10},
        seconds_per_crop=lambda: 0,
    )


class Client:
    """Takes pieces of an answer, and can stop taking them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.messages.append(message)


async def never() -> Any:
    raise AssertionError("an answer asks for nothing")


def answer(gate: Admission) -> HeldAnswer:
    return HeldAnswer(CROP, "image/png", {"Cache-Control": "no-store"}, gate)


def test_an_answer_comes_whole_and_in_pieces() -> None:
    async def scenario() -> None:
        client = Client()
        await answer(gate)({"type": "http"}, never, client.send)
        start, *bodies = client.messages
        assert start["status"] == 200
        assert (b"content-length", b"256000") in start["headers"]
        assert b"".join(body["body"] for body in bodies) == CROP
        assert max(len(body["body"]) for body in bodies) == PIECE_BYTES
        assert [body.get("more_body", False) for body in bodies] == [True] * 4 + [False]

    gate = admission()
    asyncio.run(scenario())
    assert gate.bytes == 0


def test_answers_that_nobody_reads_are_bounded_and_given_back_when_their_client_goes() -> None:
    async def scenario() -> None:
        idle = Client()
        idle.reads.clear()
        sending = [
            asyncio.create_task(answer(gate)({"type": "http"}, never, idle.send)) for _ in range(2)
        ]
        await asyncio.sleep(0)
        assert gate.bytes == 2 * len(CROP)
        late = Client()
        with pytest.raises(QueueFullError, match="512,000 bytes are under way"):
            await answer(gate)({"type": "http"}, never, late.send)
        assert late.messages == []
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        assert gate.bytes == 0

    gate = admission()
    asyncio.run(scenario())
