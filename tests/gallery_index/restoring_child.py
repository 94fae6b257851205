"""The process that `test_restore` kills at a chosen step of a restore."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gallery_index.backup.restore import restore
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.sqlite_store import SQLiteStore

EVERY_STEP = ("fsync", "fdatasync", "unlink", "create", "commit")
FINISHED, KILLED = 0, 9


def restore_until(
    backup: Path, directory: Path, redis_url: str | None, step: int, kinds: Sequence[str]
) -> None:
    """Restore, and die without a word before the given step of these kinds."""
    steps = 0

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal steps
            if steps == step:
                os._exit(KILLED)
            steps += 1
            return original(*args, **options)

        return call

    for name in kinds:
        for owner in (os, SQLiteStore, RedisStore):
            if hasattr(owner, name):
                setattr(owner, name, dying(getattr(owner, name)))
    restore(backup, directory, redis_url=redis_url)
    os._exit(FINISHED)
