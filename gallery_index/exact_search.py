"""From candidates to the exact answer: re-scored, grouped, in a defined order.

A first stage offers candidates in order of an estimated similarity. They are scored exactly, from
the stored fp16 vectors, until an estimate is so far below the k-th best that its entry could not
belong to the answer: near-duplicates in any number, or a person with many crops, never crowd it.

The answer is ranked by the inner product of the float32 query and the fp16 vector, summed in
float64 and rounded to float32 once; ties go to the earlier row. So the answer is the same whatever
the first stage, before and after a restart.
"""

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Ask, Candidates, Find, Found, ReadVectors
from gallery_index.index.half_precision import rounding_error, similarities
from gallery_index.scored import Scored

_FIRST_CANDIDATES = 256
_GROWTH = 8
_BLOCK = 64
_MOST_OF_PERSON = 512  # entries of one person scored to find their best


def exact_search(
    query: NDArray[np.float32], ask: Ask, *, find: Find, read_vectors: ReadVectors
) -> tuple[list[Found], int]:
    """Return the best entries among all that match, best first, and how many were scored for it.

    `query` is float32 (D,) of length one. An entry whose stored vector cannot be trusted is ranked
    by its estimate.
    """
    scored = Scored(rounding_error(len(query)))
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
    scored: Scored,
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
        if ask.group_by == "entry":  # persons are known the sooner the smaller the steps
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
    query: NDArray[np.float32], scored: Scored, ask: Ask, read_vectors: ReadVectors
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
