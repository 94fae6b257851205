"""From candidates to the exact answer: re-scored, grouped, in a defined order.

A first stage offers candidates in order of an estimated similarity. They are scored exactly, from
the stored fp16 vectors, until an estimate is so far below the k-th best that its entry could not
belong to the answer: near-duplicates in any number, or a person with many crops, never crowd it.

The answer is ranked by the inner product of the float32 query and the fp16 vector, summed in
float64 and rounded to float32 once; ties go to the earlier row. So the answer is the same whatever
the first stage, before and after a restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gallery_index.index.half_precision import rounding_error, similarities
from gallery_index.records import GroupBy

_FIRST_CANDIDATES = 256
_GROWTH = 8
_BLOCK = 64
_MOST_OF_PERSON = 512  # entries of one person scored to find their best
_MOST_OFFERED = 64  # times as many offered as scored, where one person's crops come first
_KNOWN_PERSON = 8  # entries of a person scored, from which the errors of the others are known
_CAUTION = 2.0  # of the error that a query has shown, for entries that it has not met
MOST_SCORED = 4096
"""Entries scored exactly for one query, unless more than a quarter of it are asked for. Where no
more match, the first stage's own margin holds, which hardly any pair exceeds."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: how many, grouped by what, and from which similarity on."""

    top_k: int
    group_by: GroupBy
    min_similarity: float | None

    @property
    def most_scored(self) -> int:
        """How many entries may be scored exactly."""
        return max(MOST_SCORED, 4 * self.top_k)

    @property
    def most_offered(self) -> int:
        """How many candidates may be asked for: a person with many crops must not hide others."""
        return self.most_scored * (_MOST_OFFERED if self.group_by == "person" else 1)

    @property
    def floor(self) -> float:
        """The least similarity of an answer."""
        return -np.inf if self.min_similarity is None else self.min_similarity


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a first stage offers, best first.

    `rows` int64 (n,), `estimates` float32 (n,), `persons` (n,): a number a person, the same in
    every answer to one query, negative where there is none. `total` entries match the filter;
    `margin` is how far a similarity may exceed its estimate.
    """

    rows: NDArray[np.int64]
    estimates: NDArray[np.float32]
    persons: NDArray[np.int64]
    total: int
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """Vectors as stored, fp16 (n, D), and which of them can be trusted (n,)."""

    values: NDArray[np.float16]
    sound: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the answer and its exact similarity."""

    row: int
    similarity: float


Find = Callable[[int], Candidates]
ReadVectors = Callable[[NDArray[np.int64]], StoredVectors]


@dataclass(slots=True, eq=False)
class _Scored:
    """What has been scored so far: float32 similarities, right to `error`."""

    error: float
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    persons: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    estimates: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def add(self, found: Candidates, places: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        self.rows = np.concatenate([self.rows, found.rows[places]])
        self.persons = np.concatenate([self.persons, found.persons[places]])
        self.values = np.concatenate([self.values, values])
        self.estimates = np.concatenate([self.estimates, found.estimates[places]])

    def margin(self, found: Candidates) -> float:
        """How far a similarity may exceed its estimate, by what this query has shown so far.

        Estimates fall short the more the nearer an entry is, and the nearest are scored first: what
        they were short of bounds what the others are. Never more than the first stage says, nor
        less than a quarter of it.
        """
        if not len(self.values) or found.total <= MOST_SCORED:
            return found.margin
        shown = float((self.values - self.estimates).max())
        return min(found.margin, max(_CAUTION * shown + self.error, found.margin / 4))

    def best_of_groups(self, ask: Ask) -> NDArray[np.float32]:
        """The best of each person scored; of entries without one, and ungrouped, every value."""
        if ask.group_by == "entry":
            return self.values
        alone = self.persons < 0
        persons, group = np.unique(self.persons[~alone], return_inverse=True)
        best = np.full(len(persons), -np.inf, np.float32)
        np.maximum.at(best, group, self.values[~alone])
        return np.concatenate([best, self.values[alone]])

    def bar(self, ask: Ask) -> float:
        """What an entry must reach to belong to the answer, as far as is known."""
        best = self.best_of_groups(ask)
        if len(best) < ask.top_k:
            return ask.floor
        kth = np.partition(best, len(best) - ask.top_k)[len(best) - ask.top_k]
        return max(float(kth) - self.error, ask.floor)

    def person_bars(self, persons: NDArray[np.int64]) -> NDArray[np.float32]:
        """What an entry must reach to be the best of its person, for each of these."""
        bars = np.full(len(persons), -np.inf, np.float32)
        groups, place, known = self._groups(persons)
        if len(groups.names):
            bars[known] = groups.best[place[known]] - self.error
        return bars

    def counts(self, persons: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many entries of each of these persons have been scored."""
        counts = np.zeros(len(persons), np.int64)
        groups, place, known = self._groups(persons)
        if len(groups.names):
            counts[known] = groups.counts[place[known]]
        return counts

    def person_margins(self, persons: NDArray[np.int64], found: Candidates) -> NDArray[np.float32]:
        """How far a similarity may exceed its estimate, for entries of each of these persons.

        A person's crops are alike, and so are the errors of their estimates: after a few, the
        largest, and twice as much again as they differ by, bounds the rest.
        """
        margins = np.full(len(persons), self.margin(found), np.float32)
        groups, place, known = self._groups(persons)
        if len(groups.names) and found.total > MOST_SCORED:
            known &= groups.counts[place] >= _KNOWN_PERSON
            spread = groups.most_short - groups.least_short
            shown = groups.most_short + 2 * spread + self.error
            margins[known] = np.minimum(margins[known], shown[place[known]])
        return margins

    def _groups(
        self, persons: NDArray[np.int64]
    ) -> tuple["_Groups", NDArray[np.intp], NDArray[np.bool_]]:
        """Return the persons scored, the place of each of these among them, and whether it is."""
        groups = _Groups.of(self.persons, self.values, self.values - self.estimates)
        if not len(groups.names):
            return groups, np.zeros(len(persons), np.intp), np.zeros(len(persons), np.bool_)
        place = np.minimum(np.searchsorted(groups.names, persons), len(groups.names) - 1)
        return groups, place, (groups.names[place] == persons) & (persons >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The entries scored, by person: ascending names, and for each how many, the best value, and
    the most and least that an estimate was short of its value."""

    names: NDArray[np.int64]
    counts: NDArray[np.int64]
    best: NDArray[np.float32]
    most_short: NDArray[np.float32]
    least_short: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        persons: NDArray[np.int64],
        values: NDArray[np.float32],
        short: NDArray[np.float32],
    ) -> "_Groups":
        order = np.argsort(persons, kind="stable")
        names, starts, counts = np.unique(persons[order], return_index=True, return_counts=True)
        if not len(names):
            empty = np.empty(0, np.float32)
            return cls(names, counts, empty, empty, empty)
        return cls(
            names,
            counts,
            np.maximum.reduceat(values[order], starts),
            np.maximum.reduceat(short[order], starts),
            np.minimum.reduceat(short[order], starts),
        )


def exact_search(
    query: NDArray[np.float32], ask: Ask, *, find: Find, read_vectors: ReadVectors
) -> tuple[list[Found], int]:
    """Return the best entries among all that match, best first, and how many were scored for it.

    `query` is float32 (D,) of length one. An entry whose stored vector cannot be trusted is ranked
    by its estimate.
    """
    scored = _Scored(rounding_error(len(query)))
    n = _FIRST_CANDIDATES + 4 * ask.top_k
    while True:
        found = find(n)
        settled = _score(query, found, ask, scored, read_vectors)
        enough = len(found.rows) >= found.total or n >= ask.most_offered
        if settled or enough or len(scored.rows) >= ask.most_scored:
            return _ranked(query, scored, ask, read_vectors), len(scored.rows)
        n = min(_GROWTH * n, ask.most_offered)


def _score(
    query: NDArray[np.float32],
    found: Candidates,
    ask: Ask,
    scored: _Scored,
    read_vectors: ReadVectors,
) -> bool:
    """Score candidates in their order; whether none that was not offered could belong."""
    left = np.flatnonzero(~np.isin(found.rows, scored.rows))
    block = _BLOCK + ask.top_k
    while len(left):
        reach = found.estimates[left] + np.float32(scored.margin(found))
        needed = reach >= scored.bar(ask)
        if ask.group_by == "person":
            persons = found.persons[left]
            reach = found.estimates[left] + scored.person_margins(persons, found)
            needed &= reach >= scored.person_bars(persons)
            needed &= scored.counts(persons) < _MOST_OF_PERSON
        left = left[needed]
        places, left = left[:block], left[block:]
        if len(places):
            scored.add(found, places, _values(query, found, places, read_vectors))
        block = min(2 * block, 4 * _BLOCK + ask.top_k)
    if not len(found.rows):
        return True
    return bool(found.estimates[-1] + scored.margin(found) < scored.bar(ask))


def _values(
    query: NDArray[np.float32],
    found: Candidates,
    places: NDArray[np.intp],
    read_vectors: ReadVectors,
) -> NDArray[np.float32]:
    order = np.argsort(found.rows[places])  # the disk likes ascending rows
    stored = read_vectors(found.rows[places][order])
    values = np.empty(len(places), np.float32)
    values[order] = similarities(query, stored.values)
    unsound = order[~stored.sound]
    values[unsound] = found.estimates[places][unsound]
    return values


def _ranked(
    query: NDArray[np.float32], scored: _Scored, ask: Ask, read_vectors: ReadVectors
) -> list[Found]:
    """Rank what could belong to the answer by similarities that are right to the last bit."""
    near = scored.values >= scored.bar(ask) - scored.error
    if ask.group_by == "person":
        near &= scored.values >= scored.person_bars(scored.persons) - scored.error
    places = np.flatnonzero(near)
    places = places[np.argsort(scored.rows[places])]
    rows, persons = scored.rows[places], scored.persons[places].tolist()
    stored = read_vectors(rows)
    exact = np.where(
        stored.sound, exact_similarities(query, stored.values), scored.estimates[places]
    )
    seen: set[int] = set()
    answer: list[Found] = []
    for place in np.lexsort((rows, -exact)).tolist():
        similarity = float(exact[place])
        if len(answer) == ask.top_k or similarity < ask.floor:
            break
        if ask.group_by == "person" and persons[place] >= 0:
            if persons[place] in seen:
                continue
            seen.add(persons[place])
        answer.append(Found(int(rows[place]), similarity))
    return answer


def exact_similarities(
    query: NDArray[np.float32], vectors: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Return the similarity of a query (D,) to each vector (n, D), independent of its neighbours.

    Summed in float64, rounded to float32 once. Not a matrix product: BLAS may sum a row differently
    by its place in the block.
    """
    wide = query.astype(np.float64)
    sums = np.empty(len(vectors), np.float64)
    for place, vector in enumerate(vectors):
        sums[place] = (vector.astype(np.float32) * wide).sum()
    return sums.astype(np.float32)
