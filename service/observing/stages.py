"""What a request spends in each stage, in milliseconds; the edge tells the client and counts it.

Kept in the state of the request, as `stages`. The names of the stages are `STAGES`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from fastapi import Request

from service.engine.crop_jobs import EmbeddedCrop

STAGES: Final = ("read", "decode", "queue", "embed", "search", "rerank", "store", "audit")


def stages_of(request: Request) -> dict[str, float]:
    """Return what the stages of a request took so far, to be added to."""
    stages: dict[str, float] = request.scope["state"].setdefault("stages", {})
    return stages


@contextmanager
def timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    """Take the time of what is inside, also where it raises; several of one stage add up."""
    began = time.perf_counter()
    try:
        yield
    finally:
        stages[stage] = stages.get(stage, 0.0) + (time.perf_counter() - began) * 1000


def of_crops(crops: Sequence[EmbeddedCrop]) -> dict[str, float]:
    """Return what embedding took; of several crops the longest of each stage."""
    if not crops:
        return {}
    return {
        "decode": max(crop.decode_ms for crop in crops),
        "queue": max(crop.queue_ms for crop in crops),
        "embed": max(crop.embed_ms for crop in crops),
    }


def server_timing(stages: Mapping[str, float]) -> str:
    """Write stages as the header `Server-Timing` has them."""
    return ", ".join(f"{name};dur={ms:.1f}" for name, ms in stages.items())
