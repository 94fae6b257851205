"""The state of a gallery to begin from, once for each way in which its process may end."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from tests.gallery_index.places import Place
from tests.gallery_index.scripts import Operation, State, add, perform, states

BEFORE = [
    ("open",),
    add(0, 1, 2, person="person-ann"),
    add(3, 4, person="person-bob"),
    ("snapshot",),
    ("delete", "e1"),
    add(5, person="person-ann"),
]
OPERATIONS: dict[str, list[Operation]] = {
    "enrolment": [add(10, person="person-eve")],
    "batch": [add(10, 11, 12, person="person-eve")],
    "change": [("change", "e0", "person-eve")],
    "deletion": [("delete", "e3")],
    "erasure": [("erase", "person-ann")],
    "snapshot": [("snapshot",)],
    "rebuild": [("rebuild",)],
    "closing": [("close",)],
    "refresh": [("begin_refresh",)],
}
BEFORE_REFRESH = [*BEFORE, ("begin_refresh",), ("fill", "2")]
OPERATIONS_REFRESH: dict[str, list[Operation]] = {
    "fill": [("fill", "100")],
    "deletion": [("delete", "e3")],
    "erasure": [("erase", "person-ann")],
    "enrolment": [add(10, person="person-eve"), ("fill", "100")],
    "prepared": [("fill", "100"), ("prepare_switch",), add(10, person="person-eve")],
    "switch": [("switch",)],
    "after": [("switch",), add(10, person="person-eve"), ("erase", "person-bob")],
    "rollback": [("switch",), add(10, person="person-eve"), ("switch",)],
    "kept": [("switch",), ("drop_other",), add(10, person="person-eve")],
    "snapshot": [("switch",), ("snapshot",)],
    "cancelled": [("drop_other",)],
}
BEFORE_EARLY = [
    ("open",),
    add(0, 1, 2, 3, 4, person="person-ann"),
    add(5, 6, 7, person="person-bob"),
    ("upkeep",),
    ("delete", "e1"),
    ("delete", "e2"),
    add(8, person="person-ann"),
]
OPERATIONS_EARLY: dict[str, list[Operation]] = {
    "batch": [add(10, 11, 12, person="person-eve")],
    "erasure": [("erase", "person-ann")],
    "upkeep": [("upkeep",)],
    "rebuild": [("rebuild",)],
}
EVERYBODY = frozenset(f"e{seed}" for seed in range(13))


class Base:
    """A gallery's directory and store at one moment, put back as often as wanted."""

    def __init__(self, place: Place, aside: Path) -> None:
        self._place = place
        self._aside = aside
        self._client = redis.Redis.from_url(place.redis_url) if place.redis_url else None
        self._keys: dict[bytes, Any] = {}

    def keep(self) -> None:
        """Remember the directory and the store as they are now."""
        shutil.rmtree(self._aside, ignore_errors=True)
        if self._place.directory.exists():
            shutil.copytree(self._place.directory, self._aside)
        self.keep_store()

    def keep_store(self) -> None:
        """Remember what is in Redis."""
        if self._client is not None:
            self._keys = {key: self._client.dump(key) for key in self._client.scan_iter()}

    def restore(self) -> None:
        """Put them back."""
        shutil.rmtree(self._place.directory, ignore_errors=True)
        if self._aside.exists():
            shutil.copytree(self._aside, self._place.directory)
        self.restore_store()

    def files(self) -> set[Path]:
        """Return the names of the files remembered, below the directory."""
        return {path.relative_to(self._aside) for path in self._aside.rglob("*") if path.is_file()}

    def restore_file(self, name: Path) -> None:
        """Put one file back, or take it away if it was not there."""
        path = self._place.directory / name
        path.unlink(missing_ok=True)
        if (self._aside / name).exists():
            shutil.copyfile(self._aside / name, path)

    def restore_store(self) -> None:
        """Put back what was in Redis."""
        if self._client is not None:
            self._client.flushall()
            for key, value in self._keys.items():
                self._client.restore(key, 0, value)

    def __enter__(self) -> "Base":
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()


def prepare(place: Place, base: Base, operations: Sequence[Operation] = BEFORE) -> State:
    """Fill the gallery and let its process end without closing; returns what it holds."""
    for operation in operations:
        perform(place, operation)
    place.crash()
    base.keep()
    return states(operations)[-1]
