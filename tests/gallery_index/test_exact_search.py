"""From candidates to the exact answer, against NumPy; the first stage is made up and errs."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gallery_index.candidates import MOST_SCORED, Ask, Candidates, Found, StoredVectors
from gallery_index.exact_search import exact_search, exact_similarities
from gallery_index.records import GroupBy
from tests.gallery_index.embeddings import flat

DIM = 16
QUERY = flat(1, DIM, seed=77)[0].astype(np.float32)


@dataclass
class MadeUp:
    """Rows, and estimates of their similarity to `QUERY` that err by at most `margin`."""

    vectors: NDArray[np.float16]
    margin: float = 0.0
    persons: NDArray[np.int64] | None = None
    unsound: NDArray[np.bool_] | None = None
    seed: int = 0
    asked: list[int] = field(default_factory=list)
    read: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        count = len(self.vectors)
        self.rows = np.arange(count) * 3 + 5  # a row is no position
        if self.persons is None:
            self.persons = np.full(count, -1)
        self.exact = self.vectors.astype(np.float64) @ QUERY.astype(np.float64)
        errors = np.random.default_rng(self.seed).uniform(-1, 1, count) * self.margin
        self.estimates = (self.exact + errors).astype(np.float32)
        self.order = np.lexsort((self.rows, -self.estimates))

    def find(self, n: int) -> Candidates:
        assert self.persons is not None
        self.asked.append(n)
        best = self.order[:n]
        margin = self.margin + 1e-6  # estimates are rounded
        return Candidates(
            self.rows[best], self.estimates[best], self.persons[best], len(self.rows), margin
        )

    def vectors_of(self, rows: NDArray[np.int64]) -> StoredVectors:
        assert (np.diff(rows) > 0).all()  # ascending, none twice
        self.read.update(rows.tolist())
        places = (rows - 5) // 3
        values = self.vectors[places].copy()
        sound = np.ones(len(rows), np.bool_)
        if self.unsound is not None:
            sound = ~self.unsound[places]
            values[~sound] = np.nan  # what is not trusted must not matter
        return StoredVectors(values, sound)

    def search(self, ask: Ask) -> tuple[list[Found], int]:
        return exact_search(QUERY, ask, find=self.find, read_vectors=self.vectors_of)

    def expected(self, ask: Ask) -> list[Found]:
        """Everything compared with everything."""
        assert self.persons is not None
        values = self.exact.astype(np.float32)
        if self.unsound is not None:
            values = np.where(self.unsound, self.estimates, values)
        answer: list[Found] = []
        seen: set[int] = set()
        for place in np.lexsort((self.rows, -values)).tolist():
            person, value = int(self.persons[place]), float(values[place])
            if ask.min_similarity is not None and value < ask.min_similarity:
                break
            if ask.group_by == "person" and person >= 0:
                if person in seen:
                    continue
                seen.add(person)
            answer.append(Found(int(self.rows[place]), value))
        return answer[: ask.top_k]


def near(count: int, noise: float, seed: int = 3) -> NDArray[np.float16]:
    """Vectors about `QUERY`, as far off as the noise says."""
    wide = QUERY + np.float32(noise) * flat(count, DIM, seed).astype(np.float32)
    unit: NDArray[np.float16] = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(
        np.float16
    )
    return unit


def same(found: list[Found], expected: list[Found]) -> bool:
    """The same rows in order; similarities to the last bit but one: sums differ in their order."""
    return [hit.row for hit in found] == [hit.row for hit in expected] and bool(
        np.allclose(
            [hit.similarity for hit in found], [hit.similarity for hit in expected], atol=1e-7
        )
    )


@st.composite
def made_up(draw: st.DrawFn) -> MadeUp:
    """Some hundred entries: copies, near-copies and strangers, of few persons, some unreadable."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    count = draw(st.integers(1, 700))
    distinct = draw(st.integers(1, 40))
    pool = np.concatenate([near(distinct, 0.05, seed), flat(distinct, DIM, seed)])
    vectors = pool[rng.integers(0, len(pool), count)]
    persons = rng.integers(-1, draw(st.integers(1, 60)), count)
    unsound = rng.random(count) < draw(st.sampled_from([0.0, 0.1]))
    margin = draw(st.sampled_from([0.0, 0.003, 0.1, 2.0]))
    return MadeUp(vectors, margin, persons, unsound, seed)


@given(
    stage=made_up(),
    top_k=st.integers(1, 60),
    group_by=st.sampled_from(["entry", "person"]),
    floor=st.none() | st.floats(-1, 1, width=16),
)
@settings(max_examples=150, deadline=None)
def test_the_answer_is_the_exact_one_whatever_the_estimates_within_their_margin(
    stage: MadeUp, top_k: int, group_by: str, floor: float | None
) -> None:
    ask = Ask(top_k, "person" if group_by == "person" else "entry", floor)
    found, scored = stage.search(ask)
    assert same(found, stage.expected(ask))
    assert scored <= len(stage.rows)


@pytest.mark.parametrize("group_by", ["entry", "person"])
@pytest.mark.parametrize("seed", range(5))
def test_a_query_learns_from_the_nearest_how_short_estimates_fall(
    group_by: GroupBy, seed: int
) -> None:
    """As codes do it: the nearer the shorter, up to the margin; copies of one crop alike."""
    rng = np.random.default_rng(seed)
    crowd = np.concatenate([near(1250, noise, seed) for noise in (0.03, 0.2, 0.4, 0.8)])
    stage = MadeUp(crowd, 0.13, np.repeat(np.arange(500), 10), None, seed)
    short = 0.12 * np.clip(stage.exact, 0, 1) ** 2 + rng.uniform(-0.004, 0.004, len(crowd))
    stage.estimates = (stage.exact - short).astype(np.float32)
    stage.order = np.lexsort((stage.rows, -stage.estimates))
    ask = Ask(10, group_by, None)
    found, scored = stage.search(ask)
    assert same(found, stage.expected(ask))
    assert scored < len(crowd) / 2


def test_an_estimate_that_is_too_low_by_the_margin_does_not_lose_its_entry() -> None:
    # 40 entries of similarity 1 - 0.05, estimated exactly; the best one of all, estimated lowest.
    stage = MadeUp(np.concatenate([near(1, 0.0), near(400, 0.4), flat(200, DIM)]), margin=0.5)
    stage.estimates = stage.exact.astype(np.float32)
    stage.estimates[0] = stage.exact[0] - np.float32(0.5)
    stage.order = np.lexsort((stage.rows, -stage.estimates))
    assert stage.order.tolist().index(0) > 256 + 4  # not among the first candidates
    found, _ = stage.search(Ask(1, "entry", None))
    assert [hit.row for hit in found] == [5]


@pytest.mark.parametrize("group_by", ["entry", "person"])
def test_copies_by_the_hundred_come_by_row_and_do_not_end_the_search(group_by: str) -> None:
    copies, others = np.repeat(near(1, 0.01), 900, axis=0), near(60, 0.3)
    persons = np.concatenate([np.full(900, 7), np.arange(60) + 100])
    stage = MadeUp(np.concatenate([others, copies]), 0.01, np.roll(persons, 60))
    if group_by == "entry":
        found, _ = stage.search(Ask(5, "entry", None))
        assert [hit.row for hit in found] == [5 + 3 * (60 + place) for place in range(5)]
        assert stage.asked == [256 + 4 * 5, 8 * (256 + 4 * 5)]
    else:
        ask = Ask(20, "person", None)
        found, _ = stage.search(ask)
        assert found[0].row == 5 + 3 * 60
        assert same(found, stage.expected(ask))
        assert len(found) == 20


def test_a_sharp_estimate_spares_the_disk() -> None:
    stage = MadeUp(flat(20_000, DIM), margin=0.002)
    found, scored = stage.search(Ask(10, "entry", None))
    assert same(found, stage.expected(Ask(10, "entry", None)))
    assert stage.asked == [296]
    assert scored == len(stage.read) < 300


def test_a_floor_ends_the_search_where_nothing_can_reach_it() -> None:
    stage = MadeUp(flat(20_000, DIM), margin=0.01)
    found, scored = stage.search(Ask(1000, "entry", 0.999))
    assert found == []
    assert scored == 0


def test_a_set_as_large_as_the_cap_is_exact_even_if_estimates_say_nothing() -> None:
    stage = MadeUp(flat(MOST_SCORED, DIM), margin=2.0)
    found, scored = stage.search(Ask(10, "entry", None))
    assert same(found, stage.expected(Ask(10, "entry", None)))
    assert scored > MOST_SCORED / 2


def test_beyond_the_cap_the_best_estimates_are_scored_and_no_more() -> None:
    stage = MadeUp(flat(20_000, DIM), margin=2.0)
    found, scored = stage.search(Ask(10, "entry", None))
    assert scored == MOST_SCORED
    assert stage.asked == [296, 2368, MOST_SCORED]
    offered = MadeUp(stage.vectors[np.sort(stage.order[:MOST_SCORED])])
    best = [hit.similarity for hit in offered.expected(Ask(10, "entry", None))]
    assert [hit.similarity for hit in found] == pytest.approx(best, abs=1e-7)


def test_a_person_with_thousands_of_crops_hides_nobody() -> None:
    crowd = np.concatenate([near(9000, 0.01), near(40, 0.3, seed=9)])
    persons = np.concatenate([np.zeros(9000, np.int64), np.arange(1, 41)])
    stage = MadeUp(crowd, 0.001, persons)
    found, scored = stage.search(Ask(10, "person", None))
    expected = stage.expected(Ask(10, "person", None))
    assert [hit.row for hit in found[1:]] == [hit.row for hit in expected[1:]]
    assert found[0].similarity == pytest.approx(expected[0].similarity, abs=0.002)
    assert scored < MOST_SCORED


def test_unsound_vectors_are_ranked_by_their_estimates() -> None:
    vectors = near(30, 0.5)
    unsound = np.zeros(30, np.bool_)
    unsound[[3, 17]] = True
    stage = MadeUp(vectors, 0.0, unsound=unsound)
    stage.estimates[3], stage.estimates[17] = 1.5, -0.5
    stage.order = np.lexsort((stage.rows, -stage.estimates))
    found, _ = stage.search(Ask(30, "entry", None))
    assert found[0] == Found(5 + 3 * 3, 1.5)
    assert found[-1] == Found(5 + 3 * 17, -0.5)
    assert len(found) == 30


def test_nothing_offered_is_nothing_found() -> None:
    stage = MadeUp(np.empty((0, DIM), np.float16))
    assert stage.search(Ask(3, "entry", None)) == ([], 0)


def test_a_similarity_does_not_depend_on_its_neighbours() -> None:
    vectors, query = flat(200, 2048), flat(1, 2048, seed=5)[0].astype(np.float32)
    together = exact_similarities(query, vectors)
    alone = [float(exact_similarities(query, vectors[[place]])[0]) for place in range(200)]
    assert together.tolist() == alone
    assert np.allclose(together, vectors.astype(np.float64) @ query.astype(np.float64), atol=1e-7)


@pytest.mark.parametrize("group_by", ["entry", "person"])
def test_ties_among_different_vectors_go_to_the_earlier_row(group_by: str) -> None:
    # Each vector has a one in another place where the query is the same: 1/4 all of them.
    query = np.full(DIM, 0.25, np.float32)
    vectors = np.eye(DIM, dtype=np.float16)[np.random.default_rng(0).permutation(DIM)]

    def find(n: int) -> Candidates:
        rows = np.arange(DIM)[::-1][:n]
        return Candidates(rows, np.full(len(rows), 0.25, np.float32), rows, DIM, 0.0)

    found, _ = exact_search(
        query,
        Ask(6, "person" if group_by == "person" else "entry", None),
        find=find,
        read_vectors=lambda rows: StoredVectors(vectors[rows], np.ones(len(rows), np.bool_)),
    )
    assert found == [Found(row, 0.25) for row in range(6)]
