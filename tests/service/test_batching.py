"""The queue before the encoder: how batches form, who is dropped, what a breakdown costs."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import ImageError, UndecodableImageError
from service.batching import Embedded, EncoderQueue
from service.embedding import CropEmbedder, EmbeddedCrop
from service.errors import EncoderFailedError, QueueFullError
from service.settings import ServiceSettings
from tests.service.fakes import TinyEncoder, TinyEncoding, crop

LONG_S = 60


class HeldEncoder(TinyEncoder):
    """An encoder that works only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        self.begun.release()
        assert self.let.acquire(timeout=LONG_S)
        return super().encode(batch)


@pytest.fixture
def held() -> HeldEncoder:
    return HeldEncoder()


@pytest.fixture
def queue(held: HeldEncoder) -> Iterator[EncoderQueue]:
    queue = EncoderQueue(held, max_batch=4)
    yield queue
    for _ in range(100):
        held.let.release()
    queue.close()


def input_of(value: float) -> NDArray[np.float32]:
    return np.full((3, 32, 32), value, np.float32)


def results(futures: list[Future[Embedded]]) -> list[Embedded]:
    return [future.result(timeout=LONG_S) for future in futures]


def test_a_crop_that_finds_the_encoder_idle_goes_alone(
    queue: EncoderQueue, held: HeldEncoder
) -> None:
    for _ in range(3):
        held.let.release()
        results([queue.submit(input_of(1))])
    assert held.batch_sizes == [1, 1, 1]


def test_what_comes_while_the_encoder_works_makes_the_next_batches(
    queue: EncoderQueue, held: HeldEncoder
) -> None:
    first = queue.submit(input_of(1))
    assert held.begun.acquire(timeout=LONG_S)
    others = [queue.submit(input_of(value)) for value in range(2, 8)]
    assert len(queue) == 6
    for _ in range(3):
        held.let.release()
    results([first, *others])
    assert held.batch_sizes == [1, 4, 2]


def test_each_crop_gets_its_own_embedding(queue: EncoderQueue, held: HeldEncoder) -> None:
    inputs = [np.random.default_rng(seed).random((3, 32, 32), np.float32) for seed in range(6)]
    futures = [queue.submit(crop) for crop in inputs]
    for _ in range(6):
        held.let.release()
    for array, embedded in zip(inputs, results(futures), strict=True):
        flat = array.ravel()
        assert np.allclose(embedded.embedding, flat / np.linalg.norm(flat), atol=1e-6)
        assert embedded.queue_ms >= 0
        assert embedded.embed_ms >= 0


def test_a_cancelled_crop_is_never_encoded(queue: EncoderQueue, held: HeldEncoder) -> None:
    first = queue.submit(input_of(1))
    assert held.begun.acquire(timeout=LONG_S)
    left, stayed = queue.submit(input_of(2)), queue.submit(input_of(3))
    assert left.cancel()
    held.let.release()
    held.let.release()
    results([first, stayed])
    assert held.batch_sizes == [1, 1]


class BrokenOnce(TinyEncoder):
    """An encoder whose first batch kills its thread."""

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        if not self.batch_sizes:
            self.batch_sizes.append(0)
            raise MemoryError("no memory for the batch")
        return super().encode(batch)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_answers_its_crops_and_is_replaced() -> None:
    queue = EncoderQueue(BrokenOnce(), max_batch=1)
    futures = [queue.submit(input_of(value)) for value in (1, 2, 3)]
    wait_for(futures, timeout=LONG_S)
    assert isinstance(futures[0].exception(timeout=LONG_S), EncoderFailedError)
    assert all(future.exception(timeout=LONG_S) is None for future in futures[1:])
    results([queue.submit(input_of(4))])
    queue.close()
    for thread in threading.enumerate():
        if thread.name == "encoder":
            thread.join(LONG_S)


def test_closing_finishes_what_waits_and_takes_no_more() -> None:
    queue = EncoderQueue(TinyEncoder(), max_batch=2)
    futures = [queue.submit(input_of(value)) for value in (1, 2, 3)]
    queue.close()
    assert all(future.done() for future in futures)
    with pytest.raises(EncoderFailedError):
        queue.submit(input_of(4))


def test_a_bad_image_fails_alone(settings: ServiceSettings) -> None:
    async def embed() -> list[EmbeddedCrop | ImageError]:
        return await embedder.embed([crop(1), b"\x89PNG\r\n\x1a\n", crop(2)])

    embedder = CropEmbedder(TinyEncoder(), settings)
    first, second, third = asyncio.run(embed())
    embedder.close()
    assert isinstance(first, EmbeddedCrop)
    assert isinstance(second, UndecodableImageError)
    assert isinstance(third, EmbeddedCrop)


def test_more_crops_than_may_wait_are_refused_at_once(
    settings: ServiceSettings, held: HeldEncoder
) -> None:
    async def embed() -> None:
        full = asyncio.create_task(embedder.embed([crop(seed) for seed in range(32)]))
        await asyncio.to_thread(held.begun.acquire, timeout=LONG_S)
        with pytest.raises(QueueFullError, match="at most 32"):
            await embedder.embed([crop(99)])
        for _ in range(32):
            held.let.release()
        assert len(await full) == 32
        assert len(await embedder.embed([crop(99)])) == 1  # there is room again

    held.let.release()
    embedder = CropEmbedder(held, settings)
    asyncio.run(embed())
    embedder.close()


def test_a_cancelled_request_takes_its_crops_back(
    settings: ServiceSettings, held: HeldEncoder
) -> None:
    async def embed() -> None:
        first = asyncio.create_task(embedder.embed([crop(1)]))
        await asyncio.to_thread(held.begun.acquire, timeout=LONG_S)
        leaving = asyncio.create_task(embedder.embed([crop(2), crop(3)]))
        while embedder.waiting < 2:
            await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        held.let.release()
        await first
        held.let.release()
        await embedder.embed([crop(4)])

    embedder = CropEmbedder(held, settings)
    asyncio.run(embed())
    embedder.close()
    assert held.batch_sizes == [1, 1]
