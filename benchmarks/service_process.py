"""The processes that the service's benchmark measures, from outside: start, address, memory, CPU.

Everything is asked of the kernel, so that what is measured needs no part in it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parent.parent
START_S = 120.0
STOP_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Server:
    """A server in a process of its own, in a `with`; it says its address on a line of its log."""

    def __init__(self, command: Sequence[str], log: Path, *, says: str) -> None:
        """Start it and wait until its log has a line that matches `says`, its group 1 the port.

        Raises: RuntimeError with the end of the log, when the process ends or takes too long.
        """
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                process_group=0,  # not a session: that would lose a raised priority
            )
        try:
            give_up = time.monotonic() + START_S
            self.port = self._port(says, give_up)
            self._wait(give_up)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def cpu_s(self) -> float:
        """Processor seconds that it and the processes it started have taken."""
        return sum(map(cpu_s, family(self.process.pid)))

    def metric(self, name: str) -> float:
        """A figure of its `/metrics`, without labels; 0 where it has none."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=START_S)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode("utf-8", "replace")
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def pause(self) -> None:
        """Stop all of it where it stands."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Stop it as an operator would, and kill what it leaves: LitServe leaves its workers."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)

    def _port(self, says: str, give_up: float) -> int:
        while time.monotonic() < give_up and self.process.poll() is None:
            if match := re.search(says, self._log.read_text(errors="replace")):
                return int(match[1])
            time.sleep(0.05)
        raise RuntimeError(f"{self.process.args!r} has not started:\n{self._end_of_log()}")

    def _wait(self, give_up: float) -> None:
        """Wait until it listens and says nothing against it: some announce themselves early."""
        while time.monotonic() < give_up and self.process.poll() is None:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=START_S)
            with suppress(OSError, HTTPException), closing(connection):
                connection.request("GET", "/health")
                if connection.getresponse().status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.process.args!r} does not answer:\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def service(model: Path, data: Path, log: Path, options: Sequence[str] = ()) -> Server:
    """Start `mpanet serve` of this tree on a free port."""
    where = ("--model", str(model), "--data", str(data), "--port", "0")
    command = (sys.executable, "-m", "mpanet", "serve", *where, *options)
    return Server(command, log, says=r"serving on http://127\.0\.0\.1:(\d+)")


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with this tree's modules, and none of its service's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MPANET_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **(variables or {})}


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += map(int, text.split())
    return found


def cpu_s(pid: int) -> float:
    """Processor seconds of one process, all its threads; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """A counter of a process's memory, in MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[name].split()[0]) * 1024 / 1e6 if name in fields else 0.0
