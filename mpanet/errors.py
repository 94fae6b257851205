"""The one error a command raises for a person to read."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """A command cannot go on; its message is the one line that the person sees.

    `exit_code` is 2 for input that cannot be used (the default) and 1 for an operation that failed.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def reported(*kinds: type[Exception], exit_code: int = 2) -> Iterator[None]:
    """Turn the named exceptions of a package into a CommandError with the same message."""
    try:
        yield
    except kinds as error:
        raise CommandError(str(error), exit_code=exit_code) from error
