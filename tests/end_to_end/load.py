"""Load from a process of its own: a fixed number of clients, or requests at a fixed rate.

    python -m tests.end_to_end.load URL clients 48 SECONDS
    python -m tests.end_to_end.load URL rate 400 SECONDS

Prints a JSON list with one item a request: `Outcome`. At a fixed rate nobody waits for an answer
before the next request is sent, as with many clients who know nothing of each other.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from tests.end_to_end.wire import upload
from tests.mpanet.serving import environment
from tests.service.fakes import crop

REQUESTS = [upload("/query", crop(seed)) for seed in range(20)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: status 0, no answer. Times in seconds; `at` since the start."""

    at: float
    took_s: float
    status: int
    code: str
    retry_after: str


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
IDLE_S = 2.0
"""How old an idle connection is used again; the service closes it after 5."""


class Lines:
    """Connections to a service, kept open and used again."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._place = (str(place.hostname), int(place.port or 0))
        self._idle: list[tuple[float, Line]] = []
        self.outcomes: list[Outcome] = []
        self._start = time.perf_counter()

    async def ask(self, number: int) -> None:
        """Send one request and note what became of it."""
        began = time.perf_counter()
        status, code, retry_after = 0, "", ""
        try:
            line = await self._line()
            status, code, retry_after = await _exchange(*line, REQUESTS[number % len(REQUESTS)])
            self._idle.append((time.perf_counter(), line))
        except (OSError, asyncio.IncompleteReadError):
            pass
        took_s = time.perf_counter() - began
        self.outcomes.append(Outcome(began - self._start, took_s, status, code, retry_after))

    async def _line(self) -> Line:
        """Take the connection that was used last, or a new one."""
        if self._idle:
            used, line = self._idle.pop()
            if time.perf_counter() - used < IDLE_S:
                return line
            for _, (_, writer) in [(used, line), *self._idle]:
                writer.close()
            self._idle.clear()
        return await asyncio.open_connection(*self._place)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, str, str]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    status = int(head.split(" ", 2)[1])
    code = "" if status == 200 else json.loads(body)["code"]
    return status, code, headers.get("retry-after", "")


async def at_rate(lines: Lines, rate: float, seconds: float) -> None:
    """Send requests at a rate, and wait for the last answers."""
    start, sent, tasks = time.perf_counter(), 0, set()
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(lines.ask(sent))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)


async def by_clients(lines: Lines, clients: float, seconds: float) -> None:
    """Let so many clients ask, each again when it is answered."""
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while time.perf_counter() < until:
            await lines.ask(number)

    await asyncio.gather(*(client(number) for number in range(int(clients))))


KINDS: dict[str, Callable[[Lines, float, float], Awaitable[None]]] = {
    "rate": at_rate,
    "clients": by_clients,
}


def load(url: str, kind: str, much: float, seconds: float) -> list[Outcome]:
    """Run this module in a process of its own."""
    module = [sys.executable, "-m", "tests.end_to_end.load"]
    done = subprocess.run(
        [*module, url, kind, str(much), str(seconds)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(**item) for item in json.loads(done.stdout)]


async def _main(url: str, kind: str, much: str, seconds: str) -> None:
    lines = Lines(url)
    await KINDS[kind](lines, float(much), float(seconds))
    json.dump([asdict(outcome) for outcome in lines.outcomes], sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
