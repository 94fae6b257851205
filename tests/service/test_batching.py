"""The engine: how batches form, who goes first, who is dropped, what a breakdown costs."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.errors import ImageError, UndecodableImageError, UnsupportedImageError
from model.preprocessing import ImageLimits, PreprocessingConfig, read_image, to_input
from service.engine.batching import CropEngine
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import KINDS, CropJob, EmbeddedCrop, Kind, Outcome
from service.engine.embedding import CropEmbedder
from service.errors import (
    DeadlineExceededError,
    EncoderFailedError,
    QueueFullError,
    ShuttingDownError,
)
from service.settings import ServiceSettings
from tests.service.fakes import CONFIG, TinyEncoder, TinyEncoding, crop, encoded

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


class Observed:
    """Remembers what an engine says of itself."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failures = 0
        self.dropped: dict[str, int] = {}

    def batch_encoded(self, crops: int, seconds: float) -> None:
        self.batches.append(crops)

    def encoder_failed(self) -> None:
        self.failures += 1

    def crops_dropped(self, crops: int, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + crops


class EngineOf(CropEngine):
    """An engine, and the encoder that crops are for unless another one is named."""

    def __init__(self, encoder: CropEncoder, max_batch: int, observer: Observed | None) -> None:
        super().__init__(
            ImageLimits(),
            max_batch=max_batch,
            max_batch_s=LONG_S,
            refresh_batch_s=LONG_S,
            decode_threads=1,
            observer=observer,
        )
        self.encoder = encoder


def engine_over(
    encoder: CropEncoder, *, max_batch: int = 4, observer: Observed | None = None
) -> EngineOf:
    return EngineOf(encoder, max_batch, observer)


class Sent:
    """Crops put into an engine, and what became of each."""

    def __init__(
        self,
        engine: EngineOf,
        uploads: Sequence[bytes],
        kind: Kind = "query",
        deadline_s: float = LONG_S,
        encoder: CropEncoder | None = None,
        maps: bool = False,
    ) -> None:
        self.futures: list[Future[Outcome]] = [Future() for _ in uploads]
        self.settled: list[CropJob] = []
        deadline = time.monotonic() + deadline_s
        encoder = encoder or engine.encoder
        self.jobs = [
            CropJob(upload, kind, encoder, deadline, self._settle, maps) for upload in uploads
        ]
        engine.submit(self.jobs)

    def _settle(self, job: CropJob, outcome: Outcome) -> None:
        self.settled.append(job)
        self.futures[self.jobs.index(job)].set_result(outcome)

    def outcomes(self) -> list[Outcome]:
        wait_for(self.futures, timeout=LONG_S)
        return [future.result(timeout=0) for future in self.futures]


def ready(engine: EngineOf, crops: int) -> None:
    """Wait until so many crops are decoded and wait for the encoder."""
    give_up = time.monotonic() + LONG_S
    while sum(map(engine._ready.count, KINDS)) < crops:
        assert time.monotonic() < give_up
        time.sleep(0.002)


def prepared(seed: int) -> NDArray[np.float32]:
    return to_input(read_image(crop(seed)), CONFIG.image_size, PreprocessingConfig())


@pytest.fixture
def held() -> Iterator[HeldEncoder]:
    held = HeldEncoder()
    yield held
    for _ in range(100):
        held.let.release()


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def engine(held: HeldEncoder, observed: Observed) -> Iterator[EngineOf]:
    engine = engine_over(held, observer=observed)
    yield engine
    for _ in range(100):
        held.let.release()
    engine.close()


def test_a_crop_that_finds_the_encoder_idle_goes_alone(
    engine: EngineOf, held: HeldEncoder, observed: Observed
) -> None:
    for seed in range(3):
        held.let.release()
        Sent(engine, [crop(seed)]).outcomes()
    assert held.batch_sizes == [1, 1, 1]


def test_what_comes_while_the_encoder_works_makes_the_next_batches(
    engine: EngineOf, held: HeldEncoder
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    others = Sent(engine, [crop(seed) for seed in range(1, 7)])
    ready(engine, 6)
    assert engine.backlog().queries == 6
    assert engine.backlog().encoding == 1
    for _ in range(3):
        held.let.release()
    first.outcomes()
    others.outcomes()
    assert held.batch_sizes == [1, 4, 2]


def test_each_crop_gets_its_own_embedding(engine: EngineOf, held: HeldEncoder) -> None:
    sent = Sent(engine, [crop(seed) for seed in range(6)])
    for _ in range(6):
        held.let.release()
    for seed, outcome in enumerate(sent.outcomes()):
        flat = prepared(seed).ravel()
        assert isinstance(outcome, EmbeddedCrop)
        assert np.allclose(outcome.embedding, flat / np.linalg.norm(flat), atol=1e-6)
        assert min(outcome.decode_ms, outcome.queue_ms, outcome.embed_ms) >= 0


def test_a_withdrawn_crop_is_never_encoded(
    engine: EngineOf, held: HeldEncoder, observed: Observed
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    left, stayed = Sent(engine, [crop(1)]), Sent(engine, [crop(2)])
    ready(engine, 2)
    engine.withdraw(left.jobs, "client_left")
    held.let.release()
    held.let.release()
    first.outcomes()
    stayed.outcomes()
    assert held.batch_sizes == [1, 1]
    assert left.settled == []
    assert observed.dropped == {"client_left": 1}


def test_queries_that_come_later_go_before_enrolments(engine: EngineOf, held: HeldEncoder) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    bulk = Sent(engine, [crop(seed) for seed in range(1, 5)], "enroll")
    ready(engine, 4)
    query = Sent(engine, [crop(9)])
    ready(engine, 5)
    for _ in range(2):
        held.let.release()
    first.outcomes()
    query.outcomes()
    assert bulk.settled == []
    held.let.release()
    bulk.outcomes()
    assert held.batch_sizes == [1, 1, 4]


def test_enrolments_have_their_turn_among_queries_without_end(
    engine: EngineOf, held: HeldEncoder
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    bulk = Sent(engine, [crop(1)], "enroll")
    queries = Sent(engine, [crop(seed) for seed in range(40)])
    for _ in range(1 + 7):  # the first crop and seven batches of queries; then theirs is begun
        ready(engine, 9)  # what is decoded ahead: twice a batch of queries, and the enrolment
        held.let.release()
        first.outcomes()
        assert held.begun.acquire(timeout=LONG_S)
    held.let.release()
    bulk.outcomes()
    assert held.batch_sizes == [1, *[4] * 7, 1]
    for _ in range(10):
        held.let.release()
    queries.outcomes()


def test_a_crop_whose_deadline_has_passed_is_not_encoded(
    engine: EngineOf, held: HeldEncoder, observed: Observed
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    late = Sent(engine, [crop(1), crop(2)], deadline_s=0.05)
    deadline = time.monotonic() + 0.05
    while time.monotonic() <= deadline:
        time.sleep(0.01)
    held.let.release()
    first.outcomes()
    assert [type(outcome) for outcome in late.outcomes()] == [DeadlineExceededError] * 2
    assert observed.dropped == {"deadline": 2}
    assert held.batch_sizes == [1]


class Choosy(TinyEncoder):
    """An encoder that breaks down on one crop, and on every batch that holds it."""

    def __init__(self, refused: NDArray[np.float32]) -> None:
        super().__init__()
        self.refused = refused

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        if any(np.array_equal(self.refused, image) for image in batch):
            raise MemoryError("no memory for the batch")
        return super().encode(batch)


def test_a_crop_that_breaks_the_encoder_fails_alone(observed: Observed) -> None:
    engine = engine_over(Choosy(prepared(2)), observer=observed)
    sent = Sent(engine, [crop(seed) for seed in range(5)])
    kinds = [type(outcome) for outcome in sent.outcomes()]
    engine.close()
    expected: list[type] = [EmbeddedCrop] * 5
    expected[2] = EncoderFailedError
    assert kinds == expected
    assert observed.failures >= 1


class DyingOnce(TinyEncoder):
    """An encoder whose first batch kills its thread."""

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        if not self.batch_sizes:
            self.batch_sizes.append(0)
            raise SystemExit
        return super().encode(batch)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_answers_its_crops_and_is_replaced() -> None:
    engine = engine_over(DyingOnce(), max_batch=1)
    outcomes = Sent(engine, [crop(seed) for seed in range(3)]).outcomes()
    assert isinstance(outcomes[0], EncoderFailedError)
    assert [type(outcome) for outcome in outcomes[1:]] == [EmbeddedCrop] * 2
    Sent(engine, [crop(4)]).outcomes()
    engine.close()
    for thread in threading.enumerate():
        if thread.name == "encode":  # the one that died ends after its crops have their answer
            thread.join(LONG_S)


class BrokenOnce(TinyEncoder):
    """An encoder that cannot take its first crop."""

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        if not self.batch_sizes:
            self.batch_sizes.append(0)
            raise MemoryError("no memory for the batch")
        return super().encode(batch)


def test_an_encoder_is_unhealthy_from_a_failure_to_the_next_success() -> None:
    engine = engine_over(BrokenOnce())
    healthy = [engine.healthy]
    [failed] = Sent(engine, [crop(1)]).outcomes()
    assert isinstance(failed, EncoderFailedError)
    healthy.append(engine.healthy)
    Sent(engine, [crop(1)]).outcomes()
    healthy.append(engine.healthy)
    engine.close()
    assert healthy == [True, False, True]


class HoleyDecoder(TinyEncoder):
    """An encoder whose preparation fails as nobody foresaw."""

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        if image.getpixel((0, 0)) == (255, 0, 0):
            raise KeyError("nobody thought of this")
        return super().prepare(image)


def test_an_unforeseen_failure_to_decode_is_of_its_file_alone() -> None:
    engine = engine_over(HoleyDecoder())
    red = encoded(np.full((32, 32, 3), (255, 0, 0), np.uint8))
    outcomes = Sent(engine, [red, crop(1)]).outcomes()
    engine.close()
    assert [type(outcome) for outcome in outcomes] == [UndecodableImageError, EmbeddedCrop]


def test_closing_finishes_what_waits_and_takes_no_more() -> None:
    engine = engine_over(TinyEncoder(), max_batch=2)
    sent = Sent(engine, [crop(seed) for seed in range(3)])
    engine.close()
    assert len(sent.settled) == 3
    with pytest.raises(ShuttingDownError):
        Sent(engine, [crop(4)])


def test_a_stop_can_refuse_what_waits(
    engine: EngineOf, held: HeldEncoder, observed: Observed
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    waiting = Sent(engine, [crop(1), crop(2)])
    ready(engine, 2)
    engine.refuse_waiting()
    assert [type(outcome) for outcome in waiting.outcomes()] == [ShuttingDownError] * 2
    held.let.release()
    assert [type(outcome) for outcome in first.outcomes()] == [EmbeddedCrop]
    assert observed.dropped == {"shutdown": 2}


def test_no_more_is_decoded_ahead_than_two_batches(engine: EngineOf, held: HeldEncoder) -> None:
    Sent(engine, [crop(seed) for seed in range(30)])
    assert held.begun.acquire(timeout=LONG_S)
    ready(engine, 8)
    assert engine._ready.count("query") + engine._decoding["query"] == 8
    assert engine.backlog().queries == 29 - (len(engine._encoding) - 1)


def test_a_bad_image_fails_alone(settings: ServiceSettings) -> None:
    async def embed() -> list[Outcome]:
        return await embedder.begin([crop(1), b"\x89PNG\r\n\x1a\n", crop(2)], kind="enroll")

    embedder = CropEmbedder(TinyEncoder, settings)
    first, second, third = asyncio.run(embed())
    embedder.close()
    assert isinstance(first, EmbeddedCrop)
    assert isinstance(second, UndecodableImageError)
    assert isinstance(third, EmbeddedCrop)


def test_more_crops_than_may_wait_are_refused_at_once(
    settings: ServiceSettings, held: HeldEncoder
) -> None:
    async def embed() -> None:
        full = embedder.begin([crop(seed) for seed in range(32)], kind="query")
        await asyncio.to_thread(held.begun.acquire, timeout=LONG_S)
        with pytest.raises(QueueFullError, match="at most 32"):
            await embedder.begin([crop(99)], kind="query")
        for _ in range(34):
            held.let.release()
        assert len(await full) == 32
        assert len(await embedder.begin([crop(99)], kind="query")) == 1  # there is room again

    embedder = CropEmbedder(lambda: held, settings)
    asyncio.run(embed())
    embedder.close()


def test_a_cancelled_request_takes_its_crops_back(
    settings: ServiceSettings, held: HeldEncoder
) -> None:
    async def embed() -> None:
        first = embedder.begin([crop(1)], kind="query")
        await asyncio.to_thread(held.begun.acquire, timeout=LONG_S)
        leaving = embedder.begin([crop(2), crop(3)], kind="query")
        while embedder.state().queued_queries < 2:
            await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        held.let.release()
        await first
        held.let.release()
        await embedder.begin([crop(4)], kind="query")

    embedder = CropEmbedder(lambda: held, settings)
    asyncio.run(embed())
    embedder.close()
    assert held.batch_sizes == [1, 1]


def test_a_refresh_waits_for_every_request(engine: EngineOf, held: HeldEncoder) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    refresh = Sent(engine, [crop(1), crop(2)], "refresh")
    ready(engine, 2)
    enrolment, query = Sent(engine, [crop(3)], "enroll"), Sent(engine, [crop(4)])
    ready(engine, 4)
    assert engine.backlog().refreshing == 2
    for _ in range(3):
        held.let.release()
    for sent in (first, query, enrolment):
        sent.outcomes()
    assert refresh.settled == []
    held.let.release()
    refresh.outcomes()


class Undecoded(TinyEncoder):
    """Takes the last step of decoding only when it is let."""

    model_id = "undecoded"

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Event(), threading.Event()
        self.prepare_error: ImageError | None = None

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        self.begun.set()
        assert self.let.wait(LONG_S)
        if self.prepare_error is not None:
            raise self.prepare_error
        return super().prepare(image)


def test_a_refresh_lets_a_query_pass_that_is_still_decoded(
    engine: EngineOf, held: HeldEncoder
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    refresh = Sent(engine, [crop(1), crop(2)], "refresh")
    ready(engine, 2)
    slow = Undecoded()
    query = Sent(engine, [crop(3)], encoder=slow)
    assert slow.begun.wait(LONG_S)
    held.let.release()
    first.outcomes()
    slow.let.set()
    query.outcomes()  # which it had not, were the held encoder busy with the refresh
    held.let.release()
    refresh.outcomes()


def test_a_refresh_goes_on_when_the_query_it_let_pass_cannot_be_decoded(
    engine: EngineOf, held: HeldEncoder
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    refresh = Sent(engine, [crop(1)], "refresh")
    ready(engine, 1)
    slow = Undecoded()
    slow.prepare_error = UndecodableImageError("cut off")
    query = Sent(engine, [crop(3)], encoder=slow)
    assert slow.begun.wait(LONG_S)
    for _ in range(2):
        held.let.release()
    first.outcomes()
    slow.let.set()
    [failed] = query.outcomes()
    assert failed is slow.prepare_error
    [embedded] = refresh.outcomes()
    assert isinstance(embedded, EmbeddedCrop)


def test_a_refresh_has_its_turn_among_requests_without_end(
    engine: EngineOf, held: HeldEncoder
) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    refresh = Sent(engine, [crop(1)], "refresh")
    queries = Sent(engine, [crop(seed) for seed in range(200)])
    for _ in range(1 + 31):  # the first crop and 31 batches of queries; then its own is begun
        ready(engine, 9)
        held.let.release()
        assert held.begun.acquire(timeout=LONG_S)
    held.let.release()
    refresh.outcomes()
    assert held.batch_sizes == [1, *[4] * 31, 1]
    for _ in range(len(queries.jobs)):
        held.let.release()
    queries.outcomes()
    first.outcomes()


def test_a_batch_is_of_one_model(engine: EngineOf, held: HeldEncoder) -> None:
    class Candidate(TinyEncoder):
        model_id = "candidate"

        def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
            return TinyEncoding(-super().encode(batch).embedding)

    candidate = Candidate()
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    ours = Sent(engine, [crop(1)])
    theirs = Sent(engine, [crop(1), crop(2)], encoder=candidate)
    again = Sent(engine, [crop(2)])
    ready(engine, 4)
    for _ in range(3):
        held.let.release()
    first.outcomes()
    [one], [two], others = ours.outcomes(), again.outcomes(), theirs.outcomes()
    for mine, other in zip((one, two), others, strict=True):
        assert isinstance(mine, EmbeddedCrop)
        assert isinstance(other, EmbeddedCrop)
        assert np.array_equal(mine.embedding, -other.embedding)
    assert held.batch_sizes == [1, 1, 1]
    assert candidate.batch_sizes == [2]


def test_the_first_batch_of_a_refresh_is_small_for_its_cost_is_not_known(
    held: HeldEncoder,
) -> None:
    engine = engine_over(held)
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)

    class Candidate(TinyEncoder):
        model_id = "candidate"

    candidate = Candidate()
    refresh = Sent(engine, [crop(seed) for seed in range(6)], "refresh", encoder=candidate)
    ready(engine, 6)
    held.let.release()
    first.outcomes()
    refresh.outcomes()
    engine.close()
    assert candidate.batch_sizes[0] == 1
    assert sum(candidate.batch_sizes) == 6


def test_a_candidate_that_fails_leaves_the_service_healthy(observed: Observed) -> None:
    engine = engine_over(TinyEncoder(), observer=observed)
    broken = Choosy(prepared(1))
    [failed] = Sent(engine, [crop(1)], "refresh", encoder=broken).outcomes()
    assert isinstance(failed, EncoderFailedError)
    assert engine.healthy
    assert observed.failures == 1
    engine.close()


def test_pattern_maps_come_where_they_are_asked_for(engine: EngineOf, held: HeldEncoder) -> None:
    first = Sent(engine, [crop(0)])
    assert held.begun.acquire(timeout=LONG_S)
    plain, mapped = Sent(engine, [crop(1)]), Sent(engine, [crop(2)], maps=True)
    ready(engine, 2)
    for _ in range(2):
        held.let.release()
    for sent in (first, plain):
        [outcome] = sent.outcomes()
        assert isinstance(outcome, EmbeddedCrop)
        assert outcome.pattern_maps is None
    [outcome] = mapped.outcomes()
    assert isinstance(outcome, EmbeddedCrop)
    assert outcome.pattern_maps is not None
    assert outcome.pattern_maps.shape == (CONFIG.num_patterns, *CONFIG.map_size)
    assert np.allclose(outcome.pattern_maps[:, 1, 1], [0, 0.1, 0.2, 0.3, 0.4])


def test_a_thread_of_our_own_gets_outcomes_in_its_order(settings: ServiceSettings) -> None:
    encoder = TinyEncoder()
    embedder = CropEmbedder(lambda: encoder, settings)
    uploads = [crop(1), b"no image", crop(2)]
    one, bad, two = embedder.begin_in_thread(uploads, encoder=encoder).result(LONG_S)
    assert isinstance(bad, UnsupportedImageError)
    for outcome, seed in ((one, 1), (two, 2)):
        flat = prepared(seed).ravel()
        assert isinstance(outcome, EmbeddedCrop)
        assert np.allclose(outcome.embedding, flat / np.linalg.norm(flat), atol=1e-6)
    assert embedder.begin_in_thread([], encoder=encoder).result(0) == []
    embedder.close()
    with pytest.raises(ShuttingDownError):
        embedder.begin_in_thread(uploads, encoder=encoder)
