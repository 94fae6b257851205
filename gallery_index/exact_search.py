"""From candidates to the exact answer: re-scored, grouped, in a defined order.

The index ranks in float32; the answer is ranked by the inner product of the float32 query and the
fp16 row, summed in float64 and rounded to float32 once. Ties go to the earlier row. So the answer
is the same whatever the index, before and after a restart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_index.entry_table import EntryTable
from gallery_index.records import GroupBy, Match
from gallery_index.vector_index import VectorIndex

ReadVectors = Callable[[NDArray[np.int64]], NDArray[np.float16]]
_BLOCK = 8  # rows whose products stay in the processor's cache
_SPARE = 16


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: how many, grouped by what, and from which similarity on."""

    top_k: int
    group_by: GroupBy
    min_similarity: float | None


def exact_search(
    query: NDArray[np.float32],
    mask: NDArray[np.bool_],
    ask: Ask,
    *,
    index: VectorIndex,
    table: EntryTable,
    read_vectors: ReadVectors,
) -> list[Match]:
    """Return the exact best matches in the mask.

    Candidates are taken until none that is left out could belong to the answer: near-duplicates
    in any number, or a person with many crops, never crowd it.
    """
    total = int(mask.sum())
    n = min(total, 2 * ask.top_k + _SPARE)
    scored: dict[int, float] = {}
    matches: list[Match] = []
    while n:
        positions, scores = index.candidates(query, n, mask)
        new = np.sort([p for p in positions.tolist() if p not in scored]).astype(np.int64)
        scored.update(zip(new.tolist(), similarities(query, new, read_vectors), strict=True))
        matches = _rank(scored, table, ask)
        if n == total or _is_settled(matches, float(scores[-1]) + index.score_error, ask):
            break
        n = min(total, 4 * n)
    return matches


def similarities(
    query: NDArray[np.float32], rows: NDArray[np.int64], read_vectors: ReadVectors
) -> list[float]:
    """Return the exact similarity of a query (D,) to each row, independent of its neighbours."""
    exact_query = query.astype(np.float64)
    found: list[float] = []
    for start in range(0, len(rows), _BLOCK):
        vectors = read_vectors(rows[start : start + _BLOCK]).astype(np.float32)
        # Not a matrix product: BLAS may sum a row differently by its place in the block, and
        # splits even one inner product over threads that wait for one another on a busy machine.
        products = vectors * exact_query
        found += products.sum(axis=1).astype(np.float32).tolist()
    return found


def _rank(scored: dict[int, float], table: EntryTable, ask: Ask) -> list[Match]:
    floor = -np.inf if ask.min_similarity is None else ask.min_similarity
    seen: set[str] = set()
    matches: list[Match] = []
    for row, similarity in sorted(scored.items(), key=lambda item: (-item[1], item[0])):
        if similarity < floor or len(matches) == ask.top_k:
            break
        entry = table.at(row)
        if ask.group_by == "person" and entry.person_id is not None:
            if entry.person_id in seen:
                continue
            seen.add(entry.person_id)
        matches.append(Match(entry, similarity))
    return matches


def _is_settled(matches: list[Match], best_left_out: float, ask: Ask) -> bool:
    if ask.min_similarity is not None and best_left_out < ask.min_similarity:
        return True
    return len(matches) == ask.top_k and matches[-1].similarity > best_left_out
