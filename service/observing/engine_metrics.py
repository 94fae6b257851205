"""What `/metrics` says of the engine: batches, failures, and what is under way.

`EngineCounts` is told by the engine's own threads.
"""

import threading
from typing import Final, Protocol

from service.observing.exposition import Family, Histogram, Sample, counter, gauge

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
DROP_REASONS: Final = ("client_left", "deadline", "shutdown")
OTHER: Final = "other"


class EngineStanding(Protocol):
    """The state of the engine; `service.engine.embedding.EngineState` is one."""

    @property
    def queued_queries(self) -> int: ...
    @property
    def queued_enrolments(self) -> int: ...
    @property
    def queued_refreshing(self) -> int: ...
    @property
    def encoding(self) -> int: ...
    @property
    def in_flight_crops(self) -> int: ...
    @property
    def in_flight_bytes(self) -> int: ...
    @property
    def seconds_per_crop(self) -> float: ...


class EngineCounts:
    """What the engine did since the start; an `EngineObserver` for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes = Histogram(BATCH_SIZES)
        self._busy_s = 0.0
        self._failures = 0
        self._dropped = dict.fromkeys((*DROP_REASONS, OTHER), 0)

    def batch_encoded(self, crops: int, seconds: float) -> None:
        """Count a batch that went through the encoder."""
        with self._lock:
            self._sizes.observe(crops)
            self._busy_s += seconds

    def encoder_failed(self) -> None:
        """Count a failure of the encoder."""
        with self._lock:
            self._failures += 1

    def crops_dropped(self, crops: int, reason: str) -> None:
        """Count crops that were taken out unencoded."""
        with self._lock:
            self._dropped[reason if reason in self._dropped else OTHER] += crops

    def families(self) -> list[Family]:
        """Return all counts."""
        with self._lock:
            dropped = [Sample(n, {"reason": reason}) for reason, n in self._dropped.items()]
            return [
                Family(
                    "mpanet_batch_crops",
                    "histogram",
                    "Crops in each batch that went through the encoder.",
                    self._sizes.samples({}),
                ),
                counter("mpanet_encoder_busy_seconds_total", "Time spent encoding.", self._busy_s),
                counter(
                    "mpanet_encoder_failures_total",
                    "Times the encoder raised or its thread died; it went on after each.",
                    self._failures,
                ),
                Family(
                    "mpanet_crops_dropped_total",
                    "counter",
                    "Crops taken out of the queue unencoded.",
                    dropped,
                ),
            ]


def engine_families(engine: EngineStanding, *, healthy: bool) -> list[Family]:
    """Return what is under way now."""
    queued = {
        "query": engine.queued_queries,
        "enroll": engine.queued_enrolments,
        "refresh": engine.queued_refreshing,
    }
    per_crop_s = engine.seconds_per_crop or None  # 0: nothing is known yet
    return [
        gauge(
            "mpanet_encoder_healthy",
            "1 while the encoder took its last batch and does not hang.",
            healthy,
        ),
        Family(
            "mpanet_queue_crops",
            "gauge",
            "Crops that wait to be decoded or encoded.",
            [Sample(n, {"kind": kind}) for kind, n in queued.items()],
        ),
        gauge("mpanet_encoding_crops", "Crops in the encoder.", engine.encoding),
        gauge(
            "mpanet_in_flight_crops",
            "Crops of requests that are under way.",
            engine.in_flight_crops,
        ),
        gauge(
            "mpanet_in_flight_bytes",
            "Bytes of request bodies that are under way.",
            engine.in_flight_bytes,
        ),
        gauge("mpanet_crop_seconds", "What a crop costs the encoder in a batch.", per_crop_s),
    ]
