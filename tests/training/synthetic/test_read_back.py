"""What the renderer writes, the readers of the real data sets read."""

from collections import Counter
from pathlib import Path

import pytest

from model.config import Modality
from training.datasets.checks import check_names
from training.datasets.llcm import read_llcm
from training.datasets.manifest import read_manifest
from training.datasets.pixels import unreadable_images
from training.datasets.readers import DatasetName, survey_dataset
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


def test_the_llcm_reader_finds_seventeen_cameras_and_the_test_persons_apart(
    tmp_path: Path,
) -> None:
    out = tmp_path / "llcm"
    synthesize(out, layout="llcm", persons=4, seed=2, images_per_camera=2, test_persons=1)
    dataset = read_llcm(out)
    assert Counter((s.person_id, s.modality) for s in dataset.train) == {
        (label, modality): 2 * cameras
        for label in (0, 1, 2)
        for modality, cameras in ((Modality.VISIBLE, 9), (Modality.INFRARED, 8))
    }
    seen = {(s.camera_id, s.modality) for s in dataset.test}
    assert seen == {(s.camera_id, s.modality) for s in dataset.train}
    assert len(seen) == 17
    assert (3, Modality.INFRARED) not in seen
    [tested] = {s.person_id for s in dataset.test}
    folders = {int(s.path.parent.name) for s in dataset.train}
    assert folders == {1, 2, 3, 4} - {tested}


def test_the_manifest_reader_finds_own_cameras(tmp_path: Path) -> None:
    out = tmp_path / "own"
    synthesize(out, layout="manifest", persons=6, seed=2, images_per_camera=1, test_persons=2)
    dataset = read_manifest(out)
    samples = [*dataset.train, *dataset.validation, *dataset.test]
    assert len(samples) == 6 * 6 == len(list(out.rglob("*.jpg")))
    infrared = {s.path.parent.name for s in samples if s.modality is Modality.INFRARED}
    assert infrared == {"gate-night", "yard-night"}
    assert [len({s.person_id for s in part}) for part in (dataset.validation, dataset.test)] == [
        1,
        2,
    ]


@pytest.mark.parametrize("layout", ["sysu-mm01", "regdb", "llcm", "manifest"])
def test_every_layout_is_sound_and_decodes(tmp_path: Path, layout: DatasetName) -> None:
    out = tmp_path / "people"
    synthesize(out, layout=layout, persons=12, seed=3, images_per_camera=1, test_persons=1)
    report = check_names(survey_dataset(layout, out))
    assert report.errors == ()
    assert report.remarks == ()
    dataset = report.dataset
    assert unreadable_images([*dataset.train, *dataset.validation, *dataset.test]) == []


def test_crops_of_the_cameras_at_one_place_differ(tmp_path: Path) -> None:
    out = tmp_path / "llcm"
    synthesize(out, layout="llcm", persons=1, seed=2, test_persons=1)
    crops = {sample.path.read_bytes() for sample in read_llcm(out).test}
    assert len(crops) == 17
