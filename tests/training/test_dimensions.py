"""The dimension study: every row is what the protocol says of the shortened embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.config import Modality
from training.datasets.sample import Dataset, Sample
from training.dimensions import DimensionStudy, dimension_study
from training.errors import ProjectionError
from training.evaluation import DatasetContest, contests

PERSONS = 12
WIDTH = 24
SIGNAL = 4  # axes that tell persons apart; the others are noise


def people(persons: range, seed: int) -> NDArray[np.float32]:
    """An infrared and a visible embedding of each person, in that order, noisy off the signal."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 0.15, (2 * len(persons), WIDTH))
    rows[:, :SIGNAL] = np.repeat(rng.standard_normal((len(persons), SIGNAL)), 2, axis=0)
    return (rows + rng.normal(0, 0.05, rows.shape)).astype(np.float32)


@pytest.fixture
def entries() -> list[DatasetContest]:
    """Both directions of own cameras: an infrared and a visible image of each person."""
    samples = tuple(
        Sample(Path(f"{person}-{modality}.png"), person, camera, modality)
        for person in range(PERSONS)
        for camera, modality in ((1, Modality.INFRARED), (2, Modality.VISIBLE))
    )
    return contests(Dataset("manifest", Path(), (), (), samples))


def rank1_by_hand(
    rows: NDArray[np.float32], matrix: NDArray[np.float64], of_infrared: bool
) -> float:
    short = rows.astype(np.float64) @ matrix
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    query, gallery = (short[::2], short[1::2]) if of_infrared else (short[1::2], short[::2])
    nearest = (query @ gallery.T).argmax(axis=1)
    return 100 * float((nearest == np.arange(PERSONS)).mean())


def study(entries: list[DatasetContest], *dimensions: int) -> DimensionStudy:
    return dimension_study(
        entries, people(range(40), seed=1), people(range(PERSONS), seed=2), dimensions=dimensions
    )


def test_each_row_is_the_protocol_on_embeddings_cut_to_the_leading_singular_vectors(
    entries: list[DatasetContest],
) -> None:
    training, test = people(range(40), seed=1), people(range(PERSONS), seed=2)
    unit = training / np.linalg.norm(training, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(unit.astype(np.float64), full_matrices=False)
    rows = study(entries, 4, 2, 3).rows
    found = [(row.row.protocol, row.dimension, row.row.mean.rank1) for row in rows]
    expected = [
        (entry.contest.protocol, dimension, rank1_by_hand(test, matrix, of_infrared))
        for entry, of_infrared in zip(entries, (True, False), strict=True)
        for dimension, matrix in (
            *((d, right[:d].T) for d in (2, 3, 4)),
            (WIDTH, np.eye(WIDTH)),
        )
    ]
    assert found == expected
    assert len({rank1 for _, _, rank1 in found}) > 2  # the lengths do differ
    kept = np.cumsum(values**2) / len(training)
    assert [row.kept for row in rows[:4]] == pytest.approx([kept[1], kept[2], kept[3], 1.0])


def test_dimensions_beyond_the_embedding_or_its_training_are_left_out_by_name(
    entries: list[DatasetContest],
) -> None:
    test = people(range(PERSONS), seed=2)
    found = dimension_study(
        entries, people(range(5), seed=1), test, dimensions=(4, 10, 11, WIDTH, 512)
    )
    assert [row.dimension for row in found.rows] == [4, 10, WIDTH] * 2
    assert found.left_out == (
        "11 dimensions: 10 training embeddings span 10",
        "24 dimensions: the embedding has 24",
        "512 dimensions: the embedding has 24",
    )
    assert "\nleft out: 11 dimensions: 10 training embeddings span 10\n" in found.table()


def test_json_has_the_figures_and_the_bytes_of_a_vector(entries: list[DatasetContest]) -> None:
    found = study(entries, 4)
    plain = json.loads(json.dumps(found.as_json()))
    assert [row["dimension"] for row in plain["rows"]] == [4, WIDTH, 4, WIDTH]
    assert [row["vector_bytes"] for row in plain["rows"]] == [8, 48, 8, 48]  # fp16
    assert plain["rows"][0]["mAP"] == found.rows[0].row.mean.mAP
    assert plain["left_out"] == []


def test_table_has_a_block_a_protocol_and_a_line_a_dimension(entries: list[DatasetContest]) -> None:
    found = study(entries, 4)
    blocks = found.table().split("\n\n")
    assert len(blocks) == 2
    cells = [line.split() for line in blocks[0].splitlines()[2:]]
    mean = found.rows[0].row.mean
    assert cells[0][:2] == ["4", "8"]
    assert cells[0][3:] == [f"{mean.rank1:.2f}", f"{mean.mAP:.2f}", f"{mean.mINP:.2f}"]
    assert cells[1][:3] == ["24", "48", "100.0%"]


def test_a_dimension_below_1_is_refused(entries: list[DatasetContest]) -> None:
    with pytest.raises(ProjectionError, match="at least 1, got 0"):
        study(entries, 0, 4)


def test_without_training_embeddings_there_is_no_study(entries: list[DatasetContest]) -> None:
    with pytest.raises(ProjectionError, match=r"expected embeddings \(N, D\)"):
        dimension_study(entries, np.empty((0, WIDTH), np.float32), people(range(PERSONS), seed=2))
