"""How much of the exact answer searches return, measured on the gallery's own vectors.

One pass over the vectors in blocks: a matrix product and a running best ten for each query.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_index.index.blas_threads import one_blas_thread

Block = tuple[NDArray[np.int64], NDArray[np.float16]]  # positions (n,), their vectors (n, D)


class ExactTop:
    """The exact best `k` positions of each query, of all blocks that it was fed.

    `queries` (Q, D) float32. Similarities are float32 matrix products.
    """

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self._queries, self._k = queries, k
        self.positions = np.full((len(queries), k), -1, np.int64)
        self.similarities = np.full((len(queries), k), -np.inf, np.float32)

    def feed(
        self,
        positions: NDArray[np.int64],
        vectors: NDArray[np.float16],
        allowed: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take in vectors (n, D); `allowed` (Q, n): what may be in each query's answer."""
        found = self._queries @ vectors.astype(np.float32).T
        if allowed is not None:
            found = np.where(allowed, found, -np.inf).astype(np.float32)
        names = np.where(np.isneginf(found), -1, positions[None])
        merged = np.concatenate([self.similarities, found], axis=1)
        named = np.concatenate([self.positions, names], axis=1)
        best = np.argsort(-merged, axis=1, kind="stable")[:, : self._k]
        self.similarities = np.take_along_axis(merged, best, axis=1)
        self.positions = np.take_along_axis(named, best, axis=1)


@dataclass(frozen=True, slots=True)
class Probe:
    """One query of a measurement: a vector (D,), and the group that its answer must be in."""

    vector: NDArray[np.float32]
    group: int | None


Answer = Callable[[Probe, int], NDArray[np.int64]]  # a probe and k -> positions, best first


def draw_probes(
    vectors: NDArray[np.float16], groups: NDArray[np.int8] | None = None
) -> list[Probe]:
    """Return a query of each vector (n, D), every second one restricted to the other group.

    `groups` (n,) is 0 or 1, as for modality. Where only one exists, no query is restricted.
    """
    both = groups is not None and len(np.unique(groups)) > 1
    return [
        Probe(vector, 1 - int(groups[i]) if both and groups is not None and i % 2 else None)
        for i, vector in enumerate(vectors.astype(np.float32))
    ]


@one_blas_thread()
def measure_recall(
    probes: list[Probe],
    blocks: Iterable[Block],
    answer: Answer,
    *,
    groups: NDArray[np.int8] | None = None,
    k: int = 10,
) -> float:
    """Return the part of the exact best `k` that `answer` returns, over all probes; 1 if none.

    `blocks` holds every live vector once; `groups` gives a group by position. An answer that is
    as similar as the exact one, to float32 rounding, counts: ties are no loss.
    """
    if not probes:
        return 1.0
    answers = [_within(probe, answer(probe, k)[:k], groups) for probe in probes]
    exact = ExactTop(np.stack([probe.vector for probe in probes]), k)
    returned: list[dict[int, float]] = [{} for _ in probes]
    for positions, vectors in blocks:
        exact.feed(positions, vectors, _allowed(probes, positions, groups))
        _note_similarities(returned, probes, answers, positions, vectors)
    hits = wanted = 0
    for row, found in zip(exact.similarities, returned, strict=True):
        expected = row[np.isfinite(row)]
        wanted += len(expected)
        if len(expected):
            floor = float(expected[-1]) - 1e-6
            hits += min(len(expected), sum(value >= floor for value in found.values()))
    return hits / wanted if wanted else 1.0


def _within(
    probe: Probe, answer: NDArray[np.int64], groups: NDArray[np.int8] | None
) -> NDArray[np.int64]:
    """Leave out of an answer what is in the wrong group: it must not count as found."""
    if groups is None or probe.group is None:
        return answer
    right: NDArray[np.int64] = answer[groups[answer] == probe.group]
    return right


def _allowed(
    probes: list[Probe], positions: NDArray[np.int64], groups: NDArray[np.int8] | None
) -> NDArray[np.bool_] | None:
    if groups is None:
        return None
    wanted = np.array([-1 if probe.group is None else probe.group for probe in probes])
    allowed: NDArray[np.bool_] = (wanted[:, None] < 0) | (wanted[:, None] == groups[positions])
    return allowed


def _note_similarities(
    returned: list[dict[int, float]],
    probes: list[Probe],
    answers: list[NDArray[np.int64]],
    positions: NDArray[np.int64],
    vectors: NDArray[np.float16],
) -> None:
    for probe, answer, found in zip(probes, answers, returned, strict=True):
        here = np.flatnonzero(np.isin(positions, answer))
        if len(here):
            values = vectors[here].astype(np.float32) @ probe.vector
            found.update(zip(positions[here].tolist(), values.tolist(), strict=True))
