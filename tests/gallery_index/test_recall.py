"""Recall measured in one pass against answers with known gaps."""

import numpy as np
from numpy.typing import NDArray

from gallery_index.index.recall import Block, ExactTop, Probe, draw_probes, measure_recall
from tests.gallery_index.embeddings import structured

ROWS = structured(300, 64)
SIMILARITIES = ROWS.astype(np.float64) @ ROWS.T.astype(np.float64)
GROUPS = (np.arange(300) % 3 == 0).astype(np.int8)


def _blocks() -> list[Block]:
    return [(np.arange(s, min(s + 37, 300)), ROWS[s : s + 37]) for s in range(0, 300, 37)]


def _exact(probe: Probe, k: int) -> NDArray[np.int64]:
    scores = ROWS.astype(np.float64) @ probe.vector.astype(np.float64)
    if probe.group is not None:
        scores[probe.group != GROUPS] = -9
    return np.argsort(-scores, kind="stable")[:k]


def test_the_running_best_is_the_best_of_all_blocks() -> None:
    top = ExactTop(ROWS[:20].astype(np.float32), 10)
    for positions, vectors in _blocks():
        top.feed(positions, vectors)
    expected = np.argsort(-SIMILARITIES[:20], axis=1, kind="stable")[:, :10]
    assert top.positions.tolist() == expected.tolist()


def test_the_exact_answer_has_full_recall_with_and_without_groups() -> None:
    probes = draw_probes(ROWS[:20], GROUPS[:20])
    assert measure_recall(probes, _blocks(), _exact, groups=GROUPS) == 1.0
    assert measure_recall(draw_probes(ROWS[:20]), _blocks(), _exact) == 1.0


def test_every_second_probe_is_restricted_to_the_other_group() -> None:
    probes = draw_probes(ROWS[:4], np.array([0, 0, 1, 1], np.int8))
    assert [probe.group for probe in probes] == [None, 1, None, 0]
    alone = draw_probes(ROWS[:4], np.zeros(4, np.int8))
    assert [probe.group for probe in alone] == [None] * 4


def test_answers_that_miss_three_of_ten_have_recall_of_seven_tenths() -> None:
    def gaps(probe: Probe, k: int) -> NDArray[np.int64]:
        return np.delete(_exact(probe, k + 3), [0, 4, 8])

    assert measure_recall(draw_probes(ROWS[:30]), _blocks(), gaps) == 0.7


def test_an_entry_of_the_wrong_group_is_no_hit() -> None:
    probes = [Probe(ROWS[0].astype(np.float32), 1)]

    def anywhere(probe: Probe, k: int) -> NDArray[np.int64]:
        return _exact(Probe(probe.vector, None), k)

    right = np.isin(anywhere(probes[0], 10), _exact(probes[0], 10)).mean()
    assert right < 1
    assert measure_recall(probes, _blocks(), anywhere, groups=GROUPS) == right


def test_an_equally_similar_entry_in_the_place_of_another_is_a_hit() -> None:
    rows = np.repeat(ROWS[:1], 20, axis=0)
    blocks: list[Block] = [(np.arange(20), rows)]
    answer = np.arange(10, 20)
    assert measure_recall(draw_probes(rows[:1]), blocks, lambda probe, k: answer[:k]) == 1.0


def test_a_gallery_of_three_is_measured_on_three() -> None:
    blocks: list[Block] = [(np.arange(3), ROWS[:3])]
    two = np.array([0, 1])
    probes = [Probe(ROWS[0].astype(np.float32), None)]
    assert measure_recall(probes, blocks, lambda probe, k: two) == 2 / 3
    assert measure_recall([], blocks, lambda probe, k: two) == 1.0
