"""The load generator: one process, one thread, raw sockets, requests prepared beforehand.

It shares the cores with the service, so it does as little as it can and says what it took.

    echo '{"host": ..., ...}' : see `Job`; the figures go to stdout as JSON
"""

import json
import pickle
import random
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

CONTENT_LENGTH = re.compile(rb"content-length: (\d+)")
STAGES = ("decode", "embed", "search")
READ_BYTES = 1 << 18
LAST_ANSWERS_S = 30.0


@dataclass(frozen=True)
class Job:
    """What to send where.

    `clients` wait for each answer before they send the next request; with a `rate` requests are
    sent at random times, so many a second, over at most `clients` connections. `warm_s` go by
    before anything counts, `seconds` are counted. `stages`: answers tell what their stages took.
    """

    host: str
    port: int
    requests: str
    clients: int
    seconds: float
    warm_s: float = 1.0
    rate: float | None = None
    stages: bool = False


@dataclass(slots=True)
class Connection:
    """A connection and the exchange that is under way on it."""

    socket: socket.socket
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    size: int = 0
    due: float = 0.0
    busy: bool = False


class Load:
    """The connections and what came back: (time, seconds it took, status) of each answer."""

    def __init__(self, job: Job) -> None:
        self.answers: list[tuple[float, float, int]] = []
        self.bodies: list[tuple[float, bytes]] = []
        self.unsent = 0
        self._job = job
        self._requests = cycle(pickle.loads(Path(job.requests).read_bytes()))
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._busy = 0

    def run(self) -> dict[str, Any]:
        """Send until the time is over, wait for the last answers, return the figures."""
        start = time.perf_counter()
        begin = start + self._job.warm_s
        end = begin + self._job.seconds
        cpu_s = time.process_time()
        self._open(1 if self._job.rate else self._job.clients)
        if self._job.rate:
            self._send_at(arrivals(start, end, self._job.rate))
        else:
            self._send_again(end)
        self._finish(end + LAST_ANSWERS_S)
        cpu_s = time.process_time() - cpu_s
        self._close()
        return {
            "answers": [
                (at - begin, seconds, status)
                for at, seconds, status in self.answers
                if begin <= at < end
            ],
            "sent": len(self.answers),
            "unanswered": self._busy,
            "unsent": self.unsent,
            "cpu_s_per_request": cpu_s / max(1, len(self.answers)),
            "stages": [stages(seconds, body) for seconds, body in self.bodies],
        }

    def _send_again(self, end: float) -> None:
        """Keep every client asking."""
        while time.perf_counter() < end:
            while self._idle:
                self._send(self._idle.pop(), time.perf_counter())
            self._wait(0.1)

    def _send_at(self, times: Iterator[float]) -> None:
        """Send at given times, late rather than never, while there is a connection for it."""
        for due in times:
            while (ahead := due - time.perf_counter()) > 0:
                self._wait(ahead)
            if not self._idle and self._busy < self._job.clients:
                self._open(1)
            if self._idle:
                self._send(self._idle.pop(), due)
            else:
                self.unsent += 1
                self._wait(0)

    def _finish(self, until: float) -> None:
        while self._busy and time.perf_counter() < until:
            self._wait(0.1)

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def _open(self, connections: int) -> None:
        for _ in range(connections):
            opened = socket.create_connection((self._job.host, self._job.port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(False)
            connection = Connection(opened)
            self._selector.register(opened, selectors.EVENT_READ, connection)
            self._idle.append(connection)

    def _send(self, connection: Connection, due: float) -> None:
        connection.unsent = memoryview(next(self._requests))
        connection.due, connection.busy = due, True
        self._busy += 1
        self._write(connection)
        if connection.unsent:
            self._watch(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _write(self, connection: Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            return
        except OSError:  # closed by the other side: what it said before is still to be read
            sent = len(connection.unsent)
        connection.unsent = connection.unsent[sent:]

    def _wait(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            connection = key.data
            if events & selectors.EVENT_WRITE and connection.unsent:
                self._write(connection)
                if not connection.unsent:
                    self._watch(connection, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                self._read(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        self._selector.modify(connection.socket, events, connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(connection)
            return
        received = connection.received
        received += data
        if not connection.size:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = CONTENT_LENGTH.search(bytes(received[:end]).lower())
            connection.size = end + 4 + (int(length[1]) if length else 0)
        if len(received) >= connection.size:
            self._answered(connection)

    def _answered(self, connection: Connection) -> None:
        answer = bytes(connection.received)
        now = time.perf_counter()
        self.answers.append((now, now - connection.due, int(answer[9:12])))
        if self._job.stages and answer[9:12] == b"200":
            self.bodies.append((now - connection.due, answer))
        connection.received.clear()
        connection.size, connection.busy = 0, False
        self._busy -= 1
        if connection.unsent or b"connection: close" in answer[:1024].lower():
            self._replace(connection)
        else:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        """Count a request whose connection was closed as status 0."""
        if connection.busy:
            now = time.perf_counter()
            self.answers.append((now, now - connection.due, 0))
            self._busy -= 1
        elif connection in self._idle:
            self._idle.remove(connection)
        self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open(1)


def arrivals(start: float, end: float, rate: float) -> Iterator[float]:
    """Times of a Poisson process."""
    rng = random.Random(0)
    at = start
    while (at := at + rng.expovariate(rate)) < end:
        yield at


def stages(seconds: float, answer: bytes) -> dict[str, float]:
    """What an answer's stages took, in ms, and what is left of its latency: the service's own."""
    timings = json.loads(answer.partition(b"\r\n\r\n")[2])["timings_ms"]
    own = seconds * 1000 - sum(timings[stage] for stage in STAGES)
    return {**timings, "latency": seconds * 1000, "own": own}


if __name__ == "__main__":
    print(json.dumps(Load(Job(**json.loads(sys.argv[1]))).run()), flush=True)
