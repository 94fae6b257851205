"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) of a gallery's distances to some queries.

Two entries that are among each other's nearest are more likely the same person than two of which
only one is near the other. Each entry gets a sparse vector over its reciprocal neighbours; the
Jaccard distance of two such vectors is mixed with the original distance.

Owns the arithmetic only: it works on squared distances of a set that fits into memory, be it a test
split or one query with its candidates and the entries around them. Imports nothing of ours.

Policies. `gallery`: neighbours come from queries and gallery, as published. `queries_only`:
neighbours come from the queries alone, as the MPANet authors evaluate SYSU-MM01; it needs many
queries. Lists of neighbours are cut to what there is. Among equally distant entries the one of the
lower position is nearer, queries before gallery.

Arithmetic. Vectors are rounded to float16 after each step, and overlaps are summed in float16 in
ascending order of the neighbour, as in the published code: the Jaccard distance is then a multiple
of 1/2048 over most of its range, so that wider arithmetic orders the gallery otherwise.

Source: utils/rerank.py `re_ranking`, commit f57fd5c of DoubtedSteam/MPANet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Neighbours = Literal["gallery", "queries_only"]
Rows = NDArray[np.intp]

BLOCK_BYTES = 32 * 2**20


def rerank(
    query_gallery: NDArray[np.float32],
    query_query: NDArray[np.float32],
    gallery_gallery: NDArray[np.float32] | None,
    *,
    neighbours: Neighbours,
    k1: int = 20,
    k2: int = 6,
    original_weight: float = 0.3,
) -> NDArray[np.float32]:
    """Re-ranked distances of every query to every gallery entry: lower is closer.

    Beside its arguments and its result it holds sparse vectors of about 100 entries a row, (Q, G)
    in float16 and blocks of 32 MiB.

    Args:
        query_gallery: (Q, G) squared Euclidean distances; 2 - 2 * cosine for unit vectors.
        query_query: (Q, Q).
        gallery_gallery: (G, G), symmetric; `queries_only` needs none.
        k1: length of the lists in which entries must find each other.
        k2: how many nearest entries' vectors are averaged; 1 leaves them as they are.
        original_weight: share of the original distance, lambda, in [0, 1].

    Returns:
        (Q, G), float32.

    Raises:
        ValueError: the shapes do not fit, or a setting is out of its range.
    """
    _check(query_gallery, query_query, gallery_gallery, neighbours)
    if k1 < 1 or k2 < 1 or not 0 <= original_weight <= 1:
        raise ValueError(f"k1 {k1} and k2 {k2} are at least 1, lambda {original_weight} in 0 .. 1")
    queries, entries = query_gallery.shape
    if not queries or not entries:
        return np.empty((queries, entries), dtype=np.float32)
    table = _Distances(query_gallery, query_query, gallery_gallery, neighbours)
    nearest = _nearest(table, max(k1 + 1, k2))
    vectors = _reciprocal_vectors(table, nearest[: table.known], k1)
    if k2 > 1:
        vectors = _averaged(vectors, nearest[:, :k2], table.width)
    overlap = _overlaps(vectors, queries, table.width)
    return _mixed(overlap, query_gallery, table.furthest[:queries], original_weight)


@dataclass(frozen=True)
class _Distances:
    """Rows of the square table of all distances, queries first, without building the table.

    Under `queries_only` its columns are the queries, and gallery rows have no vector of their own.
    """

    query_gallery: NDArray[np.float32]
    query_query: NDArray[np.float32]
    gallery_gallery: NDArray[np.float32] | None
    neighbours: Neighbours

    @property
    def width(self) -> int:
        """Columns among which neighbours are sought."""
        return len(self.query_query) if self.neighbours == "queries_only" else self.rows

    @property
    def rows(self) -> int:
        """Queries and gallery entries."""
        return sum(self.query_gallery.shape)

    @property
    def known(self) -> int:
        """How many rows, from the first, have reciprocal neighbours."""
        return self.width

    @property
    def furthest(self) -> NDArray[np.float32]:
        """(known,) each row's largest distance to any entry, by which the row is scaled."""
        largest = np.maximum(self.query_query.max(axis=1), self.query_gallery.max(axis=1))
        if self.neighbours == "gallery":
            assert self.gallery_gallery is not None
            own = np.maximum(self.query_gallery.max(axis=0), self.gallery_gallery.max(axis=1))
            largest = np.concatenate([largest, own])
        return np.where(largest > 0, largest, np.float32(1))

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(first row, (n, width) distances) until the last row, in blocks of bounded size."""
        step = max(1, BLOCK_BYTES // (4 * self.width))
        queries = len(self.query_query)
        for start, stop in _spans(0, queries, step):
            yield start, self._beside(self.query_query[start:stop], self.query_gallery[start:stop])
        for start, stop in _spans(queries, self.rows, step):
            chosen = slice(start - queries, stop - queries)
            towards = self.query_gallery[:, chosen].T
            own = towards if self.gallery_gallery is None else self.gallery_gallery[chosen]
            yield start, self._beside(np.ascontiguousarray(towards), own)

    def _beside(
        self, to_queries: NDArray[np.float32], to_gallery: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if self.neighbours == "queries_only":
            return to_queries
        return np.concatenate([to_queries, to_gallery], axis=1)


@dataclass(frozen=True)
class _Vectors:
    """Sparse rows over the columns of `_Distances`: entries sorted by row, then by column."""

    starts: Rows  # (rows + 1,)
    columns: Rows
    values: NDArray[np.float16]


def _nearest(table: _Distances, count: int) -> Rows:
    count = min(count, table.width)
    return np.concatenate([nearest(block, count) for _, block in table.blocks()])


def nearest(distances: NDArray[np.float32], count: int) -> Rows:
    """Positions of the `count` smallest in each row, ascending; the lower position among equals."""
    # The count-th smallest of the minima of disjoint groups of columns is at least the count-th
    # smallest of all, and hardly more: few entries are left to be sorted.
    minima = distances
    while minima.shape[1] > 8 * count:
        minima = _folded(minima)
    bound = np.partition(minima, count - 1, axis=1)[:, count - 1 : count]
    row, column = _places(distances <= bound)
    order = np.lexsort((distances[row, column], row))
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return column[order][place < count].reshape(-1, count)


def _folded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    half = (values.shape[1] + 1) // 2
    folded = values[:, :half].copy()
    rest = values[:, half:]
    np.minimum(folded[:, : rest.shape[1]], rest, out=folded[:, : rest.shape[1]])
    return folded


def _places(mask: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """As `np.nonzero` of a table, several times as fast where little is set."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _reciprocal_vectors(table: _Distances, nearest: Rows, k1: int) -> _Vectors:
    lists, halves = nearest[:, : k1 + 1], nearest[:, : int(np.around(k1 / 2)) + 1]
    mutual, mutual_half = _mutual(lists), _mutual(halves)
    furthest = table.furthest
    columns, values, counts = [], [], [np.zeros(1, dtype=np.intp)]
    for start, block in table.blocks():
        if start >= table.known:
            break
        rows = slice(start, start + len(block))
        members = _members(lists, mutual, halves, mutual_half, rows, table.width)
        row, column = _places(members)
        scaled = block[row, column] / furthest[rows][row]
        sizes = np.count_nonzero(members, axis=1)
        columns.append(column)
        counts.append(sizes)
        values.append(_shares(np.exp(-scaled), sizes))
    counts.append(np.zeros(table.rows - table.known, dtype=np.intp))
    return _Vectors(
        np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values)
    )


def _mutual(lists: Rows) -> NDArray[np.bool_]:
    """(N, k): whether entry i stands in the list of its own a-th neighbour."""
    found = np.empty(lists.shape, dtype=bool)
    for start, stop in _spans(0, len(lists), 4096):
        rows = np.arange(start, stop)[:, None, None]
        found[start:stop] = (lists[lists[start:stop]] == rows).any(axis=2)
    return found


def _members(
    lists: Rows,
    mutual: NDArray[np.bool_],
    halves: Rows,
    mutual_half: NDArray[np.bool_],
    rows: slice,
    width: int,
) -> NDArray[np.bool_]:
    """(n, width): each row's reciprocal neighbours, and those of them that mostly agree with it."""
    own, near = lists[rows], mutual[rows]
    count = len(own)
    row = np.arange(count)
    members = np.zeros((count, width), dtype=bool)
    members[np.broadcast_to(row[:, None], own.shape)[near], own[near]] = True
    candidate_row, place = np.nonzero(near)
    candidate = own[candidate_row, place]
    theirs, valid = halves[candidate], mutual_half[candidate]
    shared = np.count_nonzero(members[candidate_row[:, None], theirs] & valid, axis=1)
    agree = shared > 2 / 3 * np.count_nonzero(valid, axis=1)
    valid &= agree[:, None]
    expanded = np.broadcast_to(candidate_row[:, None], theirs.shape)[valid]
    members[expanded, theirs[valid]] = True
    return members


def _shares(weights: NDArray[np.float32], sizes: Rows) -> NDArray[np.float16]:
    """Weights divided by their row's sum. Rows of one size are summed together: the sum of a
    float32 row depends on how it is split, and this splits it as a sum of the row alone does."""
    starts = np.cumsum(sizes) - sizes
    shares = np.empty(len(weights), dtype=np.float16)
    for size in np.unique(sizes[sizes > 0]).tolist():
        places = starts[sizes == size][:, None] + np.arange(size)
        rows = weights[places]
        shares[places] = rows / rows.sum(axis=1, keepdims=True)
    return shares


def _averaged(vectors: _Vectors, nearest: Rows, width: int) -> _Vectors:
    """Each row becomes the mean of its nearest rows' vectors (query expansion)."""
    columns, values, counts = [], [], [np.zeros(1, dtype=np.intp)]
    for start, stop in _spans(0, len(nearest), max(1, BLOCK_BYTES // (4 * width))):
        total = np.zeros((stop - start, width), dtype=np.float32)
        for place in range(nearest.shape[1]):
            source = nearest[start:stop, place]
            row, entry = _entries(vectors, source)
            total[row, vectors.columns[entry]] += vectors.values[entry]
        row, column = _places(total != 0)
        columns.append(column)
        values.append((total[row, column] / np.float32(nearest.shape[1])).astype(np.float16))
        counts.append(np.bincount(row, minlength=stop - start))
    return _Vectors(
        np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values)
    )


def _entries(vectors: _Vectors, source: Rows) -> tuple[Rows, Rows]:
    """For rows that each copy one source row: the row and the entry of every value copied."""
    sizes = vectors.starts[source + 1] - vectors.starts[source]
    row = np.repeat(np.arange(len(source)), sizes)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, vectors.starts[source][row] + offset


def _overlaps(vectors: _Vectors, queries: int, width: int) -> NDArray[np.float16]:
    """(Q, G): the sum of the smaller of both values over all columns, column by column."""
    rows = len(vectors.starts) - 1
    row = np.repeat(np.arange(rows), np.diff(vectors.starts))
    order = np.argsort(vectors.columns, kind="stable")  # by column, rows ascending within it
    row, values = row[order], vectors.values[order]
    ends = np.cumsum(np.bincount(vectors.columns, minlength=width))
    overlap = np.zeros((queries, rows - queries), dtype=np.float16)
    start = 0
    for end in ends.tolist():
        middle = start + int(np.searchsorted(row[start:end], queries))
        if start < middle < end:
            place = row[start:middle, None], row[middle:end] - queries
            overlap[place] += np.minimum.outer(values[start:middle], values[middle:end])
        start = end
    return overlap


def _mixed(
    overlap: NDArray[np.float16],
    original: NDArray[np.float32],
    furthest: NDArray[np.float32],
    original_weight: float,
) -> NDArray[np.float32]:
    mixed = original / furthest[:, None]
    mixed *= np.float32(original_weight)
    # float16 arithmetic is slow and has few values: each is worked out once.
    bits = overlap.view(np.uint16)
    shared = np.arange(int(bits.max()) + 1, dtype=np.uint16).view(np.float16)
    jaccard = (1 - shared / (2 - shared)) * (1 - original_weight)
    mixed += jaccard.astype(np.float32)[bits]
    return mixed


def _spans(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def _check(
    query_gallery: NDArray[np.float32],
    query_query: NDArray[np.float32],
    gallery_gallery: NDArray[np.float32] | None,
    neighbours: Neighbours,
) -> None:
    queries, entries = query_gallery.shape
    if query_query.shape != (queries, queries):
        raise ValueError(f"{queries} queries, but query_query has shape {query_query.shape}")
    if neighbours == "queries_only":
        return
    if gallery_gallery is None or gallery_gallery.shape != (entries, entries):
        came = None if gallery_gallery is None else gallery_gallery.shape
        raise ValueError(f"{entries} gallery entries, but gallery_gallery has shape {came}")
