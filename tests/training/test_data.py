"""From files to batches: one report of everything wrong, and what a batch holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.layouts import write_sysu
from training.data import batches, load_training_data
from training.datasets.sysu_mm01 import read_sysu_mm01
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
    assert "1 identities without an infrared image: id 10 (" in message
    assert f"1 unreadable images: {broken} (" in message
    assert "cam2/0200/0001.jpg" in message


def test_a_recipe_may_drop_persons_without_one_modality(
    root: Path, tiny_recipe: TrainingConfig
) -> None:
    for camera in (3, 6):
        for image in (root / f"cam{camera}" / "0010").iterdir():
            image.unlink()
    config = tiny_recipe.model_copy(update={"drop_incomplete_identities": True})
    data = load_training_data(read_sysu_mm01(root), config)
    assert (data.identities, data.left_out) == (2, 1)
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
