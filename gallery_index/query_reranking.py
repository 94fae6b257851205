"""Re-ranking of one query's nearest entries: k-reciprocal, among the entries themselves.

Owns how many entries are re-ranked and what becomes of the order. The arithmetic is
`reranking`'s; similarities stay as plain search gave them.

Bounded: only the CANDIDATES nearest entries are compared with one another, and the neighbours of
each are sought among them. Looking for neighbours elsewhere would cost a search a candidate, and on
rendered people as many more candidates gained more (docs/decisions.md).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Ask
from gallery_index.index.blas_threads import one_blas_thread
from gallery_index.records import Match
from gallery_index.reranking import rerank

CANDIDATES: Final = 400
"""How many of the nearest entries are re-ranked."""

ReadVectors = Callable[[NDArray[np.int64]], NDArray[np.floating]]


def reranked(
    nearest: Sequence[Match], ask: Ask, read_vectors: ReadVectors, *, candidates: int = CANDIDATES
) -> list[Match]:
    """Return what is asked for of the nearest entries, in the order of re-ranking.

    Entries beyond the first `candidates` follow in the order given. The least similarity is one of
    the plain similarities. Grouped by person, each person's first entry in the new order.

    Args:
        nearest: matches of a query, nearest first.
        read_vectors: vectors (n, D), of length one or nearly, of rows in ascending order.
    """
    first = nearest[:candidates]
    rows = np.array([match.entry.row for match in first], dtype=np.int64)
    similarities = np.array([match.similarity for match in first], dtype=np.float32)
    by_row = np.argsort(rows)
    vectors = read_vectors(rows[by_row])[np.argsort(by_row)]
    order = order_around(similarities, vectors)
    matches = [*(first[place] for place in order.tolist()), *nearest[candidates:]]
    return list(islice(_asked(matches, ask), ask.top_k))


@one_blas_thread()
def order_around(
    similarities: NDArray[np.float32], vectors: NDArray[np.floating]
) -> NDArray[np.intp]:
    """Return the places of a query's nearest entries in the order of re-ranking, best first.

    Ties stay in the order given.

    Args:
        similarities: (C,) of the query to each entry, cosines.
        vectors: (C, D) of the entries, of length one or nearly.
    """
    wide = vectors.astype(np.float32)
    between = 2 - 2 * (wide @ wide.T)  # with itself: BLAS does half the work
    np.fill_diagonal(between, 0)
    to_query = 2 - 2 * similarities[None]
    distances = rerank(to_query, np.zeros((1, 1), np.float32), between, neighbours="gallery")
    return np.argsort(distances[0], kind="stable")


def _asked(matches: Iterable[Match], ask: Ask) -> Iterator[Match]:
    seen: set[str] = set()
    for match in matches:
        if ask.min_similarity is not None and match.similarity < ask.min_similarity:
            continue
        person = match.entry.person_id
        if ask.group_by == "person" and person is not None:
            if person in seen:
                continue
            seen.add(person)
        yield match
