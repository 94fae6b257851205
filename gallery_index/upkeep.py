"""When a gallery looks after itself: a thread that does what is due, and what is due when.

Owns the policy. How each thing is done is `index_care`'s and `retention`'s.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from gallery_index.errors import GalleryError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """What a gallery keeps itself to.

    `exact_below` entries are searched exactly; from there on a compressed first stage is used.
    A snapshot is written after `snapshot_rows` new rows, or `snapshot_age_s` after a change. Dead
    places are dropped when they are `dead_share` of all and at least `dead_places`. The index is
    built anew, finer, when its recall@10 falls below `recall_target`; it is measured when the
    gallery has grown by `recall_growth`. Entries expire `retention_days` after they were taken, if
    that is set. The thread looks `every_s`.
    """

    exact_below: int = 4096
    snapshot_rows: int = 20_000
    snapshot_age_s: float = 300.0
    dead_share: float = 0.25
    dead_places: int = 1024
    recall_target: float = 0.99
    recall_growth: float = 2.0
    retention_days: int | None = None
    every_s: float = 1.0


class UpkeepThread:
    """Calls `run` every now and then, until it is stopped; an error is logged and tried again."""

    def __init__(self, run: Callable[[], None], every_s: float) -> None:
        self._run = run
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, after what it is doing."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        said = ""
        while not self._stopping.wait(self._every_s):
            try:
                self._run()
                said = ""
            except GalleryError as error:
                if str(error) != said:
                    _LOG.error("upkeep: %s", error)
                said = str(error)
            except Exception:  # the edge of this thread: without it the gallery decays unseen
                _LOG.exception("upkeep broke down")
