"""From uploaded bytes to embeddings, for one event loop: a request's crops go into the engine.

Owns how long a request may take and who is let in. Knows nothing of HTTP.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from model.errors import ImageError
from model.preprocessing import ImageLimits
from service.engine.admission import Admission
from service.engine.batching import CropEngine, EngineObserver
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import CropJob, Kind, Outcome
from service.errors import DeadlineExceededError, EncoderFailedError, RequestError
from service.settings import ServiceSettings

PROBE_SIDE = 16


@dataclass(frozen=True, slots=True)
class EngineState:
    """What is under way; `seconds_per_crop` is 0 while nothing is known of the encoder."""

    queued_queries: int
    queued_enrolments: int
    queued_refreshing: int
    encoding: int
    in_flight_crops: int
    in_flight_bytes: int
    seconds_per_crop: float


class CropEmbedder:
    """Turns uploads into embeddings. Its methods belong to one event loop."""

    def __init__(
        self,
        in_use: Callable[[], CropEncoder],
        settings: ServiceSettings,
        observer: EngineObserver | None = None,
        search_wait_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`in_use` says which encoder is probed, and embeds where none is named.

        `search_wait_s`: how long the searches under way will take, for who is let in.
        """
        self._in_use = in_use
        self._engine = CropEngine(
            ImageLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels),
            max_batch=settings.max_batch,
            max_batch_s=settings.max_batch_s,
            refresh_batch_s=settings.refresh_batch_s,
            decode_threads=settings.decode_threads,
            observer=observer,
        )
        self._deadline_s: dict[Kind, float] = {
            "query": settings.query_deadline_s,
            "enroll": settings.enroll_deadline_s,
            "refresh": math.inf,
        }
        self.admission = Admission(
            max_crops=settings.max_queue,
            max_bytes=settings.max_bytes_in_flight,
            deadline_s=self._deadline_s,
            seconds_per_crop=lambda: self._engine.seconds_per_crop,
            search_wait_s=search_wait_s,
        )

    def begin(
        self,
        uploads: Sequence[bytes],
        *,
        kind: Kind,
        encoder: CropEncoder | None = None,
        maps: bool = False,
    ) -> asyncio.Future[list[Outcome]]:
        """Embed crops, with their pattern maps if wanted; a bad one spoils no other.

        The future, cancelled, takes back whatever is not being worked on yet; it may raise
        DeadlineExceededError and ShuttingDownError.

        Raises: QueueFullError and ShuttingDownError before any work.
        """
        self.admission.check(kind, len(uploads))
        request = _CropRequest(self._engine, self._deadline_s[kind])
        request.begin(uploads, kind, encoder or self._in_use(), maps=maps)
        self.admission.enter(kind, len(uploads))
        request.future.add_done_callback(lambda _: self.admission.leave(kind, len(uploads)))
        return request.future

    def begin_in_thread(
        self, uploads: Sequence[bytes], *, encoder: CropEncoder, kind: Kind = "refresh"
    ) -> Future[list[Outcome]]:
        """Embed crops for a thread of our own, past all bounds and deadlines.

        The future may be waited for in any thread. Raises: ShuttingDownError.
        """
        if not uploads:
            nothing: Future[list[Outcome]] = Future()
            nothing.set_result([])
            return nothing
        collected = _Collected()
        jobs = [CropJob(upload, kind, encoder, math.inf, collected.settle) for upload in uploads]
        collected.jobs = jobs
        self._engine.submit(jobs)
        return collected.future

    @property
    def healthy(self) -> bool:
        """Whether the encoder took its last batch and does not hang; costs nothing."""
        return self._engine.healthy

    async def probe(self, timeout_s: float) -> None:
        """Embed a small image, past all bounds. Raises: EncoderFailedError."""
        request = _CropRequest(self._engine, timeout_s)
        request.begin([_probe_image()], "query", self._in_use())
        try:
            [outcome] = await request.future
        except DeadlineExceededError:
            raise EncoderFailedError(
                f"the encoder has embedded nothing for {timeout_s:g} s"
            ) from None
        if isinstance(outcome, RequestError | ImageError):
            raise EncoderFailedError(f"the encoder does not work: {outcome}")

    def state(self) -> EngineState:
        """Return what is under way."""
        backlog = self._engine.backlog()
        return EngineState(
            backlog.queries,
            backlog.enrolments,
            backlog.refreshing,
            backlog.encoding,
            self.admission.crops,
            self.admission.bytes,
            self._engine.seconds_per_crop,
        )

    def refuse_waiting(self) -> None:
        """Answer what waits for the encoder with ShuttingDownError."""
        self._engine.refuse_waiting()

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what is under way and stop the threads; leave one that hangs behind."""
        self._engine.close(timeout_s)


class _CropRequest:
    """The crops of one request: collects their outcomes into a future of the event loop."""

    def __init__(self, engine: CropEngine, deadline_s: float) -> None:
        self._engine = engine
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._outcomes: dict[CropJob, Outcome] = {}
        self._jobs: list[CropJob] = []
        self.future: asyncio.Future[list[Outcome]] = self._loop.create_future()

    def begin(
        self, uploads: Sequence[bytes], kind: Kind, encoder: CropEncoder, *, maps: bool = False
    ) -> None:
        """Submit the crops. Raises: ShuttingDownError."""
        deadline = time.monotonic() + self._deadline_s
        self._jobs = [
            CropJob(upload, kind, encoder, deadline, self._settled, maps) for upload in uploads
        ]
        self._engine.submit(self._jobs)
        timer = self._loop.call_later(self._deadline_s, self._expire)
        self.future.add_done_callback(lambda _: timer.cancel())
        self.future.add_done_callback(self._withdraw_if_left)

    def _settled(self, job: CropJob, outcome: Outcome) -> None:
        """Take an outcome in, from any thread."""
        with self._lock:
            self._outcomes[job] = outcome
            complete = len(self._outcomes) == len(self._jobs)
        if complete:
            with suppress(RuntimeError):  # the loop is closed: nobody is there any more
                self._loop.call_soon_threadsafe(self._complete)

    def _complete(self) -> None:
        if self.future.done():
            return
        outcomes = [self._outcomes[job] for job in self._jobs]
        for outcome in outcomes:
            if isinstance(outcome, RequestError) and not isinstance(outcome, EncoderFailedError):
                self.future.set_exception(outcome)  # late or shutting down: of the whole request
                return
        self.future.set_result(outcomes)

    def _expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(
                DeadlineExceededError(
                    f"not embedded within {self._deadline_s:g} s; nothing was done"
                )
            )
            self._engine.withdraw(self._jobs, "deadline")

    def _withdraw_if_left(self, future: asyncio.Future[list[Outcome]]) -> None:
        if future.cancelled():
            self._engine.withdraw(self._jobs, "client_left")


class _Collected:
    """Outcomes of crops on their way into one future, in the order of submission."""

    def __init__(self) -> None:
        self.future: Future[list[Outcome]] = Future()
        self.jobs: list[CropJob] = []
        self._lock = threading.Lock()
        self._outcomes: dict[CropJob, Outcome] = {}

    def settle(self, job: CropJob, outcome: Outcome) -> None:
        """Take an outcome in, from any thread."""
        with self._lock:
            self._outcomes[job] = outcome
            complete = len(self._outcomes) == len(self.jobs)
        if complete:
            self.future.set_result([self._outcomes[job] for job in self.jobs])


def _probe_image() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (PROBE_SIDE, PROBE_SIDE)).save(buffer, "PNG")
    return buffer.getvalue()
