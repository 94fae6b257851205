"""The bare encoder: decoding and encoding in one process, no HTTP, no gallery. The ceiling.

Threads each decode a batch and hand it to the encoder; while one waits for it the others decode, so
that it never waits for them. Which number of threads and crops is best on a machine is tried out.

    echo '{"seconds": 5}' | python -m benchmarks.service_ceiling '{"model": DIR, "crops": FILE}'
"""

import json
import pickle
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service_figures import rate_of
from model.encoder import Encoder
from model.preprocessing import read_image

TRIAL_S = 2.0
WARM_S = 0.5


@dataclass(frozen=True)
class Plan:
    """How the work is laid out: so many threads that decode, so many crops of each at a time."""

    batch: int
    threads: int


PLANS = tuple(Plan(batch, threads) for batch in (4, 8, 16) for threads in (2, 3))


def encoded_batches(
    encoder: Encoder, crops: Sequence[bytes], plan: Plan, seconds: float
) -> list[float]:
    """When each batch was done, in seconds."""
    begin = time.perf_counter() + WARM_S
    end = begin + seconds
    height, width = encoder.config.image_size
    done: list[float] = []

    def work(number: int) -> None:
        files = cycle(crops[number :: plan.threads])
        while time.perf_counter() < end:
            inputs = np.empty((plan.batch, 3, height, width), np.float32)
            for row in inputs:
                row[:] = encoder.prepare(read_image(next(files)))
            encoder.encode(inputs)
            done.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(plan.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(at for at in done if 0 <= at < seconds)


def main() -> None:
    """Try the plans out, then measure as often as stdin asks."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    crops = pickle.loads(Path(job["crops"]).read_bytes())
    with Encoder.open(Path(job["model"])) as encoder:
        tried = {
            plan: rate_of(encoded_batches(encoder, crops, plan, TRIAL_S), plan.batch)
            for plan in PLANS
        }
        plan = max(tried, key=lambda plan: tried[plan])
        facts = {"provider": encoder.provider, "precision": encoder.precision, **asdict(plan)}
        print(json.dumps(facts), flush=True)
        for line in sys.stdin:
            cpu_s = time.process_time()
            times = encoded_batches(encoder, crops, plan, json.loads(line)["seconds"])
            cpu_s = time.process_time() - cpu_s
            print(json.dumps({"times": times, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    main()
