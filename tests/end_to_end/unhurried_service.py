"""`mpanet` whose gallery looks after itself all the time, and whose encoder takes its time.

    python -m tests.end_to_end.unhurried_service pca|rabitq MS serve ...

So a refresh of a hundred crops lasts long enough for a process to be killed in the middle of it.
"""

import sys
import time
from typing import Any

from model.encoder import Encoded, Encoder
from mpanet.cli import main
from service import opening
from tests.end_to_end.impatient_service import be_impatient


class UnhurriedEncoder(Encoder):
    """Takes so many seconds a crop."""

    crop_s = 0.0

    def encode(self, images: Any) -> Encoded:
        time.sleep(self.crop_s * len(images))
        return super().encode(images)


if __name__ == "__main__":
    be_impatient(sys.argv[1])
    UnhurriedEncoder.crop_s = float(sys.argv[2]) / 1000
    setattr(opening, "Encoder", UnhurriedEncoder)  # noqa: B010  mypy knows it as a class
    sys.exit(main(sys.argv[3:]))
