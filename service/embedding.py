"""From uploaded bytes to embeddings: admission, decoding in threads, the encoder's queue.

Owns how much may be under way at once. Knows nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ImageError
from model.preprocessing import ImageLimits, read_image
from service.batching import CropEncoder, EncoderQueue
from service.errors import QueueFullError
from service.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class EmbeddedCrop:
    """The embedding of one upload, float32 (D,), and what each step took in milliseconds."""

    embedding: NDArray[np.float32]
    decode_ms: float
    queue_ms: float
    embed_ms: float


class CropEmbedder:
    """Turns uploads into embeddings. Its methods belong to one event loop."""

    def __init__(self, encoder: CropEncoder, settings: ServiceSettings) -> None:
        self._encoder = encoder
        self._queue = EncoderQueue(encoder, max_batch=settings.max_batch)
        self._limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels
        )
        self._decoders = ThreadPoolExecutor(settings.decode_threads, "decode")
        self._max_in_flight = settings.max_queue
        self._in_flight = 0

    async def embed(self, uploads: Sequence[bytes]) -> list[EmbeddedCrop | ImageError]:
        """Embed crops; a bad one gets its error and spoils no other.

        Cancelled, it takes back whatever is not being worked on yet.

        Raises: QueueFullError before any work, EncoderFailedError.
        """
        with self._admitted(len(uploads)):
            tasks = [asyncio.create_task(self._embed_one(upload)) for upload in uploads]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    @property
    def waiting(self) -> int:
        """Decoded crops that the encoder has not taken yet."""
        return len(self._queue)

    def close(self) -> None:
        """Finish what is under way and stop the threads."""
        self._decoders.shutdown()
        self._queue.close()

    async def _embed_one(self, upload: bytes) -> EmbeddedCrop | ImageError:
        loop = asyncio.get_running_loop()
        try:
            crop, decode_ms = await loop.run_in_executor(self._decoders, self._decode, upload)
        except ImageError as error:
            return error
        embedded = await asyncio.wrap_future(self._queue.submit(crop))
        return EmbeddedCrop(embedded.embedding, decode_ms, embedded.queue_ms, embedded.embed_ms)

    def _decode(self, upload: bytes) -> tuple[NDArray[np.float32], float]:
        started = time.perf_counter()
        crop = self._encoder.prepare(read_image(upload, self._limits))
        return crop, (time.perf_counter() - started) * 1000

    @contextmanager
    def _admitted(self, crops: int) -> Iterator[None]:
        if self._in_flight + crops > self._max_in_flight:
            raise QueueFullError(
                f"{self._in_flight} crops are under way, {crops} more are too many:"
                f" at most {self._max_in_flight} are taken at once"
            )
        self._in_flight += crops
        try:
            yield
        finally:
            self._in_flight -= crops
