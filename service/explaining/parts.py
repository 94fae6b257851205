"""A similarity taken apart: what each pattern adds to it, and the whole crop."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_index.person_gallery import PersonGallery
from gallery_index.records import Match
from model.config import MPANetConfig
from service.bodies.schemas import PatternPart


def pattern_parts(products: NDArray[np.float64], config: MPANetConfig) -> list[PatternPart] | None:
    """Sum products (D,) by block of the embedding; a projection has mixed the blocks: None."""
    if config.projected_dim is not None:
        return None
    parts = products.reshape(config.num_patterns + 1, -1).sum(axis=1)  # (P + 1, C) -> (P + 1)
    names = [f"pattern_{number}" for number in range(1, config.num_patterns + 1)] + ["global"]
    return [
        PatternPart(pattern=name, similarity=float(part))
        for name, part in zip(names, parts, strict=True)
    ]


def parts_of(
    gallery: PersonGallery,
    matches: Sequence[Match],
    query: NDArray[np.float32],
    model_id: str,
    config: MPANetConfig,
) -> list[list[PatternPart] | None]:
    """Take the similarity of a query (D,), of length one, to each match apart.

    None for a match whose stored vector cannot be read, or whose model mixes the blocks.
    Raises: ModelChangedError.
    """
    if config.projected_dim is not None or not matches:
        return [None] * len(matches)
    rows = np.array([match.entry.row for match in matches], np.int64)
    order = np.argsort(rows)  # the disk likes ascending rows
    stored = gallery.vectors(rows[order], model_id)
    parts: list[list[PatternPart] | None] = [None] * len(matches)
    wide = query.astype(np.float64)
    for place, vector, sound in zip(order.tolist(), stored.values, stored.sound, strict=True):
        if sound:
            parts[place] = pattern_parts(wide * vector, config)
    return parts
