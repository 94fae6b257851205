"""Every call at once from many clients, good and bad, for a while: nothing grows, nothing breaks.

`SOAK_SECONDS` is for how long; the real one is

    SOAK_SECONDS=600 python -m pytest tests/end_to_end/test_soak.py -s
"""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.process_figures import MIB, Figures, figures_of, settled
from tests.end_to_end.soak_visitors import Visitor
from tests.end_to_end.wire import Wire, head, upload
from tests.mpanet.serving import Service, run_mpanet, service
from tests.service.fakes import crop
from tests.service.tiny_artifact import write_tiny_artifact

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
VISITORS = 8
SAMPLE_S = 0.25
GROWTH_BYTES = 24 * MIB
"""How much higher the process may stand in the last third than in the second; the first warms up.

Highest against highest, because memory goes up and down: dead places of the index are dropped when
there are a thousand (12 KB each), audit records and answers come and go. In the 200 s of a third of
ten minutes some 20,000 requests pass, so 1.2 KB kept of each shows; in those of 20 s, a body."""
pytestmark = pytest.mark.timeout(300 + 2 * SECONDS)


def test_a_soak_of_everything_grows_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    write_tiny_artifact(tmp_path / "model")
    data = tmp_path / "data"
    with service(tmp_path / "model", data, "--threads", "1", "--read-timeout-s", "5") as running:
        _visit_once(running)
        before = figures_of(running.process.pid)
        counts, samples = _soak(running)
        after = settled(running.process.pid, before.descriptors)
        _report(counts, samples, before, after)
        assert after.descriptors <= before.descriptors, "descriptors are left over"
        assert _highest(samples, 2) - _highest(samples, 1) < GROWTH_BYTES, "memory grows"
        assert _most_threads(samples, 2) <= _most_threads(samples, 1), "threads grow"
        assert set(counts) >= CALLS
        assert not [call for call in counts if call.endswith(" 500")]
        _check_idle(running)
        assert running.stop(signal.SIGTERM) == 0
        trouble = [line for line in running.lines if re.search("Traceback|broke down", line)]
        assert not trouble, "".join(trouble)
    verified = run_mpanet("gallery", "verify", "--data", str(data))
    assert verified.code == 0, verified.out + verified.err
    audited = run_mpanet("audit", "--verify", "--data", str(data))
    assert audited.code == 0, audited.out + audited.err


CALLS = {
    "enrol 201", "batch 200", "query 200", "compare 200", "embed 200", "list 200", "crop 200",
    "change 200", "delete 204", "erase 200", "bad 415", "bad 422", "left 0", "metrics 200",
    "healthz 200", "readyz 200", "openapi 200", "docs 200",
}  # fmt: skip


def _soak(running: Service) -> tuple[Counter[str], list[Figures]]:
    """Let visitors do what they do; returns what they were answered, and the process meanwhile."""
    visitors = [Visitor(running.url, number) for number in range(VISITORS)]
    with _visiting(visitors):
        samples = []
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            samples.append(figures_of(running.process.pid))
            for visitor in visitors:
                assert visitor.failure is None, visitor.failure
            time.sleep(SAMPLE_S)
    counts = sum((visitor.counts for visitor in visitors), Counter[str]())
    return counts, samples


@contextmanager
def _visiting(visitors: list[Visitor]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=visitor.visit, args=(stop,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for visitor in visitors:
        if visitor.failure is not None:
            raise visitor.failure


def _visit_once(running: Service) -> None:
    """Let every call make what it makes once."""
    with closing(Visitor(running.url, 999)) as visitor:
        for _ in range(3):
            for move in visitor.moves.values():
                move()
        visitor.clear()


def _highest(samples: list[Figures], third: int) -> int:
    size = len(samples) // 3
    return max(sample.rss_bytes for sample in samples[third * size : (third + 1) * size])


def _most_threads(samples: list[Figures], third: int) -> int:
    size = len(samples) // 3
    return max(sample.threads for sample in samples[third * size : (third + 1) * size])


def _report(counts: Counter[str], samples: list[Figures], before: Figures, after: Figures) -> None:
    thirds = [round(_highest(samples, third) / MIB) for third in range(3)]
    threads = [_most_threads(samples, third) for third in range(3)]
    print(f"\n{counts.total()} requests in {SECONDS:g} s; highest MiB {thirds}, threads {threads}")
    print(f"before {before}, after {after}")
    print(dict(sorted(counts.items())))


def _check_idle(running: Service) -> None:
    """Nothing is under way any more, and the next request is served."""
    chance = random.Random(0)
    with Wire(running.url) as wire:
        answer = wire.ask(upload("/query", crop(chance.randrange(1000))))
        assert answer is not None
        assert answer.status == 200, answer
        metrics = wire.ask(head("GET", "/metrics"))
        assert metrics is not None
    text = metrics.body.decode()
    for name in IDLE:
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert found, f"no {name} in\n{text}"
        assert {float(value) for value in found} == {0.0}, (name, found)


IDLE = ["mpanet_queue_crops", "mpanet_in_flight_crops", "mpanet_in_flight_bytes"]
