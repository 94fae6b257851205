"""Finds the steps of an operation: every call that changes a file of a directory or a store.

Nothing here knows which steps there should be. Whoever watches is handed each step before it
happens, and carries it out, or fails it, or ends the process. Calls of `os` are found by replacing
them, SQLite's commits by a connection of our own, Redis's commands by their one way out. What
SQLite does within a commit is its own.
"""

import builtins
import io
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import redis

from gallery_index.files import durable_files

ON_DESCRIPTORS = (
    "pwrite", "pwritev", "write", "writev", "fsync", "fdatasync", "ftruncate", "posix_fallocate",
)  # fmt: skip
ON_PATHS = ("rename", "replace", "unlink", "remove", "mkdir", "rmdir", "truncate", "link")
WRITING_FLAGS = os.O_CREAT | os.O_TRUNC
SQLITE_STEPS = ("COMMIT", "PRAGMA", "CREATE", "VACUUM")


@dataclass(frozen=True, slots=True)
class Step:
    """One call: its name, what it is about, its arguments, and how to carry it out.

    `perform` takes other arguments in place of these, for what works on a descriptor.
    """

    number: int
    call: str
    path: Path
    arguments: tuple[Any, ...]
    perform: Callable[..., Any]

    def __str__(self) -> str:
        return f"step {self.number}: {self.call} {self.path}"


OnStep = Callable[[Step], Any]


class Watch:
    """Hands every step below a directory to `on_step`, one at a time, whose result it returns.

    Steps are numbered from 1 once `counting` is set; earlier ones have the number 0.
    """

    def __init__(self, directory: Path, on_step: OnStep) -> None:
        self.steps = 0
        self.counting = True
        self._directory = directory.resolve()
        self._on_step = on_step
        self._lock = RLock()
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Watch":
        for name in ON_DESCRIPTORS:
            self._replace(os, name, self._on_descriptor(name, getattr(os, name)))
        for name in ON_PATHS:
            self._replace(os, name, self._on_path(name, getattr(os, name)))
        self._replace(os, "open", self._opening(os.open))
        self._replace(durable_files._LIBC, "fallocate", self._allocating())
        for module in (io, builtins):
            self._replace(module, "open", self._buffered(open))
        self._replace(sqlite3, "connect", self._connecting(sqlite3.connect))
        self._replace(redis.Redis, "execute_command", self._command(redis.Redis.execute_command))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)

    def _replace(self, owner: Any, name: str, replacement: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, replacement)

    def take(self, call: str, path: Path, arguments: tuple[Any, ...], perform: Any) -> Any:
        """Number a step and hand it over."""
        with self._lock:
            self.steps += self.counting
            return self._on_step(Step(self.steps, call, path, arguments, perform))

    def _below(self, path: Path) -> bool:
        return path == self._directory or self._directory in path.parents

    def _on_descriptor(self, name: str, original: Any) -> Any:
        def call(descriptor: int, *arguments: Any) -> Any:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if not self._below(path):
                return original(descriptor, *arguments)
            return self.take(
                name, path, arguments, lambda *others: original(descriptor, *(others or arguments))
            )

        return call

    def _on_path(self, name: str, original: Any) -> Any:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            absolute = Path(os.path.abspath(path))  # noqa: PTH100  follows no links
            if not self._below(absolute):
                return original(path, *arguments, **options)
            return self.take(
                name, absolute, arguments, lambda: original(path, *arguments, **options)
            )

        return call

    def _opening(self, original: Any) -> Any:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
            absolute = Path(os.path.abspath(path))  # noqa: PTH100
            writes = flags & os.O_TRUNC or (flags & os.O_CREAT and not absolute.exists())
            if not (writes and self._below(absolute)):
                return original(path, flags, *arguments, **options)
            return self.take(
                "open", absolute, (flags,), lambda: original(path, flags, *arguments, **options)
            )

        return call

    def _buffered(self, original: Any) -> Any:
        def call(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and set(mode) & set("wax+"):
                absolute = Path(os.path.abspath(path))  # noqa: PTH100
                assert not self._below(absolute), f"{path} is written past the file layer"
            return original(path, mode, *arguments, **options)

        return call

    def _allocating(self) -> Any:
        original = self._on_descriptor("fallocate", durable_files._LIBC.fallocate)

        def call(descriptor: int, mode: int, offset: Any, length: Any) -> Any:
            return original(descriptor, mode, offset, length)

        return call

    def _connecting(self, original: Any) -> Any:
        watch = self

        class Connection(sqlite3.Connection):
            """Hands over the statements that reach the disk."""

            def execute(self, statement: str, *arguments: Any) -> Any:
                name = statement.split(None, 1)[0].upper()
                if name not in SQLITE_STEPS:
                    return super().execute(statement, *arguments)
                return watch.take_sql(statement, lambda: super(Connection, self).execute(statement))

            def executescript(self, statements: str) -> Any:
                return watch.take_sql(
                    "CREATE", lambda: super(Connection, self).executescript(statements)
                )

            def close(self) -> None:
                watch.take_sql("close", super().close)

        def connect(path: Any, *arguments: Any, **options: Any) -> Any:
            plain = str(path).removeprefix("file://").partition("?")[0]
            if not self._below(Path(os.path.abspath(plain))):  # noqa: PTH100
                return original(path, *arguments, **options)
            return self.take_sql(
                "connect", lambda: original(path, *arguments, factory=Connection, **options)
            )

        return connect

    def take_sql(self, statement: str, perform: Any) -> Any:
        """Hand over what SQLite does with its files."""
        return self.take(f"sqlite {statement}", self._directory, (), perform)

    def _command(self, original: Any) -> Any:
        def call(client: Any, *arguments: Any, **options: Any) -> Any:
            return self.take(
                f"redis {arguments[0]}",
                self._directory,
                arguments,
                lambda: original(client, *arguments, **options),
            )

        return call
