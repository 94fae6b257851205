"""A disk that has only what was synced: what a directory may look like after the power failed.

Of a file: the bytes at its last fsync, and of later writes any sectors of 512 bytes, each or not;
its length the old one or a new one, gaps zero. Of a directory: the names at its last fsync, and of
later changes any, but those of one name in their order. fsync of a file does not save its name.
This is less than journaling file systems promise, and what POSIX does.

SQLite writes past Python: its files are taken as they are when a statement returns, since what a
commit with `synchronous=FULL` survives is SQLite's own promise, and with less it survives nothing;
between its own writes this layer does not look. Its shared-memory file is left out, as after a
restart of the machine. A file that is written in any way but the calls of `steps` is found by
`differences`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gallery_index.steps import Step

SECTOR = 512
KEEP_SIZE_AND_PUNCH_HOLE = 3
SQLITE = "metadata.sqlite"
SHARED_MEMORY = f"{SQLITE}-shm"
Chance = Callable[[], bool]


@dataclass
class File:
    """The bytes on the disk, and the changes since: at an offset, or to a length."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        """Everything so far is on the disk."""
        self.durable = self.content(lambda: True)
        self.pending = []

    def content(self, chance: Chance) -> bytes:
        """Return the bytes after a power failure, where each change arrived by chance."""
        data = bytearray(self.durable)
        for offset, change in self.pending:
            if change is None:
                if chance():
                    del data[offset:]
                    data.extend(bytes(offset - len(data)))
                continue
            self._write(data, offset, change, chance)
        return bytes(data)

    def _write(self, data: bytearray, offset: int, change: bytes, chance: Chance) -> None:
        end = offset + len(change)
        if end > len(data) and chance():
            data.extend(bytes(end - len(data)))  # the length arrived
        for start in range(offset - offset % SECTOR, end, SECTOR):
            if chance():
                first, last = max(start, offset), min(start + SECTOR, end)
                if last > len(data):
                    data.extend(bytes(last - len(data)))
                data[first:last] = change[first - offset : last - offset]


@dataclass
class Directory:
    """The names on the disk, as of now, and the changes between: (name, what it now means)."""

    durable: dict[str, "Node"] = field(default_factory=dict)
    current: dict[str, "Node"] = field(default_factory=dict)
    pending: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, names: dict[str, "Node | None"]) -> None:
        """Change names, all at once."""
        self.pending.append(names)
        _apply(self.current, names)

    def sync(self) -> None:
        """The names are on the disk."""
        self.durable, self.pending = dict(self.current), []

    def names(self, chance: Chance) -> dict[str, "Node"]:
        """Return the names after a power failure."""
        found, lost = dict(self.durable), set[str]()
        for names in self.pending:
            if lost.isdisjoint(names) and chance():
                _apply(found, names)
            else:
                lost |= names.keys()
        return found


Node = File | Directory


class Disk:
    """Takes every step of a process in a directory, and writes what the disk may hold."""

    def __init__(self, directory: Path) -> None:
        """Begin with what lies there: all of it is on the disk."""
        self._path = directory.resolve()
        # The directory itself is there, or is made by the process: its own name is taken as synced.
        self._root = _read(self._path) if self._path.is_dir() else Directory()
        self._sqlite: dict[str, bytes] = {}
        self._sqlite_syncs = True
        self._take_sqlite("connect")

    def take(self, step: Step) -> Any:
        """Carry out a step and note what it changed."""
        existed = step.path.exists()
        result = step.perform()
        if step.call.startswith("sqlite"):
            self._take_sqlite(step.call)
        elif not step.call.startswith("redis"):
            self._note(step, result, existed)
        return result

    def _note(self, step: Step, result: Any, existed: bool) -> None:
        path = step.path
        match step.call:
            case "pwrite":
                data, offset = step.arguments
                self._file(path).pending.append(
                    (offset, bytes(memoryview(data).cast("B")[:result]))
                )
            case "ftruncate" | "truncate":
                self._file(path).pending.append((step.arguments[0], None))
            case "fallocate":
                mode, offset, length = step.arguments
                assert mode == KEEP_SIZE_AND_PUNCH_HOLE, step
                self._file(path).pending.append((offset.value, bytes(length.value)))
            case "fsync" | "fdatasync":
                self._find(path).sync()
            case "open" if existed:
                self._file(path).pending.append((0, None))
            case "open":
                self._parent(path).change({path.name: File()})
            case "mkdir" if path == self._path:
                pass
            case "mkdir":
                self._parent(path).change({path.name: Directory()})
            case "unlink" | "remove" | "rmdir":
                self._parent(path).change({path.name: None})
            case "rename" | "replace":
                self._rename(path, Path(os.path.abspath(step.arguments[0])))  # noqa: PTH100
            case _:
                raise AssertionError(f"this layer does not know {step}")

    def _rename(self, old: Path, new: Path) -> None:
        node = self._find(old)
        if old.parent == new.parent:
            self._parent(old).change({old.name: None, new.name: node})
        else:
            self._parent(new).change({new.name: node})
            self._parent(old).change({old.name: None})

    def lose(self, path: Path) -> None:
        """Let an fsync of a file fail: what was written before it is not tried again."""
        node = self._find(path)
        if isinstance(node, File):
            node.pending = []

    def write_image(self, target: Path, chance: Chance) -> None:
        """Write what the disk may hold to a new directory."""
        _write(self._root, target, chance)
        for name, data in self._sqlite.items():
            (target / name).write_bytes(data)

    def differences(self) -> list[str]:
        """Return where the directory is not what the steps so far make of it."""
        return _compare(self._root, self._path)

    def _find(self, path: Path) -> Node:
        node: Node = self._root
        for part in path.relative_to(self._path).parts:
            assert isinstance(node, Directory), path
            node = node.current[part]
        return node

    def _parent(self, path: Path) -> Directory:
        node = self._find(path.parent)
        assert isinstance(node, Directory), path
        return node

    def _file(self, path: Path) -> File:
        node = self._find(path)
        assert isinstance(node, File), path
        return node

    def _take_sqlite(self, statement: str) -> None:
        if "synchronous=" in statement:
            self._sqlite_syncs = "FULL" in statement
        if not self._sqlite_syncs:
            return
        found = self._path.glob(f"{SQLITE}*") if self._path.is_dir() else ()
        self._sqlite = {
            path.name: path.read_bytes() for path in found if path.name != SHARED_MEMORY
        }


def _apply(names: dict[str, Node], changes: dict[str, Node | None]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _is_ours(path: Path) -> bool:
    return not path.name.startswith(SQLITE)


def _read(path: Path) -> Directory:
    nodes: dict[str, Node] = {
        child.name: _read(child) if child.is_dir() else File(child.read_bytes())
        for child in path.iterdir()
        if _is_ours(child)
    }
    return Directory(nodes, dict(nodes))


def _write(directory: Directory, target: Path, chance: Chance) -> None:
    target.mkdir(parents=True)
    for name, node in directory.names(chance).items():
        if isinstance(node, Directory):
            _write(node, target / name, chance)
        else:
            (target / name).write_bytes(node.content(chance))


def _compare(directory: Directory, path: Path) -> list[str]:
    found = {child.name: child for child in path.iterdir() if _is_ours(child)}
    if found.keys() != directory.current.keys():
        names = sorted(found.keys() ^ directory.current.keys())
        return [f"{path}: {names} appeared or went unseen"]
    differences: list[str] = []
    for name, node in directory.current.items():
        if isinstance(node, Directory):
            differences += _compare(node, found[name])
        elif node.content(lambda: True) != found[name].read_bytes():
            differences.append(f"{found[name]} was written unseen")
    return differences
