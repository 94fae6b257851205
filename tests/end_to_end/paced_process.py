"""A service over an encoder of known speed, in a process of its own: what a test sees of it."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.end_to_end import paced_service
from tests.end_to_end.process_figures import Figures, figures_of
from tests.end_to_end.wire import Answer, Wire, head, upload
from tests.mpanet.serving import START_S, Service, serve
from tests.service.fakes import crop
from tests.service.hostile.files import saved
from tests.service.tiny_artifact import write_tiny_artifact


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the encoder takes: for any batch, and for each of its crops."""

    batch_ms: float = 0.0
    crop_ms: float = 0.0

    def batch_s(self, crops: int) -> float:
        """Return the seconds that a batch takes."""
        return (self.batch_ms + crops * self.crop_ms) / 1000


class Paced:
    """A running service; its encoder's batches are counted outside of it."""

    def __init__(self, running: Service, counts: Path, data: Path) -> None:
        self._running = running
        self._counts = counts
        self.data = data
        self.url = running.url
        self.process = running.process
        self._warming = len(paced_service.batches(counts))

    @property
    def figures(self) -> Figures:
        """What the process holds now; it must be alive."""
        assert self.process.poll() is None, self.log
        return figures_of(self.process.pid)

    @property
    def log(self) -> str:
        """What the service has printed."""
        return "".join(self._running.lines)

    def batches(self) -> list[int]:
        """Return how many crops each batch had since the start."""
        return paced_service.batches(self._counts)[self._warming :]

    @contextmanager
    def switched(self, name: str) -> Iterator[None]:
        """Let every batch raise (`broken`) or wait (`held`) for a while."""
        switch = paced_service.switch(self._counts, name)
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        text = self.ask(head("GET", "/metrics")).body.decode()
        samples = re.findall(rf"^mpanet_{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        assert samples, f"no {name} in\n{text}"
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(value) for shown, value in samples if all(each in shown for each in wanted)
        )

    def wait_for(self, what: str, value: float, **labels: str) -> None:
        """Wait until a metric has a value."""
        give_up = time.monotonic() + START_S
        while (now := self.metric(what, **labels)) != value:
            assert time.monotonic() < give_up, f"{what} is {now}, not {value}"
            time.sleep(0.02)

    def ask(self, request: bytes, timeout_s: float = 60.0) -> Answer:
        """Send a request on a connection of its own; it must be answered."""
        with Wire(self.url, timeout_s) as wire:
            answer = wire.ask(request)
        assert answer is not None, f"not answered:\n{self.log[-2000:]}"
        return answer

    def serve_good(self, seed: int = 1) -> None:
        """A good request must be served."""
        answer = self.ask(upload("/embed", crop(seed)))
        assert answer.status == 200, answer

    def listed(self) -> set[str]:
        """Return the ids of all entries, 1,000 at most."""
        answer = self.ask(head("GET", "/gallery?limit=1000"))
        assert answer.status == 200, answer
        return {entry["entry_id"] for entry in answer.json()["entries"]}

    def stop(self, number: int, timeout_s: float = START_S) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


def coloured(colour: tuple[int, int, int]) -> bytes:
    """Return a crop of one colour: those of `paced_service` do something to the encoder."""
    return saved(Image.new("RGB", (32, 32), colour), "PNG")


@contextmanager
def paced(directory: Path, *options: str, pace: Pace | None = None) -> Iterator[Paced]:
    """Start a service over the tiny artifact and a gallery in `directory`; killed in the end."""
    pace = pace or Pace()
    if not (directory / "model").exists():
        write_tiny_artifact(directory / "model")
    counts, data = directory / "counts", directory / "data"
    module = "tests.end_to_end.paced_service"
    process = serve(
        *("--model", str(directory / "model"), "--data", str(data), "--port", "0"),
        *("--provider", "cpu", "--threads", "1", *options),
        program=(module, str(pace.batch_ms), str(pace.crop_ms), str(counts)),
    )
    running = Service(process)
    try:
        running.wait()
        yield Paced(running, counts, data)
    finally:
        process.kill()
        process.wait(START_S)
        running.close()
