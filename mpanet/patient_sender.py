"""Batches sent to a service that may be full, restarting or gone for a while.

The client waits where the service asks it to; what is beyond its patience is here: a service that
went away, requests too heavy for it, single crops that it could not take just now.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final

from mpanet.crop_list import CropSource

if TYPE_CHECKING:
    from service.client import ServiceClient

PASSING: Final = frozenset({0, 429, 500, 502, 503, 504})
"""Answers (0: none) of a service that may have another one soon."""
TOO_LARGE: Final = 413
CROP_TRIES: Final = 3
"""How often a crop is sent that the service could not take just now."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 5.0

Result = Mapping[str, Any]
Content = tuple[CropSource, bytes]


class StoppedError(Exception):
    """The work was stopped before these crops were taken."""


class PatientSender:
    """Sends batches, from any number of threads."""

    def __init__(
        self,
        client: "ServiceClient",
        outage_s: float,
        stop: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A service that has answered once is waited for, `outage_s` since its last answer.

        `stop` ends every wait.
        """
        self._client = client
        self._outage_s = outage_s
        self._stop = stop
        self._clock = clock
        self._lock = Lock()
        self._answered_at: float | None = None

    def send(self, crops: Sequence[Content]) -> list[Result]:
        """Enrol crops; returns a result for each, as `POST /gallery/batch` has them.

        Raises: ServiceError when the service refuses as a whole or stays away; StoppedError.
        """
        results = self._in_parts(crops)
        for number in range(1, CROP_TRIES):
            again = [index for index, result in enumerate(results) if result["status"] in PASSING]
            if not again:
                break
            self._pause(number)
            sent = self._in_parts([crops[index] for index in again])
            for index, result in zip(again, sent, strict=True):
                results[index] = result
        return results

    def _in_parts(self, crops: Sequence[Content]) -> list[Result]:
        """Send crops together, or in halves where they are too heavy together."""
        from service.client import ServiceError

        try:
            return self._in_time(crops)
        except ServiceError as error:
            if error.status != TOO_LARGE:
                raise
            if len(crops) == 1:
                return [{"status": TOO_LARGE, "problem": error.problem}]
        middle = len(crops) // 2
        return [*self._in_parts(crops[:middle]), *self._in_parts(crops[middle:])]

    def _in_time(self, crops: Sequence[Content]) -> list[Result]:
        """Send crops until they are taken, within what an outage may last."""
        from service.client import ServiceError

        entries = [source.entry(content) for source, content in crops]
        number = 0
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                results = self._client.enroll_batch([content for _, content in crops], entries)
            except ServiceError as error:
                if error.status not in PASSING or not self._worth_waiting():
                    raise
            else:
                with self._lock:
                    self._answered_at = self._clock()
                return list(results)
            number += 1
            self._pause(number)

    def _worth_waiting(self) -> bool:
        with self._lock:
            since = self._answered_at
        return since is not None and self._clock() - since < self._outage_s

    def _pause(self, number: int) -> None:
        self._stop.wait(min(FIRST_PAUSE_S * 2 ** (number - 1), LONGEST_PAUSE_S))
