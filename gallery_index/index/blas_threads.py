"""Matrix products on one thread: what several threads of a busy process do at once.

OpenBLAS splits a product over all cores, and its threads wait for one another by spinning: beside
other work a batch of 250 codes took seconds in place of 20 ms. The setting is the process's, so it
holds for other threads' products while one of ours runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_users = 0
_limits: list[Any] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread until the last of those who asked for it leaves."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _limits.append(_controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limits.pop().restore_original_limits()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
