"""What a model must beat, measured by the same protocol."""

from pathlib import Path

import numpy as np
import pytest

from model.config import Modality
from tests.training.layouts import write_crop, write_sysu
from training.baselines import Embed, chance, grey_histograms, raw_pixels
from training.comparison import figure_blocks, text_table
from training.datasets.sample import Dataset, Sample
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.errors import DatasetError
from training.evaluation import EvaluationRow, contests, evaluate
from training.protocols.embedded import normalised


def _samples(root: Path, levels: list[int]) -> list[Sample]:
    samples = []
    for number, level in enumerate(levels):
        path = root / f"{number}.png"
        write_crop(path, level)
        samples.append(Sample(path, number, 1, Modality.VISIBLE))
    return samples


def _row(dataset: Dataset, name: str, embed: Embed, trials: int) -> EvaluationRow:
    (contest,) = contests(dataset, trials=trials)
    (row,) = evaluate(contest, embed(dataset.test), name)
    return row


def test_histograms_tell_grey_levels_apart_by_their_bins(tmp_path: Path) -> None:
    vectors = grey_histograms(_samples(tmp_path, [0, 1, 200]))
    np.testing.assert_allclose(vectors @ vectors.T, [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-6)
    assert vectors[0, 0] == 1  # level 0 lies in the first of 64 bins


def test_raw_pixels_do_not_depend_on_brightness(tmp_path: Path) -> None:
    assert np.abs(raw_pixels(_samples(tmp_path, [10, 200]))).max() < 1e-3


def test_chance_finds_one_person_in_ten(tmp_path: Path) -> None:
    dataset = read_sysu_mm01(write_sysu(tmp_path, train=[], test=range(1, 11), images=4))
    row = _row(dataset, "chance", chance, trials=10)
    assert row.queries == 10 * 2 * 4
    assert row.mean.rank1 == pytest.approx(10, abs=6)
    assert row.mean.rank10 == 100


def test_a_broken_test_image_is_named(tmp_path: Path) -> None:
    dataset = read_sysu_mm01(write_sysu(tmp_path, train=[], test=[1, 2]))
    broken = dataset.test[3].path
    broken.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DatasetError, match=f"1 unreadable image: {broken}"):
        _row(dataset, "raw", raw_pixels, trials=1)


def test_a_dataset_without_test_persons_is_refused(tmp_path: Path) -> None:
    dataset = read_sysu_mm01(write_sysu(tmp_path, train=[1], test=[]))
    with pytest.raises(DatasetError, match="the test split is empty"):
        contests(dataset)


def test_the_table_names_protocol_sampling_and_method(tmp_path: Path) -> None:
    dataset = read_sysu_mm01(write_sysu(tmp_path, train=[], test=[100, 200]))
    rows = [_row(dataset, name, grey_histograms, trials=2) for name in ("one", "other")]
    blocks = figure_blocks(rows, with_published=False)
    title, heading, one, shared, other = text_table(blocks).splitlines()
    assert title == "SYSU-MM01 all search, 1-shot, plain"
    assert heading.split() == ["rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]
    assert shared == "  8 queries; gallery by seeded choice; cosine; mean of 2 trials"
    assert [line.split()[:2] for line in (one, other)] == [["one", "100.00"], ["other", "100.00"]]


def test_lengths_are_divided_out() -> None:
    rows = normalised(np.array([[3, 4], [0, 0]], dtype=np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0]]), rtol=1e-6)
