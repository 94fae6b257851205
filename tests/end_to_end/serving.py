"""Starts the real service as a user would: the `mpanet` of the environment without torch."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.mpanet.serving import environment

REPOSITORY = Path(__file__).resolve().parents[2]
SERVE_BIN = REPOSITORY / ".venv" / "serve" / "bin"


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServiceProcess:
    """One `mpanet serve` or `mpanet demo` in its own process, on a port of its own."""

    def __init__(self, command: str, data: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = data
        self._log = data.parent / f"{command}-{self.port}.log"
        if not (SERVE_BIN / "mpanet").exists():
            pytest.fail(f"{SERVE_BIN} is missing: run `make setup`, as `make test` does")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [SERVE_BIN / "mpanet", command, "--data", data, "--port", str(self.port), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )

    @property
    def log(self) -> str:
        """What the process has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_ready(self, timeout_s: float = 120) -> None:
        """Wait until /readyz says 200; fail with the log when the process dies or time runs out."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                pytest.fail(f"the service ended with {self.process.returncode}:\n{self.log}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"the service was not ready within {timeout_s} s:\n{self.log}")

    def wait_for(self, text: str, timeout_s: float = 120) -> None:
        """Wait until the process has printed a text."""
        give_up = time.monotonic() + timeout_s
        while text not in self.log:
            if self.process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"the service did not print {text!r}:\n{self.log}")
            time.sleep(0.1)

    def gallery_size(self) -> int:
        """How many entries the gallery lists, 1,000 at most."""
        answer = httpx.get(f"{self.url}/gallery", params={"limit": 1000}, timeout=60)
        return len(answer.raise_for_status().json()["entries"])

    def delete(self, entry_id: str) -> None:
        """Delete an entry."""
        httpx.delete(f"{self.url}/gallery/{entry_id}", timeout=60).raise_for_status()

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def service(command: str, data: Path, *options: str) -> Iterator[ServiceProcess]:
    """A ready service that is ended at the latest when the block is left."""
    started = ServiceProcess(command, data, *options)
    try:
        started.wait_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
