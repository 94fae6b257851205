"""`mpanet` whose gallery looks after itself all the time: it compresses at 24 entries already.

    python -m tests.end_to_end.impatient_service pca|rabitq serve ...

So a gallery of a hundred entries trains, measures, compacts and writes snapshots while it is used.
"""

import functools
import sys

from gallery_index import quantizer_choice
from gallery_index.upkeep import UpkeepPolicy
from mpanet.cli import main
from service import server

SHARES = {"pca": 1e9, "rabitq": -1.0}
"""How blunt a reduction may be: any is taken, or none."""


def hurry(kind: str) -> None:
    """Let this process's galleries do everything early."""
    quantizer_choice.LADDER = (8, 16)  # type: ignore[misc,assignment]
    quantizer_choice._SHARE = SHARES[kind]
    server.UpkeepPolicy = functools.partial(  # type: ignore
        UpkeepPolicy,
        exact_below=24,
        snapshot_rows=10,
        snapshot_age_s=0.2,
        dead_share=0.02,
        dead_places=2,
        recall_growth=1.2,
        every_s=0.02,
    )


if __name__ == "__main__":
    hurry(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
