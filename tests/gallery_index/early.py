"""Galleries of a dozen entries that do what others do at thousands: compress, compact, snapshot."""

from collections.abc import Callable

from gallery_index.index import quantizer_choice
from gallery_index.upkeep import UpkeepPolicy

EARLY = UpkeepPolicy(
    exact_below=6,
    snapshot_rows=1,
    snapshot_age_s=0.0,
    dead_share=0.02,
    dead_places=2,
    recall_growth=1.2,
    every_s=0.02,
)
SHARES = {"pca": 1e9, "rabitq": -1.0}
"""How blunt a reduction to fewer dimensions may be: any is taken, or none."""


def compress_with(kind: str, setattr: Callable[[object, str, object], None] = setattr) -> None:
    """Choose this kind of first stage from `EARLY.exact_below` on; `setattr` may be a test's."""
    setattr(quantizer_choice, "LADDER", (4, 8))
    setattr(quantizer_choice, "_SHARE", SHARES[kind])
