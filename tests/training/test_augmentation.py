"""Augmentation of batches: what it may change, and from what its randomness comes."""

import numpy as np
import torch
from torch import Tensor

from model.preprocessing import PreprocessingConfig
from training.augmentation import augment, normalise
from training.recipe import AugmentationConfig

NONE = AugmentationConfig(flip=0, pad=0, erase=0)
PLAIN = PreprocessingConfig(mean=(0, 0, 0), std=(1, 1, 1))


def _pixels(count: int = 64, height: int = 24, width: int = 12) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def _augment(pixels: Tensor, config: AugmentationConfig, seed: int = 0) -> Tensor:
    infrared = torch.arange(len(pixels)) % 2 == 1
    return augment(pixels, infrared, config, PLAIN, torch.Generator().manual_seed(seed))


def test_without_augmentation_only_normalisation_is_left() -> None:
    pixels = _pixels()
    torch.testing.assert_close(_augment(pixels, NONE), normalise(pixels, PLAIN))


def test_the_generator_alone_decides() -> None:
    config = AugmentationConfig(visible_mix=0.5, contrast=0.3, brightness=0.2, gamma=0.3, noise=0.1)
    torch.testing.assert_close(_augment(_pixels(), config, 5), _augment(_pixels(), config, 5))
    assert not torch.equal(_augment(_pixels(), config, 5), _augment(_pixels(), config, 6))


def test_a_certain_flip_mirrors_every_image() -> None:
    pixels = _pixels()
    flipped = _augment(pixels, NONE.model_copy(update={"flip": 1.0}))
    torch.testing.assert_close(flipped, normalise(pixels, PLAIN).flip(3))


def test_a_shift_moves_pixels_by_at_most_the_padding_and_fills_with_mid_grey() -> None:
    pixels = _pixels()
    moved = _augment(pixels, NONE.model_copy(update={"pad": 3}))
    grey = torch.full((64, 3, 30, 18), 127 / 255)
    grey[:, :, 3:27, 3:15] = normalise(pixels, PLAIN)
    windows = grey.unfold(2, 24, 1).unfold(3, 12, 1)  # (64, 3, 7, 7, 24, 12)
    matches = (windows - moved[:, :, None, None]).abs().amax(dim=(1, 4, 5)) < 1e-6
    assert matches.flatten(1).any(1).all()
    assert len({tuple(place) for place in matches.nonzero()[:, 1:].tolist()}) > 10


def test_recolouring_makes_visible_images_grey_and_leaves_infrared_alone() -> None:
    pixels = _pixels()
    config = NONE.model_copy(
        update={"visible_grey": 0.3, "visible_channel": 0.3, "visible_mix": 0.4}
    )
    images = _augment(pixels, config)
    torch.testing.assert_close(images[1::2], normalise(pixels, PLAIN)[1::2])
    visible = images[0::2]
    torch.testing.assert_close(visible[:, 0], visible[:, 1])
    torch.testing.assert_close(visible[:, 0], visible[:, 2])


def test_a_random_channel_is_one_of_the_three() -> None:
    pixels = _pixels()
    images = _augment(pixels, NONE.model_copy(update={"visible_channel": 1.0}))
    channels = normalise(pixels, PLAIN)[0::2]
    distance = (channels - images[0::2, :1]).abs().amax(dim=(2, 3))
    assert (distance.amin(dim=1) < 1e-6).all()
    assert len(set(distance.argmin(dim=1).tolist())) == 3


def test_erasing_clears_a_rectangle_within_the_configured_area() -> None:
    pixels = torch.full((64, 40, 20, 3), 200, dtype=torch.uint8)
    images = _augment(pixels, NONE.model_copy(update={"erase": 1.0, "erase_area": (0.1, 0.3)}))
    holes = images[:, 0] == 0
    area = holes.float().mean(dim=(1, 2))
    assert (area > 0.05).all()
    assert (area < 0.35).all()
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(rows * columns, holes.sum(dim=(1, 2)))


def test_values_stay_within_the_range_of_an_image() -> None:
    config = NONE.model_copy(
        update={"contrast": 0.9, "brightness": 0.9, "gamma": 0.9, "noise": 0.5}
    )
    images = _augment(_pixels(), config)
    assert images.min() >= 0
    assert images.max() <= 1
