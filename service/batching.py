"""The queue before the encoder: crops of all requests meet here and are encoded in batches.

One thread owns the queue's end. Batches grow only because the encoder is busy: a crop that comes
while it is idle is encoded at once, alone. Knows nothing of HTTP and nothing of images.
"""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import MPANetConfig
from service.errors import EncoderFailedError


class Encoding(Protocol):
    """What an encoder returns for N inputs."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """float32 (N, D), L2-normalised."""


class CropEncoder(Protocol):
    """What the service needs of `model.encoder.Encoder`; tests have a tiny one."""

    @property
    def model_id(self) -> str:
        """The content hash of the model."""

    @property
    def config(self) -> MPANetConfig:
        """The network's configuration."""

    @property
    def provider(self) -> str:
        """What runs the network, such as `CPUExecutionProvider`."""

    @property
    def precision(self) -> str:
        """The precision it runs at, such as `fp32`."""

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB image into float32 (3, H, W)."""

    def encode(self, images: NDArray[np.float32], /) -> Encoding:
        """Embed float32 (N, 3, H, W)."""


class EngineObserver(Protocol):
    """Is told what the engine does, from the thread that does it; must be quick and thread-safe."""

    def batch_encoded(self, crops: int, seconds: float) -> None:
        """A batch of so many crops went through the encoder."""

    def encoder_failed(self) -> None:
        """The encoder raised; it is started again."""

    def crops_dropped(self, crops: int, reason: str) -> None:
        """Queued crops were taken out unencoded: `client_left`, `deadline` or `shutdown`."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embedding of one crop, float32 (D,), and what it cost in milliseconds."""

    embedding: NDArray[np.float32]
    queue_ms: float
    embed_ms: float


@dataclass(slots=True)
class _Waiting:
    crop: NDArray[np.float32]
    future: Future[Embedded] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class EncoderQueue:
    """Takes prepared crops one by one, encodes what waits in one batch.

    When the encoder raises, its thread ends, the crops of that batch get EncoderFailedError, and
    a new thread takes the next ones.
    """

    def __init__(self, encoder: CropEncoder, *, max_batch: int) -> None:
        self._encoder = encoder
        self._max_batch = max_batch
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, crop: NDArray[np.float32]) -> Future[Embedded]:
        """Queue one crop (3, H, W); cancel the future to take it out again."""
        waiting = _Waiting(crop)
        with self._wake:
            if self._closed:
                raise EncoderFailedError("the encoder is shut down")
            self._waiting.append(waiting)
            self._ensure_worker()
            self._wake.notify()
        return waiting.future

    def close(self) -> None:
        """Encode what waits, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
            worker = self._worker
        if worker is not None:
            worker.join()

    def __len__(self) -> int:
        """How many crops wait; those being encoded are not counted."""
        return len(self._waiting)

    def _ensure_worker(self) -> None:
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, name="encoder", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        batch: list[_Waiting] = []
        try:
            while batch := self._take():
                self._encode(batch)
        finally:
            self._abandon(batch)

    def _take(self) -> list[_Waiting]:
        """Wait for work and take as much as fits in one batch; empty when closed and done."""
        with self._wake:
            while True:
                batch: list[_Waiting] = []
                while self._waiting and len(batch) < self._max_batch:
                    waiting = self._waiting.popleft()
                    if waiting.future.set_running_or_notify_cancel():
                        batch.append(waiting)
                if batch or self._closed:
                    return batch
                self._wake.wait()

    def _encode(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        embeddings = self._encoder.encode(np.stack([waiting.crop for waiting in batch])).embedding
        embed_ms = (time.perf_counter() - started) * 1000
        for waiting, embedding in zip(batch, embeddings, strict=True):
            queue_ms = (started - waiting.since) * 1000
            waiting.future.set_result(Embedded(embedding, queue_ms, embed_ms))

    def _abandon(self, batch: list[_Waiting]) -> None:
        """Answer the crops that this thread leaves behind and hand the rest to a new one."""
        for waiting in batch:
            if not waiting.future.done():
                waiting.future.set_exception(EncoderFailedError("the encoder broke down; retry"))
        with self._wake:
            self._worker = None
            if self._waiting:
                self._ensure_worker()
