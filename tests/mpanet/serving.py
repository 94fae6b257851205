"""A service in a process of its own, as a user starts it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

START_S = 120


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without any setting of ours but the given ones."""
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MPANET_")}
    return {**inherited, **variables}


def serve(
    *options: str, env: Mapping[str, str] | None = None, program: Sequence[str] = ("mpanet",)
) -> subprocess.Popen[str]:
    """Start `mpanet serve`; `program` may be another module that does, with what it takes first."""
    return subprocess.Popen(
        [sys.executable, "-m", *program, "serve", *options],
        env=environment() if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def service(
    model: Path, data: Path, *options: str, env: Mapping[str, str] | None = None
) -> Iterator["Service"]:
    """Start a service, wait until it answers; killed in the end unless it has stopped."""
    where = ("--model", str(model), "--data", str(data), "--port", "0")
    process = serve(*where, "--provider", "cpu", *options, env=env)
    running = Service(process)
    try:
        running.wait()
        yield running
    finally:
        process.kill()
        process.wait(START_S)
        running.close()


class Service:
    """A running service: its address, and what it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._address: Queue[str | None] = Queue()
        self._output = threading.Thread(target=self._read)
        self._output.start()

    def wait(self) -> None:
        """Wait until it says where it serves."""
        address = self._address.get(timeout=START_S)
        assert address is not None, "".join(self.lines)
        self.url = address

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_S)

    def close(self) -> None:
        """Take what is left of the output."""
        self._output.join(START_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.match(r"serving on (\S+)", line):
                self._address.put(match[1])
        self._address.put(None)


def run_mpanet(*arguments: str, env: Mapping[str, str] | None = None) -> "Finished":
    """Run a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "mpanet", *arguments],
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Finished:
    """What a command left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def error_line(self) -> str:
        """Return the one line that a usage error prints."""
        assert self.code == 2, (self.code, self.out, self.err)
        [line] = self.err.splitlines()
        return line
