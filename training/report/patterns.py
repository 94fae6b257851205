"""A query beside its best match, pattern by pattern: where each looks and what each adds."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.pattern_overlay import overlay
from training.datasets.sample import Dataset, Sample
from training.protocols.embedded import normalised
from training.report.content import PatternComparison, PatternPanel
from training.report.crops import crop_of, small_picture
from training.report.overlays import jpeg

PatternMaps = Callable[[Sequence[Sample]], NDArray[np.float32]]
"""From samples to where each pattern looks: (N, P, h, w) in [0, 1]."""


def compare_patterns(
    dataset: Dataset,
    pairs: Sequence[tuple[int, int]],
    embeddings: NDArray[np.float32],
    pattern_maps: PatternMaps,
    *,
    projected: bool,
) -> list[PatternComparison]:
    """Compare pairs (query, match) of test rows; nothing for a network without patterns.

    Args:
        embeddings: (N, D), in the order of `dataset.test`: one block a pattern and the global one
            last, all of one length, unless `projected`, which mixes them.
    """
    maps = pattern_maps([dataset.test[row] for pair in pairs for row in pair])
    if not maps.size:
        return []
    blocks = None if projected else maps.shape[1] + 1
    comparisons = []
    for pair, pair_maps in zip(pairs, maps.reshape(-1, 2, *maps.shape[1:]), strict=True):
        vectors = normalised(embeddings[list(pair)])
        comparisons.append(_compare(dataset, pair, vectors, pair_maps, blocks))
    return comparisons


def block_products(vectors: NDArray[np.float32], blocks: int) -> list[float]:
    """What each of `blocks` equal parts adds to the inner product of two vectors (2, D)."""
    return [float(part) for part in (vectors[0] * vectors[1]).reshape(blocks, -1).sum(axis=1)]


def _compare(
    dataset: Dataset,
    pair: tuple[int, int],
    vectors: NDArray[np.float32],
    maps: NDArray[np.float32],
    blocks: int | None,
) -> PatternComparison:
    """`maps` are (2, P, h, w): of the query and of its match."""
    query, match = (dataset.test[row] for row in pair)
    parts = [None] * (maps.shape[1] + 1) if blocks is None else block_products(vectors, blocks)
    queries, matches = (
        [jpeg(overlay(small_picture(sample), pattern)) for pattern in own]
        for sample, own in ((query, maps[0]), (match, maps[1]))
    )
    return PatternComparison(
        query=crop_of(dataset, pair[0]),
        match=crop_of(dataset, pair[1]),
        similarity=float(vectors[0] @ vectors[1]),
        right=query.person_id == match.person_id,
        whole_crop=parts[-1],
        panels=tuple(
            PatternPanel(f"pattern {number}", *rest)
            for number, rest in enumerate(zip(queries, matches, parts, strict=False), start=1)
        ),
    )
