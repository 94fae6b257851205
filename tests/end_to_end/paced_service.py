"""`mpanet` whose encoder takes a known time, and breaks down over crops of certain colours.

    python -m tests.end_to_end.paced_service BATCH_MS CROP_MS COUNTS serve ...

A batch of n crops takes BATCH_MS + n * CROP_MS, without the interpreter lock, as a real encoder
would; how many crops each batch had is a line of the file COUNTS. While COUNTS.broken is there,
every batch raises; while COUNTS.held is there, none returns. Everything else is the real service
over the artifact that `--model` names; a batch counts as stuck after STUCK_S instead of half a
minute.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.encoder import Encoded, Encoder
from mpanet.cli import main
from service import opening
from service.engine import batching

BREAKS: Final = (255, 0, 0)
"""An encoder raises over a crop of this colour, whenever it comes."""
BREAKS_ONCE: Final = (0, 255, 0)
"""It raises over the first crop of this colour alone."""
HANGS: Final = (0, 0, 255)
"""It never returns from a batch with such a crop."""
STUCK_S: Final = 3.0


class PacedEncoder(Encoder):
    """An encoder of known speed; see the module."""

    batch_s = 0.0
    crop_s = 0.0
    counts = Path()
    broke_once = False

    def _run(self, images: NDArray[np.float32]) -> Encoded:
        """Take the place of one run: in the encoder's own thread, where a real one hangs too."""
        with self.counts.open("a") as counts:
            counts.write(f"{len(images)}\n")
        time.sleep(self.batch_s + self.crop_s * len(images))
        while switch(self.counts, "held").exists():
            time.sleep(0.005)
        if self._has(images, HANGS):
            threading.Event().wait()
        if self._has(images, BREAKS) or switch(self.counts, "broken").exists():
            raise RuntimeError("a crop that breaks the encoder")
        if self._has(images, BREAKS_ONCE) and not PacedEncoder.broke_once:
            PacedEncoder.broke_once = True
            raise RuntimeError("a crop that breaks the encoder once")
        return super()._run(images)

    def _has(self, images: NDArray[np.float32], colour: tuple[int, int, int]) -> bool:
        solid = self.prepare(Image.new("RGB", (32, 32), colour))
        return bool(np.isclose(images, solid, atol=1e-3).all(axis=(1, 2, 3)).any())


def switch(counts: Path, name: str) -> Path:
    """Return the file that has an effect on an encoder while it is there."""
    return counts.with_suffix(f".{name}")


def batches(counts: Path) -> list[int]:
    """Return how many crops each batch had that an encoder was given, warming up included."""
    return [int(line) for line in counts.read_text().split()]


if __name__ == "__main__":
    PacedEncoder.batch_s, PacedEncoder.crop_s = (float(text) / 1000 for text in sys.argv[1:3])
    PacedEncoder.counts = Path(sys.argv[3])
    setattr(opening, "Encoder", PacedEncoder)  # noqa: B010  mypy knows it as a class
    setattr(batching, "STUCK_S", STUCK_S)  # noqa: B010  it is final
    sys.exit(main(sys.argv[4:]))
