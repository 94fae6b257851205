"""A crop on its way to its embedding, and the queue of those that wait. Knows no threads.

Queries go before enrolments, a refresh of the gallery comes last; of one kind, who came first goes
first.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from model.errors import ImageError
from service.engine.crop_encoder import CropEncoder
from service.errors import RequestError

Kind: TypeAlias = Literal["query", "enroll", "refresh"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class EmbeddedCrop:
    """The embedding of one upload, float32 (D,), and what each step took in milliseconds.

    `queue_ms` is all waiting: for a thread that decodes, and for the encoder. `pattern_maps`,
    float32 (P, h, w), are there where they were asked for.
    """

    embedding: NDArray[np.float32]
    decode_ms: float
    queue_ms: float
    embed_ms: float
    pattern_maps: NDArray[np.float32] | None = None


Outcome: TypeAlias = EmbeddedCrop | ImageError | RequestError


@dataclass(slots=True, eq=False)
class CropJob:
    """One upload that somebody waits for until `deadline`, a time of `time.monotonic`.

    `maps`: whether the pattern maps are wanted too. `on_settled` is called once with the outcome,
    in whichever thread has it. `withdrawn`: nobody waits any more.
    """

    upload: bytes
    kind: Kind
    encoder: CropEncoder
    deadline: float
    on_settled: Callable[["CropJob", Outcome], None]
    maps: bool = False
    submitted: float = field(default_factory=time.monotonic)
    withdrawn: bool = False
    settled: bool = False
    crop: NDArray[np.float32] | None = None
    decode_ms: float = 0.0

    def settle(self, outcome: Outcome) -> None:
        """Give the outcome to whoever waits; only the first one counts."""
        if not self.settled:
            self.settled = True
            self.on_settled(self, outcome)

    def embedded(
        self,
        embedding: NDArray[np.float32],
        maps: NDArray[np.float32] | None,
        began: float,
        embed_ms: float,
    ) -> None:
        """Settle with an embedding; `began` is when its batch went into the encoder."""
        queue_ms = max(0.0, (began - self.submitted) * 1000 - self.decode_ms)
        self.settle(EmbeddedCrop(embedding, self.decode_ms, queue_ms, embed_ms, maps))


class JobQueue:
    """Jobs of all kinds that wait for one stage. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        self._waiting: dict[Kind, deque[CropJob]] = {kind: deque() for kind in KINDS}

    def add(self, job: CropJob) -> None:
        """Put a job behind those of its kind."""
        self._waiting[job.kind].append(job)

    def first(self, kind: Kind) -> CropJob:
        """Look at the oldest job of a kind; there must be one."""
        return self._waiting[kind][0]

    def pop(self, kind: Kind) -> CropJob:
        """Take the oldest job of a kind; there must be one."""
        return self._waiting[kind].popleft()

    def remove(self, job: CropJob) -> bool:
        """Take a job out, wherever it waits; False: it is not here."""
        try:
            self._waiting[job.kind].remove(job)
        except ValueError:
            return False
        return True

    def clear(self) -> Iterator[CropJob]:
        """Take all jobs out."""
        for waiting in self._waiting.values():
            while waiting:
                yield waiting.popleft()

    def count(self, kind: Kind) -> int:
        """How many jobs of a kind wait."""
        return len(self._waiting[kind])
