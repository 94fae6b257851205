"""Candidates by position against NumPy, across chunks, with masks; recall at full dimension."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.index.first_stage import FirstStage
from gallery_index.index.quantizer_choice import choose, finer
from gallery_index.index.quantizers import ExactFp16, Quantizer
from tests.gallery_index.embeddings import flat, structured

DIM = 96
FULL = 14_336


def _kinds(sample: NDArray[np.float16]) -> list[Quantizer]:
    rungs: list[Quantizer] = [choose(sample, 100_000)]
    while (following := finer(rungs[-1], sample)) is not None:
        rungs.append(following)
    return rungs


def _stage(rows: NDArray[np.float16], chunk: int = 64) -> FirstStage:
    stage = FirstStage(ExactFp16(rows.shape[1]), chunk)
    stage.add(rows)
    return stage


def _exact(rows: NDArray[np.float16], query: NDArray[np.float32]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = rows.astype(np.float64) @ query.astype(np.float64)
    return scores


def test_candidates_over_several_chunks_are_numpys_best_in_order() -> None:
    rows = structured(333, DIM)
    query = structured(1, DIM, seed=1)[0].astype(np.float32)
    positions, estimates = _stage(rows).candidates(query, 50)
    scores = _exact(rows, query)
    assert positions.tolist() == np.argsort(-scores, kind="stable")[:50].tolist()
    assert np.allclose(estimates, scores[positions], atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_candidates_come_from_the_mask_alone(share: float) -> None:
    rows = structured(333, DIM)
    query = structured(1, DIM, seed=1)[0].astype(np.float32)
    for quantizer in _kinds(structured(2000, DIM)):
        mask = np.random.default_rng(2).random(333) < share
        mask[128:192] = False
        stage = FirstStage(quantizer, 64)
        stage.add(rows)
        positions, _ = stage.candidates(query, 333, mask)
        assert sorted(positions.tolist()) == np.flatnonzero(mask).tolist(), quantizer.kind


def test_an_empty_mask_and_an_empty_stage_have_no_candidates() -> None:
    query = structured(1, DIM)[0].astype(np.float32)
    assert _stage(structured(100, DIM)).candidates(query, 5, np.zeros(100, bool))[0].size == 0
    assert FirstStage(ExactFp16(DIM)).candidates(query, 5)[0].size == 0


def test_a_mask_of_another_length_is_refused() -> None:
    query = structured(1, DIM)[0].astype(np.float32)
    with pytest.raises(ValueError, match="mask of 10 positions"):
        _stage(structured(10, DIM)).candidates(query, 5, np.ones(9, bool))


def test_several_queries_are_answered_as_each_alone() -> None:
    stage, queries = _stage(structured(333, DIM)), structured(7, DIM, seed=4).astype(np.float32)
    together, _ = stage.candidates_of(queries, 20)
    assert together.tolist() == [stage.candidates(query, 20)[0].tolist() for query in queries]


def test_rows_added_in_any_pieces_have_the_same_codes() -> None:
    rows = structured(200, DIM)
    pieces = FirstStage(ExactFp16(DIM), 64)
    for part in np.split(rows, [1, 60, 64, 70, 199]):
        pieces.add(part)
    assert len(pieces) == 200
    assert np.array_equal(pieces.codes(0, 200), _stage(rows).codes(0, 200))
    assert np.array_equal(pieces.codes(60, 70), rows[60:70].view(np.uint8))
    assert pieces.bytes_used == 200 * 2 * DIM


def test_erased_codes_are_zero_in_the_memory_that_is_searched() -> None:
    rows = structured(200, DIM)
    stage = _stage(rows)
    stage.erase(np.array([3, 64, 199]))
    codes = stage.codes(0, 200)
    assert np.flatnonzero(~codes.any(axis=1)).tolist() == [3, 64, 199]
    positions, estimates = stage.candidates(rows[64].astype(np.float32), 200)
    assert set(estimates[np.isin(positions, [3, 64, 199])].tolist()) == {0.0}


def test_what_is_kept_answers_without_the_rest() -> None:
    rows = structured(300, DIM)
    keep = np.flatnonzero(np.arange(300) % 3 != 0)
    query = structured(1, DIM, seed=1)[0].astype(np.float32)
    kept = _stage(rows).kept(keep)
    alone = _stage(rows[keep])
    assert np.array_equal(kept.codes(0, 200), alone.codes(0, 200))
    assert kept.candidates(query, 9)[0].tolist() == alone.candidates(query, 9)[0].tolist()


def test_codes_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="expected codes of 192 bytes"):
        FirstStage(ExactFp16(DIM)).add_codes(np.zeros((2, 5), np.uint8))


def test_searches_beside_one_another_answer_as_alone() -> None:
    stage, queries = _stage(structured(500, DIM)), structured(64, DIM, seed=4).astype(np.float32)
    alone = [stage.candidates(query, 30)[0].tolist() for query in queries]
    with ThreadPoolExecutor(8) as clients:
        together = clients.map(lambda query: stage.candidates(query, 30)[0].tolist(), queries)
        assert list(together) == alone


@pytest.mark.parametrize("make", [structured, flat], ids=["structured", "flat"])
def test_every_kind_of_index_keeps_its_recall_at_full_dimension(
    make: Callable[[int, int], NDArray[np.float16]],
) -> None:
    """FAISS FastScan falls to a tenth here without an error: none may be in use."""
    rows = make(1600, FULL)
    centres = rows[:40].astype(np.float32)
    noise = flat(40, FULL, seed=6).astype(np.float32)
    queries = centres + 0.3 * noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.argsort(-(queries @ rows.astype(np.float32).T), axis=1)
    for quantizer in _kinds(rows):
        stage = FirstStage(quantizer)
        stage.add(rows)
        assert "FastScan" not in type(quantizer.new_index()).__name__
        assert not isinstance(quantizer.new_index(), faiss.IndexFastScan)
        found, _ = stage.candidates_of(queries, 100)
        assert (found[:, 0] == best[:, 0]).mean() == 1, quantizer.kind
