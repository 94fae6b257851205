"""From embeddings to figures: what is refused, and that shortcuts change nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.contest import Contest, Labels
from training.protocols.embedded import embedded, fill, normalised, within
from training.protocols.ranking import rank
from training.protocols.sysu_mm01 import sysu_mm01
from training.protocols.variants import Affinity, ReRanking


def people(seed: int) -> tuple[Contest, NDArray[np.float32], NDArray[np.float32]]:
    """A contest among 12 persons with queries of cameras 3 and 6, and embeddings for it."""
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(1, 13), 20)
    gallery = Labels(persons, np.tile([1, 2, 4, 5], 60), np.tile(np.repeat(range(1, 6), 4), 12))
    query = Labels(rng.integers(1, 13, 50), rng.choice([3, 6], 50), np.zeros(50, dtype=np.int64))
    centres = rng.standard_normal((13, 10))
    looks = centres[query.person_ids] + rng.standard_normal((50, 10))
    vectors = centres[persons] + rng.standard_normal((240, 10))
    contest = sysu_mm01(query, gallery, search="all", shots=1, permutations=None)
    return contest, looks.astype(np.float32), vectors.astype(np.float32)


def test_variants_come_apart_and_the_plain_one_does_not_depend_on_them() -> None:
    contest, looks, vectors = people(1)
    arguments = contest, embedded(looks, "query"), embedded(vectors, "gallery")
    plain, reranked, affine = rank(*arguments, [None, ReRanking(), Affinity()])
    assert rank(*arguments)[0].trials == plain.trials
    assert plain.variant == "plain"
    assert reranked.variant == ("re-ranked (k1 20, k2 6, lambda 0.3, neighbours from queries only)")
    assert affine.variant == "affinity (k1 30, k2 6)"
    assert len({plain.trials, reranked.trials, affine.trials}) == 3


def test_similarities_in_several_blocks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, looks, vectors = people(2)
    query, gallery = embedded(looks, "query"), embedded(vectors, "gallery")
    monkeypatch.setattr("training.protocols.embedded.ROWS", 7)
    monkeypatch.setattr("training.protocols.embedded.COLUMNS", 11)
    table = np.zeros((50, 240), dtype=np.float32)
    fill(table, query, np.arange(0, 50, 2), gallery, np.arange(0, 240, 3), "cosine")
    expected = np.zeros((50, 240))
    expected[::2, ::3] = normalised(looks[::2]) @ normalised(vectors[::3]).T
    np.testing.assert_allclose(table, expected, atol=1e-6)


def test_euclidean_similarity_is_the_negative_squared_distance() -> None:
    points = np.array([[0, 0], [3, 4], [1, 0]], dtype=np.float32)
    table = within(embedded(points, "gallery"), "euclidean")
    assert table.tolist() == [[0, -25, -1], [-25, 0, -20], [-1, -20, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_embeddings_that_are_not_finite_are_refused(value: float) -> None:
    rows = np.array([[1, 0], [value, 0]], dtype=np.float32)
    with pytest.raises(ProtocolError, match="query embeddings: row 1 is not finite"):
        embedded(rows, "query")


def test_embeddings_of_another_type_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"expected float32 \(N, D\), got float64 \(2, 2\)"):
        embedded(np.zeros((2, 2)), "query")  # type: ignore[arg-type]


def test_embeddings_that_do_not_fit_the_labels_are_refused() -> None:
    contest, looks, vectors = people(3)
    query, gallery = embedded(looks, "query"), embedded(vectors, "gallery")
    with pytest.raises(ProtocolError, match="49 query embeddings, but 50 labels"):
        rank(contest, embedded(looks[1:], "query"), gallery)
    with pytest.raises(ProtocolError, match="10 dimensions, gallery embeddings 9"):
        rank(contest, query, embedded(np.ascontiguousarray(vectors[:, 1:]), "gallery"))


def test_a_gallery_without_the_person_of_any_query_is_refused() -> None:
    query = Labels(np.array([1]), np.array([3]), np.array([0]))
    gallery = Labels(np.array([2]), np.array([1]), np.array([1]))
    contest = sysu_mm01(query, gallery, search="all", shots=1, permutations=None, trials=2)
    one = embedded(np.ones((1, 2), dtype=np.float32), "query")
    with pytest.raises(ProtocolError, match="no query has its person in the gallery of trial 1"):
        rank(contest, one, one)
