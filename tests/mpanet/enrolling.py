"""A service for enrolling commands that a test scripts: its answers, and what it was sent."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, cast

from mpanet.crop_list import CropSource
from mpanet.patient_sender import PatientSender
from service.client import ServiceClient, ServiceError

Answer = Callable[[Sequence[bytes]], list[dict[str, Any]]]


def taken(crops: Sequence[bytes]) -> list[dict[str, Any]]:
    """Enrol all of them."""
    return [{"status": 201, "entry": {}} for _ in crops]


def refusing(status: int, code: str = "code") -> Answer:
    """Refuse the whole request."""

    def answer(crops: Sequence[bytes]) -> list[dict[str, Any]]:
        raise ServiceError({"status": status, "code": code, "detail": "why"})

    return answer


class ScriptedService:
    """Gives the answers of its script in turn, then takes everything."""

    def __init__(self, *script: Answer) -> None:
        self.sent: list[list[bytes]] = []
        self._script = list(script)
        self._lock = threading.Lock()

    def enroll_batch(
        self, crops: Sequence[bytes], entries: Sequence[Mapping[str, object]]
    ) -> list[dict[str, Any]]:
        """Answer as the script says."""
        assert len(entries) == len(crops)
        with self._lock:
            self.sent.append(list(crops))
            answer = self._script.pop(0) if self._script else taken
        return answer(crops)


class Waits(Event):
    """An event whose waits take no time but are noted; `clock` goes on by them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the wait."""
        assert timeout is not None
        self.seconds.append(timeout)
        return self.is_set()

    def clock(self) -> float:
        """Return the time that all waits have taken."""
        return 100 + sum(self.seconds)


def sender(service: object, waits: Waits, outage_s: float = 60) -> PatientSender:
    """A sender to a scripted service."""
    return PatientSender(cast(ServiceClient, service), outage_s, waits, waits.clock)


def source(name: str) -> CropSource:
    """A crop that is nowhere."""
    return CropSource(Path(name), name, {"modality": "visible"})
