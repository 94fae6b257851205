"""What the renderer writes, the readers of the real data sets read."""

from collections import Counter
from pathlib import Path

from model.config import Modality
from training.datasets.regdb import available_splits, read_regdb
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.synthetic.write import synthesize


def test_the_sysu_reader_finds_every_crop_with_its_person_camera_and_modality(
    tmp_path: Path,
) -> None:
    out = tmp_path / "sysu"
    synthesize(out, layout="sysu-mm01", persons=6, seed=2, images_per_camera=2, test_persons=3)
    dataset = read_sysu_mm01(out)
    samples = [*dataset.train, *dataset.validation, *dataset.test]
    assert Counter(sample.person_id for sample in samples) == dict.fromkeys(range(1, 7), 12)
    assert Counter(sample.camera_id for sample in samples) == dict.fromkeys(range(1, 7), 12)
    infrared = {s.camera_id for s in samples if s.modality is Modality.INFRARED}
    assert infrared == {3, 6}
    assert len({sample.person_id for sample in dataset.test}) == 3
    assert all(sample.path.is_file() for sample in samples)


def test_the_sysu_reader_takes_a_set_where_everybody_is_tested(tmp_path: Path) -> None:
    out = tmp_path / "sysu"
    synthesize(out, layout="sysu-mm01", persons=2, seed=2, images_per_camera=1, test_persons=2)
    dataset = read_sysu_mm01(out)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (0, 0, 12)


def test_the_regdb_reader_finds_ten_splits_of_ten_and_ten_crops(tmp_path: Path) -> None:
    out = tmp_path / "regdb"
    synthesize(out, layout="regdb", persons=4, seed=2)
    assert available_splits(out) == list(range(1, 11))
    dataset = read_regdb(out, split=7)
    assert Counter((s.person_id, s.modality) for s in dataset.test) == {
        (label, modality): 10 for label in (0, 1) for modality in Modality
    }
    assert len(dataset.train) + len(dataset.validation) == 2 * 20
