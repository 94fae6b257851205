"""From a dataset's test split to rows that compare."""

from pathlib import Path

import numpy as np
import pytest

from model.config import Modality
from training.datasets.sample import Dataset, Sample
from training.errors import DatasetError
from training.evaluation import contests, evaluate, over_splits

PERSONS = (4, 7, 9)


def dataset(name: str, root: Path = Path("people")) -> Dataset:
    """Three persons, two images by each of cameras 1 and 2 (visible) and 3 (infrared)."""
    test = tuple(
        Sample(
            root / f"cam{camera}" / f"{person:04d}" / f"{number:04d}.jpg",
            person,
            camera,
            Modality.INFRARED if camera == 3 else Modality.VISIBLE,
        )
        for person in PERSONS
        for camera in (1, 2, 3)
        for number in (1, 2)
    )
    return Dataset(name, root, (), (), test)


@pytest.mark.parametrize(
    ("name", "protocols", "trials"),
    [
        ("sysu-mm01", ["SYSU-MM01 all search, 1-shot"], 10),
        ("regdb", ["RegDB thermal-to-visible", "RegDB visible-to-thermal"], 1),
        ("llcm", ["LLCM infrared-to-visible", "LLCM visible-to-infrared"], 10),
        (
            "manifest",
            ["cross-modality infrared-to-visible", "cross-modality visible-to-infrared"],
            1,
        ),
    ],
)
def test_each_dataset_holds_its_contests(name: str, protocols: list[str], trials: int) -> None:
    """Infrared queries first, and rows that lead back to the samples."""
    people = dataset(name)
    entries = contests(people)
    assert [entry.contest.protocol for entry in entries] == protocols
    for entry, modality in zip(entries, (Modality.INFRARED, Modality.VISIBLE), strict=False):
        queries = [people.test[row] for row in entry.query_rows]
        candidates = [people.test[row] for row in entry.gallery_rows]
        assert {sample.modality for sample in queries} == {modality}
        assert len(queries) + len(candidates) == len(people.test)
        assert not {sample.modality for sample in queries} & {s.modality for s in candidates}
        persons = [sample.person_id for sample in candidates]
        assert entry.contest.gallery.person_ids.tolist() == persons
        assert len(entry.contest.trials) == trials


def test_embeddings_that_tell_persons_apart_score_in_full() -> None:
    people = dataset("llcm")
    vectors = np.eye(10, dtype=np.float32)[[sample.person_id for sample in people.test]]
    for entry in contests(people, trials=2):
        plain, reranked, affine = evaluate(entry, vectors, "model", rerank=True, affinity=True)
        assert plain.mean.mAP == plain.mean.rank1 == plain.mean.mINP == 100
        assert plain.std.mAP == 0
        assert [row.variant.split()[0] for row in (plain, reranked, affine)] == [
            "plain",
            "re-ranked",
            "affinity",
        ]


def test_a_row_tells_everything_that_decides_whether_it_compares() -> None:
    people = dataset("regdb")
    vectors = np.random.default_rng(0).random((len(people.test), 5), dtype=np.float32)
    (row,) = evaluate(contests(people, measure="euclidean")[0], vectors, "model")
    told = row.as_json()
    assert told["measure"] == "euclidean"
    assert told["variant"] == "plain"
    assert told["queries"] == 6
    assert told["mAP"] == row.trials[0].mAP
    assert told["cmc"][0] == pytest.approx(told["rank1"])
    assert len(told["cmc"]) == len(PERSONS)


def test_splits_become_the_trials_of_one_row() -> None:
    people = dataset("regdb")
    rows = []
    for seed in (1, 2):
        vectors = np.random.default_rng(seed).random((len(people.test), 5), dtype=np.float32)
        rows += evaluate(contests(people)[0], vectors, "model")
    merged = over_splits(rows, "mean of splits 1 and 2")
    assert merged.protocol == "RegDB thermal-to-visible, mean of splits 1 and 2"
    assert merged.mean.mAP == pytest.approx((rows[0].mean.mAP + rows[1].mean.mAP) / 2)
    assert merged.queries == 12
    assert merged.cmc[0] == pytest.approx(merged.mean.rank1)


def test_published_sampling_needs_the_permutations(tmp_path: Path) -> None:
    people = dataset("sysu-mm01", tmp_path)
    assert contests(people)[0].contest.sampling == "seeded choice"
    with pytest.raises(DatasetError, match=r"rand_perm_cam\.mat: no such file"):
        contests(people, sampling="published")


def test_a_test_split_of_one_modality_is_refused() -> None:
    people = dataset("manifest")
    visible = tuple(sample for sample in people.test if sample.modality is Modality.VISIBLE)
    with pytest.raises(DatasetError, match="the test split has only visible images"):
        contests(Dataset("manifest", people.root, (), (), visible))
