"""Who is let in: bounds on crops and bytes under way, and on how long a newcomer would wait.

Says no before anything is spent on a request. Its methods belong to one event loop.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from service.engine.crop_jobs import KINDS, Kind
from service.errors import QueueFullError, ShuttingDownError

DEADLINE_SHARE: Final = 0.5
"""How much of its deadline a request may be expected to wait. The rest is for what follows, and for
neighbours of the machine: at 0.8 one in a hundred waited to its deadline in vain."""
MAX_RETRY_AFTER_S: Final = 30.0


class Admission:
    """Counts what is under way and refuses what would be too much.

    Queries and enrolments have a bound each: a bulk enrolment cannot keep queries out.
    """

    def __init__(
        self,
        *,
        max_crops: int,
        max_bytes: int,
        deadline_s: Mapping[Kind, float],
        seconds_per_crop: Callable[[], float],
        search_wait_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`seconds_per_crop` says what each crop under way costs, as far as it is known.

        `search_wait_s`: how long the searches under way will take.
        """
        self._max_crops = max_crops
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s
        self._seconds_per_crop = seconds_per_crop
        self._search_wait_s = search_wait_s
        self._crops: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._bytes = 0
        self.stopping = False
        self._when_stopping: set[Callable[[], None]] = set()

    def check(self, kind: Kind, crops: int = 1) -> None:
        """Let so many crops in. Raises: QueueFullError, ShuttingDownError."""
        self.check_open()
        under_way = self._crops[kind]
        ahead = under_way if kind == "query" else self.crops  # queries go first
        search_s = self._search_wait_s() if kind == "query" else 0.0
        wait_s = (ahead + crops) * self._seconds_per_crop() + search_s
        if under_way + crops > self._max_crops:
            raise QueueFullError(
                f"{under_way} crops are under way, {crops} more are too many:"
                f" at most {self._max_crops} are taken at once",
                retry_after_s=min(wait_s, MAX_RETRY_AFTER_S),
            )
        if (ahead or search_s) and wait_s > DEADLINE_SHARE * self._deadline_s[kind]:
            raise QueueFullError(
                f"the answer would take {wait_s:.1f} s; expected at most"
                f" {DEADLINE_SHARE:.0%} of {self._deadline_s[kind]:g} s",
                retry_after_s=min(wait_s, MAX_RETRY_AFTER_S),
            )

    def check_open(self) -> None:
        """Let anything new in. Raises: ShuttingDownError."""
        if self.stopping:
            raise ShuttingDownError("the service is stopping")

    def stop(self) -> None:
        """Let nothing new in, and give up on what has not arrived."""
        self.stopping = True
        for give_up in tuple(self._when_stopping):
            give_up()

    @contextmanager
    def arriving(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Have something called that ends what arrives now, if the service stops meanwhile."""
        self._when_stopping.add(give_up)
        try:
            yield
        finally:
            self._when_stopping.discard(give_up)

    def enter(self, kind: Kind, crops: int) -> None:
        """Count crops in."""
        self._crops[kind] += crops

    def leave(self, kind: Kind, crops: int) -> None:
        """Count crops out."""
        self._crops[kind] -= crops

    def reserve(self, size: int) -> None:
        """Count bytes of a body in. Raises: QueueFullError."""
        if self._bytes + size > self._max_bytes:
            raise QueueFullError(
                f"bodies of {self._bytes:,} bytes are under way, {size:,} more are too many:"
                f" at most {self._max_bytes:,} are taken at once"
            )
        self._bytes += size

    def release(self, size: int) -> None:
        """Count bytes out."""
        self._bytes -= size

    @property
    def crops(self) -> int:
        """Crops under way."""
        return sum(self._crops.values())

    @property
    def bytes(self) -> int:
        """Bytes of bodies under way."""
        return self._bytes
