"""The engine between uploads and embeddings: crops of all requests meet here, in batches.

Threads decode ahead of one worker, which owns the encoder. A batch is whatever is ready when the
encoder is free: batches grow because it is busy, and a crop that finds it idle waits for nothing.
Knows nothing of HTTP and of event loops.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import ImageError, UndecodableImageError
from model.preprocessing import ImageLimits, read_image
from service.engine.batch_cost import BatchCost
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import KINDS, CropJob, JobQueue, Kind
from service.engine.turns import Turns
from service.errors import (
    DeadlineExceededError,
    EncoderFailedError,
    RequestError,
    ShuttingDownError,
)

STUCK_S: Final = 30.0
"""A batch that takes this long is one of an encoder that hangs."""

log = logging.getLogger(__name__)


class EngineObserver(Protocol):
    """Is told what the engine does, from the thread that does it; must be quick and thread-safe."""

    def batch_encoded(self, crops: int, seconds: float) -> None:
        """A batch of so many crops went through the encoder."""

    def encoder_failed(self) -> None:
        """The encoder raised; it is started again."""

    def crops_dropped(self, crops: int, reason: str) -> None:
        """Queued crops were taken out unencoded: `client_left`, `deadline` or `shutdown`."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is in the engine: waiting crops by kind, and those in an encoder."""

    queries: int
    enrolments: int
    refreshing: int
    encoding: int


class CropEngine:
    """Takes uploads, settles each with its embedding or its error.

    Crops of several models may be in it; a batch is of one, and one batch runs at a time: two
    encoders at once would slow each other down. When an encoder raises on a batch, its crops are
    tried one by one, so that only those that it cannot take get EncoderFailedError. A worker that
    dies leaves the same answer to its crops, and the next one goes on.
    """

    def __init__(
        self,
        limits: ImageLimits,
        *,
        max_batch: int,
        max_batch_s: float,
        refresh_batch_s: float,
        decode_threads: int,
        observer: EngineObserver | None = None,
    ) -> None:
        """Start no thread yet; the first crop does.

        `seconds_per_crop` is what a crop of many costs that somebody waits for; 0 while nothing is
        known. A batch should take `max_batch_s` at most, one of a refresh `refresh_batch_s`: so
        long a query may have to wait for it.
        """
        self._limits = limits
        self._max_batch = max_batch
        self._look_ahead = 2 * max_batch
        self._observer = observer
        self._batch_s: dict[Kind, float] = {
            "query": max_batch_s,
            "enroll": max_batch_s,
            "refresh": refresh_batch_s,
        }
        self._costs: dict[str, BatchCost] = {}
        self._uploads, self._ready = JobQueue(), JobQueue()
        self._decoding: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._lock = threading.Lock()
        self._to_decode = threading.Condition(self._lock)
        self._to_encode = threading.Condition(self._lock)
        self._decoders: list[threading.Thread | None] = [None] * decode_threads
        self._worker: threading.Thread | None = None
        self._encoding: list[CropJob] = []
        self._busy_since: float | None = None
        self._failures = 0
        self._turns = Turns()
        self.seconds_per_crop = 0.0
        self._closed = False

    def submit(self, jobs: Iterable[CropJob]) -> None:
        """Queue crops. Raises: ShuttingDownError."""
        with self._lock:
            if self._closed:
                raise ShuttingDownError("the service is stopping")
            for job in jobs:
                self._uploads.add(job)
                self._to_decode.notify()
            self._ensure_threads()

    def withdraw(self, jobs: Sequence[CropJob], reason: str) -> None:
        """Take out crops that nobody waits for; what is being worked on is finished unheard."""
        with self._lock:
            for job in jobs:
                job.withdrawn = True
            taken = sum(self._uploads.remove(job) or self._ready.remove(job) for job in jobs)
            self._to_decode.notify_all()
            self._to_encode.notify()
        self._dropped(taken, reason)

    def refuse_waiting(self) -> None:
        """Answer whatever waits with ShuttingDownError; what is being encoded is finished."""
        with self._lock:
            waiting = [*self._uploads.clear(), *self._ready.clear()]
        for job in waiting:
            job.settle(ShuttingDownError("the service is stopping; nothing was done"))
        self._dropped(len(waiting), "shutdown")

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what waits, then stop; an encoder that hangs is left behind after `timeout_s`."""
        with self._lock:
            self._closed = True
            self._to_decode.notify_all()
            self._to_encode.notify_all()
            threads = [thread for thread in (*self._decoders, self._worker) if thread is not None]
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    @property
    def healthy(self) -> bool:
        """Whether the encoder took its last batch, and is not stuck in one. Costs nothing."""
        since = self._busy_since
        return self._failures == 0 and (since is None or time.monotonic() - since < STUCK_S)

    def backlog(self) -> Backlog:
        """Return what is in the engine."""
        with self._lock:
            waiting = {kind: self._waiting(kind) for kind in KINDS}
            return Backlog(
                waiting["query"], waiting["enroll"], waiting["refresh"], len(self._encoding)
            )

    def _waiting(self, kind: Kind) -> int:
        return self._uploads.count(kind) + self._decoding[kind] + self._ready.count(kind)

    def _ensure_threads(self) -> None:
        """Start what does not run: at first, and after a thread died."""
        if self._worker is None or not self._worker.is_alive():
            self._worker = self._started(self._encode_batches, "encode")
        for index, thread in enumerate(self._decoders):
            if thread is None or not thread.is_alive():
                self._decoders[index] = self._started(self._decode_uploads, f"decode-{index}")

    def _started(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    # Decoding

    def _decode_uploads(self) -> None:
        while (job := self._next_upload()) is not None:
            error = None if job.withdrawn else self._decode(job)
            with self._lock:
                self._decoding[job.kind] -= 1
                if error is None and not job.withdrawn:
                    self._ready.add(job)
                self._to_encode.notify()  # in any case: a refresh may have let it pass
            if error is not None:
                job.settle(error)

    def _next_upload(self) -> CropJob | None:
        """Wait for an upload whose kind has room ahead of the encoder; None: closed and done."""
        with self._lock:
            while True:
                for kind in KINDS:
                    ahead = self._ready.count(kind) + self._decoding[kind]
                    if self._uploads.count(kind) and ahead < self._look_ahead:
                        self._decoding[kind] += 1
                        return self._uploads.pop(kind)
                if self._closed and not any(map(self._uploads.count, KINDS)):
                    return None
                self._to_decode.wait()

    def _decode(self, job: CropJob) -> ImageError | RequestError | None:
        began = time.monotonic()
        if began > job.deadline:
            self._dropped(1, "deadline")
            return _too_late()
        try:
            job.crop = job.encoder.prepare(read_image(job.upload, self._limits))
        except ImageError as error:
            return error
        except Exception as error:  # a file that finds a hole in the decoders spoils nothing else
            log.exception("decoding failed in a way that is not foreseen")
            return UndecodableImageError(f"cannot decode the image: {type(error).__name__}")
        job.decode_ms = (time.monotonic() - began) * 1000
        return None

    # Encoding

    def _encode_batches(self) -> None:
        try:
            while batch := self._next_batch():
                self._encode(batch)
        finally:
            self._abandon()

    def _next_batch(self) -> list[CropJob]:
        """Wait for work and take what makes a good batch; empty when closed and done."""
        while True:
            with self._lock:
                self._encoding, self._busy_since = [], None
                while (kind := self._kind_in_turn()) is None:
                    if self._closed and not any(map(self._waiting, KINDS)):
                        return []
                    self._to_encode.wait()
                late = self._take_batch(kind)
                self._busy_since = time.monotonic()
                self._to_decode.notify_all()
            for job in late:
                job.settle(_too_late())
            self._dropped(len(late), "deadline")
            if self._encoding:
                return self._encoding

    def _take_batch(self, kind: Kind) -> list[CropJob]:
        """Move jobs of one kind and model into `_encoding`; returns those that are too late."""
        late: list[CropJob] = []
        encoder = self._ready.first(kind).encoder
        cost = self._cost_of(encoder)
        done_at = time.monotonic() + cost.seconds(1)
        fit = cost.size_within if kind == "refresh" else cost.best_size
        size = fit(self._max_batch, self._batch_s[kind])
        while self._ready.count(kind) and len(self._encoding) < size:
            if self._ready.first(kind).encoder is not encoder:
                break
            job = self._ready.pop(kind)
            (self._encoding if job.deadline >= done_at else late).append(job)
        return late

    def _kind_in_turn(self) -> Kind | None:
        coming = self._uploads.count("query") + self._decoding["query"]
        ready = {kind: self._ready.count(kind) for kind in KINDS}
        return self._turns.next(ready, query_coming=coming > 0)

    def _encode(self, batch: Sequence[CropJob]) -> None:
        try:
            self._run(batch)
        except Exception as error:  # whatever a runtime raises, its crops get an answer
            log.exception("the encoder failed on %d crops", len(batch))
            self._failed(batch)
            if len(batch) == 1:
                batch[0].settle(_broke_down(error))
            else:
                self._encode_singly(batch)

    def _encode_singly(self, batch: Sequence[CropJob]) -> None:
        for job in batch:
            self._encode([job])

    def _run(self, batch: Sequence[CropJob]) -> None:
        first = batch[0]
        began = time.monotonic()
        encoded = first.encoder.encode(np.stack([_crop_of(job) for job in batch]))
        seconds = time.monotonic() - began
        self._busy_since = time.monotonic()
        with self._lock:
            cost = self._cost_of(first.encoder)
            cost.observe(len(batch), seconds)
            if first.kind != "refresh":
                self._failures = 0
                size = cost.best_size(self._max_batch, self._batch_s[first.kind])
                self.seconds_per_crop = cost.per_crop_s(size)
        for place, (job, embedding) in enumerate(zip(batch, encoded.embedding, strict=True)):
            maps = encoded.pattern_maps[place] if job.maps else None
            job.embedded(embedding, maps, began, seconds * 1000)
        if self._observer is not None:
            self._observer.batch_encoded(len(batch), seconds)

    def _cost_of(self, encoder: CropEncoder) -> BatchCost:
        return self._costs.setdefault(encoder.model_id, BatchCost())

    def _failed(self, batch: Sequence[CropJob]) -> None:
        """Count a failure; that of a model which nobody is answered with is no ill health."""
        self._failures += batch[0].kind != "refresh"
        if self._observer is not None:
            self._observer.encoder_failed()

    def _abandon(self) -> None:
        """Answer the crops that this thread leaves behind; a new one takes the rest."""
        with self._lock:
            left, self._encoding = self._encoding, []
            self._busy_since = None
            self._worker = None
            if any(map(self._waiting, KINDS)):
                self._ensure_threads()
        if left:
            self._failed(left)
        for job in left:
            job.settle(EncoderFailedError("the encoder broke down; retry"))

    def _dropped(self, crops: int, reason: str) -> None:
        if crops and self._observer is not None:
            self._observer.crops_dropped(crops, reason)


def _crop_of(job: CropJob) -> NDArray[np.float32]:
    assert job.crop is not None
    return job.crop


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the crop waited until its deadline and was not embedded")


def _broke_down(error: Exception) -> EncoderFailedError:
    return EncoderFailedError(f"the encoder cannot take this crop ({type(error).__name__}); retry")
