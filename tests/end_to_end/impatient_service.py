"""`mpanet` whose gallery looks after itself all the time: it compresses at 6 entries already.

    python -m tests.end_to_end.impatient_service pca|rabitq serve ...

So a small gallery trains, measures, compacts and writes snapshots while it is used.
"""

import sys
from dataclasses import replace

from gallery_index.upkeep import UpkeepPolicy
from mpanet.cli import main
from service import opening
from tests.gallery_index.early import EARLY, compress_with


def policy(recall_target: float, retention_days: int | None) -> UpkeepPolicy:
    """Take the place of the policy that a service sets up."""
    return replace(EARLY, recall_target=recall_target, retention_days=retention_days)


def be_impatient(first_stage: str) -> None:
    """Let galleries that this process opens be early ones, compressed so."""
    compress_with(first_stage)
    setattr(opening, "UpkeepPolicy", policy)  # noqa: B010  mypy knows it as a class


if __name__ == "__main__":
    be_impatient(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
