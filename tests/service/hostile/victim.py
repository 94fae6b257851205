"""A service in a process of its own that is attacked, and what every answer of it must be like."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.end_to_end.process_figures import Figures, figures_of
from tests.end_to_end.wire import Answer, Wire, head, upload
from tests.mpanet.serving import Service, service
from tests.service.claims import PROBLEM_FIELDS
from tests.service.fakes import crop
from tests.service.hostile.pathological import MAX_BYTES, MAX_PIXELS
from tests.service.tiny_artifact import write_tiny_artifact

KNOWN = range(1, 9)
"""Seeds of the crops that are enrolled before anything hostile comes."""
THREADS = 4
EVERY = 20
"""Among so many requests one is good."""
REFUSALS = {413, 415, 422}


class Victim:
    """A running service with a few known entries."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self.url = running.url
        self.pid = running.process.pid
        for seed in KNOWN:
            with Wire(self.url) as wire:
                answer = wire.ask(upload("/gallery", crop(seed), entry_id=f"known-{seed}"))
                assert answer is not None
                assert answer.status == 201, answer
        self._declared = self._statuses()

    @property
    def figures(self) -> Figures:
        """What the process holds now; it must be alive."""
        assert self._running.process.poll() is None, "".join(self._running.lines[-20:])
        return figures_of(self.pid)

    def check(self, path: str, answer: Answer | None) -> Answer:
        """Check an answer to a hostile request: of a declared status, and in its form."""
        assert answer is not None, "the connection was closed without an answer"
        assert answer.status in self._declared[path] & {200, 201, *REFUSALS}, answer
        if answer.status in REFUSALS:
            check_problem(answer)
        return answer

    def serve_good(self, wire: Wire, number: int) -> None:
        """A known person must be found, whatever else is going on."""
        seed = KNOWN[number % len(KNOWN)]
        answer = wire.ask(upload("/query", crop(seed)))
        assert answer is not None, "a good request was not answered"
        assert answer.status == 200, answer
        best = answer.json()["matches"][0]
        assert best["entry_id"] == f"known-{seed}", best
        assert best["similarity"] > 0.999, best

    def forget(self, wire: Wire, answer: Answer) -> None:
        """Delete what a hostile request managed to enrol: it was an image after all."""
        body = answer.json()
        for item in body.get("results", [{"entry": body}]):
            if item.get("entry", {}).get("entry_id"):
                gone = wire.ask(head("DELETE", f"/gallery/{item['entry']['entry_id']}"))
                assert gone is not None
                assert gone.status == 204, gone

    def check_untouched(self) -> None:
        """Nobody's breakdown is in the log, and the known entries are all there is."""
        trouble = [line for line in self._running.lines if re.search("Traceback|broke down", line)]
        assert not trouble, "".join(self._running.lines)
        with Wire(self.url) as wire:
            listed = wire.ask(head("GET", "/gallery"))
            assert listed is not None
            found = {entry["entry_id"] for entry in listed.json()["entries"]}
            assert found == {f"known-{seed}" for seed in KNOWN}
            for number in range(len(KNOWN)):
                self.serve_good(wire, number)

    def flood(
        self, shots: Sequence[int], shoot: Callable[["Victim", Wire, int], object]
    ) -> Counter[Any]:
        """Shoot at the service from THREADS connections; counts what `shoot` returned."""

        def work(first: int) -> Counter[Any]:
            counts: Counter[Any] = Counter()
            with Wire(self.url) as wire:
                for number in shots[first::THREADS]:
                    if number // THREADS % EVERY == 0:
                        self.serve_good(wire, number)
                    try:
                        counts[shoot(self, wire, number)] += 1
                    except AssertionError as error:
                        raise AssertionError(f"shot {number}: {error}") from error
            return counts

        with ThreadPoolExecutor(THREADS) as threads:
            return sum(threads.map(work, range(THREADS)), Counter())

    def _statuses(self) -> Mapping[str, set[int]]:
        """Return the statuses that the API declares for each POST."""
        with Wire(self.url) as wire:
            answer = wire.ask(head("GET", "/openapi.json"))
        assert answer is not None
        return {
            path: {int(status) for status in methods["post"]["responses"]}
            for path, methods in answer.json()["paths"].items()
            if "post" in methods
        }


def check_problem(answer: Answer) -> dict[str, Any]:
    """Return the problem document of a refusal, having checked its form."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM_FIELDS, problem
    assert problem["status"] == answer.status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    return problem


@contextmanager
def victim(directory: Path, *options: str) -> Iterator[Victim]:
    """Start a service over the tiny artifact; it must still run in the end."""
    write_tiny_artifact(directory / "model")
    limits = ["--max-upload-bytes", str(MAX_BYTES), "--max-pixels", str(MAX_PIXELS)]
    with service(
        directory / "model", directory / "data", "--threads", "1", *limits, *options
    ) as running:
        victim = Victim(running)
        yield victim
        victim.check_untouched()
