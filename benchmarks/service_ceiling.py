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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.service_figures import rate_of
from model.encoder import OUTPUT_NAMES, Encoder
from model.preprocessing import read_image
from model.providers import open_session

TRIAL_S = 2.0
WARM_S = 0.5
ALONE_S = 1.0


@dataclass(frozen=True)
class Plan:
    """How the work is laid out: so many threads that decode, so many crops of each at a time."""

    batch: int
    threads: int


ON_PROCESSOR = tuple(Plan(batch, threads) for batch in (4, 8, 16) for threads in (2, 3))
ON_CARD = tuple(Plan(batch, threads) for batch in (8, 16, 32) for threads in (4, 8, 12))


def encoded_batches(
    encoder: Encoder, crops: Sequence[bytes], plan: Plan, seconds: float
) -> tuple[list[float], int]:
    """When each batch was done, in seconds; and how many were done, those before and after too."""
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
    return sorted(at for at in done if 0 <= at < seconds), len(done)


def alone(encoder: Encoder, crops: Sequence[bytes], plan: Plan) -> dict[str, float]:
    """Crops a second of decoding in threads, of encoding, and on a card of its kernels alone.

    What is slowest binds; encoding with a card is copying there and back, and the kernels.
    """
    height, width = encoder.config.image_size
    inputs = np.zeros((plan.batch, 3, height, width), np.float32)
    some = list(islice(cycle(crops), 4 * plan.batch))
    with ThreadPoolExecutor(plan.threads) as threads:

        def decode() -> None:
            for _ in threads.map(lambda crop: encoder.prepare(read_image(crop)), some):
                pass

        found = {
            "decode": len(some) * _runs_a_second(decode),
            "encode": plan.batch * _runs_a_second(lambda: encoder.encode(inputs)),
        }
    if encoder.provider == "cuda":
        found["kernels"] = plan.batch * _runs_a_second(_kernels(encoder, inputs))
    return found


def _kernels(encoder: Encoder, inputs: NDArray[np.float32]) -> Callable[[], None]:
    """Run the network on what is on the card already, and leave the result there."""
    artifact = encoder.artifact
    session = open_session(artifact.onnx_path, artifact.config, requested="cuda").session
    binding = session.io_binding()
    on_card = onnxruntime.OrtValue.ortvalue_from_numpy(inputs, "cuda", 0)
    binding.bind_ortvalue_input("image", on_card)
    for name in OUTPUT_NAMES:
        binding.bind_output(name, "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _runs_a_second(work: Callable[[], object]) -> float:
    work()
    started, runs = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < ALONE_S:
        work()
        runs += 1
    return runs / elapsed


def main() -> None:
    """Try the plans out, then measure as often as stdin asks."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    crops = pickle.loads(Path(job["crops"]).read_bytes())
    with Encoder.open(Path(job["model"])) as encoder:
        plans = ON_CARD if encoder.provider in ("cuda", "tensorrt") else ON_PROCESSOR
        tried = {}
        for plan in plans:
            times, _ = encoded_batches(encoder, crops, plan, TRIAL_S)
            tried[plan] = rate_of(times, plan.batch)
        plan = max(tried, key=lambda plan: tried[plan])
        facts = {"provider": encoder.provider, "precision": encoder.precision, **asdict(plan)}
        print(json.dumps(facts | {"alone": alone(encoder, crops, plan)}), flush=True)
        for line in sys.stdin:
            cpu_s = time.process_time()
            times, batches = encoded_batches(encoder, crops, plan, json.loads(line)["seconds"])
            answer = {"times": times, "crops": batches * plan.batch}
            answer["cpu_s"] = time.process_time() - cpu_s
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
