"""From files to batches: one report of everything wrong, and what a batch holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.layouts import write_sysu
from training.data import batches, load_training_data
from training.datasets.sysu_mm01 import read_sysu_mm01, survey_sysu_mm01
from training.errors import DatasetError
from training.recipe import TrainingConfig


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sysu(tmp_path / "sysu", train=[10, 90, 170], val=[200], test=[250])


def test_a_batch_holds_the_pixels_labels_and_modalities_of_its_rows(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    data = load_training_data(read_sysu_mm01(root), tiny_recipe)
    for batch in batches(data.train, tiny_recipe, seed=0):
        assert batch.pixels.shape == (8, 32, 32, 3)
        persons = torch.tensor([10, 90, 170])[batch.labels]
        # The crops of a person are of the grey level of her id; JPEG moves it a little.
        levels = batch.pixels.float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(levels, persons.float(), atol=2, rtol=0)
        assert int(batch.infrared.sum()) == 4


def test_one_report_names_broken_images_and_persons_without_infrared(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    broken = root / "cam1" / "0090" / "0002.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    (root / "cam2" / "0200" / "0001.jpg").write_bytes(b"")
    for camera in (3, 6):
        for image in (root / f"cam{camera}" / "0010").iterdir():
            image.unlink()
    with pytest.raises(DatasetError) as caught:
        load_training_data(read_sysu_mm01(root), tiny_recipe)
    message = str(caught.value)
    assert "1 identity without an infrared image: id 10 (" in message
    assert f"2 unreadable images: {broken} (" in message
    assert "cam2/0200/0001.jpg" in message
    assert "\n" not in message


def test_what_the_reader_found_is_in_the_same_report(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    (root / "exp" / "train_id.txt").write_text("10,90,170,171")
    (root / "cam2" / "0200" / "0001.jpg").write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        load_training_data(survey_sysu_mm01(root), tiny_recipe)
    assert "1 train id without any image: 171; 1 unreadable image: " in str(caught.value)


def test_a_recipe_may_drop_persons_without_one_modality(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    for camera in (3, 6):
        for image in (root / f"cam{camera}" / "0010").iterdir():
            image.unlink()
    config = tiny_recipe.model_copy(update={"drop_incomplete_identities": True})
    data = load_training_data(read_sysu_mm01(root), config)
    assert (data.identities, data.report.left_out) == (2, 1)
    assert set(data.train.person_ids.tolist()) == {90, 170}


def test_a_recipe_may_train_on_the_validation_persons_too(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    config = tiny_recipe.model_copy(update={"train_on_validation": True})
    data = load_training_data(read_sysu_mm01(root), config)
    assert set(data.train.person_ids.tolist()) == {10, 90, 170, 200}


def test_a_dataset_without_training_persons_is_refused(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    dataset = replace(read_sysu_mm01(root), train=())
    with pytest.raises(DatasetError, match="the train split is empty"):
        load_training_data(dataset, tiny_recipe)


def test_processes_that_share_their_pixels_train_on_the_same(
    root: Path, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    alone = load_training_data(read_sysu_mm01(root), tiny_recipe)
    for _ in range(2):
        data = load_training_data(read_sysu_mm01(root), tiny_recipe, shared=tmp_path / "shared")
        np.testing.assert_array_equal(data.train.pixels, alone.train.pixels)
        np.testing.assert_array_equal(data.validation.pixels, alone.validation.pixels)
        first, again = (
            next(iter(batches(split, tiny_recipe, seed=0))) for split in (alone.train, data.train)
        )
        torch.testing.assert_close(first.pixels, again.pixels)


def test_ranks_show_together_what_one_process_would(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    split = load_training_data(read_sysu_mm01(root), tiny_recipe).train
    alone = [batch.labels.tolist() for batch in batches(split, tiny_recipe, seed=0)]
    shares = [
        [b.labels.tolist() for b in batches(split, tiny_recipe, 0, rank=rank, world_size=2)]
        for rank in range(2)
    ]
    together = [labels for step in zip(*shares, strict=True) for labels in step]
    assert together[: len(alone)] == alone


@pytest.mark.parametrize("sampling", ["balanced", "reference"])
def test_the_recipe_names_the_sampling(
    root: Path, tiny_recipe: TrainingConfig, sampling: str
) -> None:
    batch = tiny_recipe.batch.model_copy(update={"sampling": sampling})
    config = tiny_recipe.model_copy(update={"batch": batch})
    split = load_training_data(read_sysu_mm01(root), config).train
    # 3 persons of 4 infrared images: 2 visits each. Two at a time that is 3 batches; the
    # reference stops when one person is left, after 2 or 3.
    lengths = set()
    for seed in range(8):
        loader = batches(split, config, seed)
        lengths.add(len(loader))
        assert len(list(loader)) == len(loader)
    assert lengths == ({3} if sampling == "balanced" else {2, 3})


def test_images_are_resized_as_serving_resizes_them(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    from model.preprocessing import read_image, to_input
    from training.augmentation import normalise

    dataset = read_sysu_mm01(root)
    data = load_training_data(dataset, tiny_recipe)
    ours = normalise(torch.from_numpy(data.train.pixels[:1]), tiny_recipe.preprocessing)
    served = to_input(
        read_image(dataset.train[0].path.read_bytes()), (32, 32), tiny_recipe.preprocessing
    )
    np.testing.assert_allclose(ours[0].numpy(), served, atol=1e-5)
