"""A real service for the browser: keys of every role, rendered people, and a second model."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mpanet
from benchmarks.refresh import twin
from benchmarks.service_crops import encoded
from benchmarks.service_process import Server, service
from service.access.caller import Role
from service.access.keys import add_key, make_key, revoke_key
from service.client import ServiceClient
from service.settings import ServiceSettings
from training.synthetic.samples import render_people

MODEL = Path(mpanet.__file__).parent / "demo_model"
SEED = 7200
CAMERAS = (1, 2, 3, 6)  # 3 and 6 see infrared
FIRST_SEEN = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>"
"""A name that would run as a script where it is not shown as text."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A crop of a person, as a PNG."""

    person_id: str
    camera_id: str
    modality: str
    crop: bytes


@lru_cache
def sightings(persons: int) -> list[Sighting]:
    """Render each person once by every camera."""
    return [
        Sighting(
            sample.person_id, f"cam{sample.camera_number}", sample.modality, _png(sample.image)
        )
        for sample in render_people(persons, SEED, CAMERAS, 1)
    ]


class PageService:
    """`mpanet serve` of this tree, in a `with`. `keys` by role."""

    def __init__(self, work: Path, *, with_keys: bool = True) -> None:
        self._work, self._with_keys = work, with_keys
        self._data = work / "data"
        self._keys_file = ServiceSettings(model=MODEL, data=self._data).keys_file
        self.keys: dict[Role, str] = {}
        self.second_model = ""

    def __enter__(self) -> "PageService":
        self._data.mkdir(parents=True)
        models = self._work / "models"
        self.second_model = twin(MODEL, models / "candidate").model_id
        (models / "candidate").rename(models / self.second_model)
        if self._with_keys:
            for role in ("query", "enroll", "admin"):
                text, key = make_key(f"{role}-desk", (role,), now=datetime.now(UTC))
                add_key(self._keys_file, key)
                self.keys[role] = text
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, port: int | None = None) -> None:
        """Start it, again on its port if that is given."""
        self._stack = ExitStack()
        options = ["--models", str(self._work / "models")]
        if port is not None:
            options += ["--port", str(port)]
        self._server: Server = self._stack.enter_context(
            service(MODEL, self._data, self._work / "serve.log", options)
        )

    def stop(self) -> None:
        """Stop it; `start` goes on."""
        self._stack.close()

    def pause(self) -> None:
        """Let it answer nothing until `resume`."""
        self._server.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._server.resume()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._server.port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def revoke(self, role: Role) -> None:
        """Take the key of a role back; the service notices within moments."""
        key_id = self.keys[role].split("_")[1]
        revoke_key(self._keys_file, key_id, now=datetime.now(UTC))

    def client(self, role: Role = "admin") -> ServiceClient:
        """Return a client with the key of a role."""
        return ServiceClient(self.url, self.keys.get(role))

    def enrol(self, persons: int, *, without: tuple[int, ...] = ()) -> None:
        """Enrol rendered people, by every camera but those of these numbers."""
        seen = [s for s in sightings(persons) if s.camera_id not in {f"cam{n}" for n in without}]
        with self.client() as client:
            for at in range(0, len(seen), 32):
                some = seen[at : at + 32]
                fields = [
                    {
                        "modality": sighting.modality,
                        "person_id": sighting.person_id,
                        "camera_id": sighting.camera_id,
                        "captured_at": (FIRST_SEEN + timedelta(minutes=7 * number)).isoformat(),
                        "entry_id": f"{sighting.camera_id}-{sighting.person_id}",
                        "attributes": {"site": "north"},
                    }
                    for number, sighting in enumerate(some, start=at)
                ]
                client.enroll_batch([sighting.crop for sighting in some], fields)


def _png(image: NDArray[np.uint8]) -> bytes:
    return encoded(Image.fromarray(image).resize((96, 256)), png=True)
