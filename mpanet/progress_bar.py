"""A progress bar for work that counts entries."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Yield what is to be told of (done, total); nothing is shown where nobody watches."""
    from tqdm import tqdm

    with tqdm(unit=" entries", file=sys.stderr, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
