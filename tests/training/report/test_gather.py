"""From a dataset on disk and its embeddings to ranked lists, histograms, curves and patterns."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.config import Modality
from tests.training.layouts import write_sysu
from training.datasets.sample import Dataset, Sample
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.evaluation import DatasetContest, EvaluationRow, contests
from training.metrics import Figures
from training.report.build import build_report
from training.report.content import Header
from training.report.gather import Subject, gather, match_plots, rank_first_gallery
from training.report.patterns import block_products, compare_patterns

PATTERNS, CHANNELS = 2, 4


def maps(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Pattern 1 sees everything, pattern 2 nothing."""
    found = np.zeros((len(samples), PATTERNS, 2, 1), np.float32)
    found[:, 0] = 1
    return found


def embedded(dataset: Dataset) -> NDArray[np.float32]:
    """Unit vectors near a direction of the person, with noise of the image."""
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((10, (PATTERNS + 1) * CHANNELS))
    vectors = np.stack([directions[sample.person_id] for sample in dataset.test])
    vectors += 1.5 * rng.standard_normal(vectors.shape)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five persons, two images by each of six cameras."""
    root = tmp_path_factory.mktemp("people")
    return read_sysu_mm01(write_sysu(root, train=[], test=range(1, 6)))


@pytest.fixture(scope="module")
def entry(dataset: Dataset) -> DatasetContest:
    """All search, one shot."""
    return contests(dataset, trials=2)[0]


def test_rankings_are_those_of_the_first_gallery_without_what_the_protocol_skips(
    dataset: Dataset, entry: DatasetContest
) -> None:
    vectors = embedded(dataset)
    best, worst = rank_first_gallery(entry, vectors)
    gallery = entry.gallery_rows[entry.contest.trials[0]]
    assert len(best) + len(worst) == 20
    for ranking in (*best, *worst):
        query = dataset.test[ranking.query]
        seen = [
            int(row)
            for row in gallery
            if not (query.camera_id == 3 and dataset.test[row].camera_id == 2)
        ]
        order = sorted(seen, key=lambda row: -float(vectors[ranking.query] @ vectors[row]))
        assert ranking.entries.tolist() == order[:10]
        right = [dataset.test[row].person_id == query.person_id for row in order]
        assert ranking.right.tolist() == right[:10]
        assert ranking.first_right == right.index(True) + 1
        assert query.modality is Modality.INFRARED


def test_block_products_add_up_to_the_similarity() -> None:
    vectors = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    assert block_products(vectors, 2) == [5 + 12, 21 + 32]


def test_patterns_are_laid_over_query_and_match(dataset: Dataset) -> None:
    vectors = embedded(dataset)
    (found,) = compare_patterns(dataset, [(0, 7)], vectors, maps, projected=False)
    products = vectors[0].astype(float) * vectors[7].astype(float)
    shares = [products[start : start + CHANNELS].sum() for start in (0, 4, 8)]
    assert [panel.contribution for panel in found.panels] == pytest.approx(shares[:2], abs=1e-6)
    assert found.whole_crop == pytest.approx(shares[2], abs=1e-6)
    assert found.similarity == pytest.approx(sum(shares), abs=1e-6)
    assert found.right is (dataset.test[0].person_id == dataset.test[7].person_id)
    seen, unseen = (
        np.asarray(Image.open(BytesIO(panel.query_jpeg)), dtype=int) for panel in found.panels
    )
    person = dataset.test[0].person_id  # crops are of one grey level: the person's number
    assert abs(unseen - person).max() <= 2
    assert (seen[..., 0] > 180).all()


def test_a_projected_embedding_has_no_shares(dataset: Dataset) -> None:
    (found,) = compare_patterns(dataset, [(0, 7)], embedded(dataset), maps, projected=True)
    assert found.whole_crop is None
    assert [panel.contribution for panel in found.panels] == [None, None]


def test_a_network_without_patterns_compares_none(dataset: Dataset) -> None:
    def nothing(samples: Sequence[Sample]) -> NDArray[np.float32]:
        return np.empty((len(samples), 0, 2, 1), np.float32)

    assert compare_patterns(dataset, [(0, 7)], embedded(dataset), nothing, projected=False) == []


def row(method: str, variant: str, cmc: tuple[float, ...]) -> EvaluationRow:
    return EvaluationRow(method, "P", "s", "cosine", variant, 8, (Figures(*[50.0] * 6),), cmc)


def test_curves_are_the_models_one_for_each_variant() -> None:
    plots = match_plots(
        [
            row("model", "plain", (50.0, 100.0)),
            row("model", "affinity", (60.0, 100.0)),
            row("chance", "plain", (20.0, 100.0)),
        ]
    )
    assert [(plot.protocol, [curve.name for curve in plot.curves]) for plot in plots] == [
        ("P", ["plain", "affinity"])
    ]
    assert plots[0].curves[1].percent == (60.0, 100.0)


def test_a_report_of_a_dataset_is_the_same_twice_and_names_files_below_its_folder(
    dataset: Dataset, entry: DatasetContest
) -> None:
    subject = Subject(dataset, entry, embedded(dataset), maps, projected=False)
    header = Header("id", "sysu-mm01", "people", "cpu, fp32", "today")
    first, second = (
        build_report(gather(header, [row("model", "plain", (50.0, 100.0))], [], subject))
        for _ in range(2)
    )
    assert first == second
    assert 'title="cam3/000' in first
    assert str(Path(dataset.root)) not in first
