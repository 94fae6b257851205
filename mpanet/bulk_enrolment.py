"""Any number of crops through HTTP: files read ahead, several requests at once.

Owns the order of things and how much is in memory: at most `requests` + READ_AHEAD batches. Reads
no options and prints nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event
from typing import Final

from mpanet.crop_files import CropFile, ReadCrop, Refused, read_files
from mpanet.enrolment_summary import Summary
from mpanet.patient_sender import PatientSender, Result, StoppedError

READ_AHEAD: Final = 2
READERS: Final = 2

Outcome = Result | Refused
Settled = list[tuple[str, Outcome]]


class BulkEnrolment:
    """Sends batches of files; `summary` tells what became of them, also after an error."""

    def __init__(self, sender: PatientSender, requests: int, stop: Event) -> None:
        """So many requests at once; `stop` is the sender's, and set when the work is given up."""
        self.summary = Summary()
        self._sender = sender
        self._requests = requests
        self._stop = stop
        self._under_way: set[Future[Settled]] = set()

    def run(
        self, batches: Iterable[Sequence[CropFile]], on_settled: Callable[[int], object]
    ) -> None:
        """Send everything; `on_settled` is told of so many crops more.

        Given up, what the service is working on is waited for and counted.

        Raises: ServiceError when the service refuses as a whole or stays away; KeyboardInterrupt.
        """
        try:
            with self._pools() as (readers, senders):
                for batch in batches:
                    self._settle(self._requests + READ_AHEAD - 1, on_settled)
                    files = readers.submit(read_files, batch)
                    self._under_way.add(senders.submit(self._send, files))
                self._settle(0, on_settled)
        finally:
            for future in self._under_way:
                if future.exception() is None:
                    self.summary.count(future.result())

    @contextmanager
    def _pools(self) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
        """Open the threads; leave them when what they work on is done, however that ends."""
        with (
            ThreadPoolExecutor(READERS, "read") as readers,
            ThreadPoolExecutor(self._requests, "send") as senders,
        ):
            try:
                yield readers, senders
            except BaseException:
                self._stop.set()
                raise

    def _settle(self, most_under_way: int, on_settled: Callable[[int], object]) -> None:
        """Wait until so few batches are under way, and count those that are done."""
        while len(self._under_way) > most_under_way:
            done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
            for future in done:
                settled = _unless_stopped(future)
                self._under_way.remove(future)
                self.summary.count(settled)
                on_settled(len(settled))

    def _send(self, reading: "Future[list[ReadCrop]]") -> Settled:
        """Send one batch; what the service refuses as a whole is the last that is sent."""
        try:
            return self._outcomes(reading.result())
        except BaseException:
            self._stop.set()
            raise

    def _outcomes(self, crops: Sequence[ReadCrop]) -> Settled:
        """Return what became of each crop, in their order."""
        outcomes: dict[int, Outcome] = {}
        contents = []
        for index, crop in enumerate(crops):
            if isinstance(crop.content, Refused):
                outcomes[index] = crop.content
            else:
                contents.append((index, (crop.source, crop.content)))
        if contents:
            results = self._sender.send([content for _, content in contents])
            outcomes.update(zip((index for index, _ in contents), results, strict=True))
        return [(crop.source.name, outcomes[index]) for index, crop in enumerate(crops)]


def _unless_stopped(future: "Future[Settled]") -> Settled:
    """Return a batch's outcomes; none of one that was stopped, since another one says why."""
    try:
        return future.result()
    except StoppedError:
        return []
