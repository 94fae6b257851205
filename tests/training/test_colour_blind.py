"""Weights without colour vision answer a coloured image as its grey one."""

import torch
from torch import nn

from model.preprocessing import PreprocessingConfig
from training.augmentation import decoloured, normalise
from training.colour_blind import fold_luminance


def _stem() -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=3, bias=False)
    norm = nn.BatchNorm2d(8).eval()
    assert norm.running_mean is not None
    norm.running_mean.normal_()
    return convolution, norm


@torch.no_grad()
def _answers(preprocessing: PreprocessingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """What the stem says to grey images, and what the folded stem says to the coloured ones."""
    convolution, norm = _stem()
    pixels = torch.randint(0, 256, (4, 32, 24, 3), dtype=torch.uint8)
    grey = norm(convolution(normalise(decoloured(pixels), preprocessing)))
    assert norm.running_mean is not None
    weight, mean = fold_luminance(convolution.weight, norm.running_mean, preprocessing)
    convolution.weight.copy_(weight)
    norm.running_mean.copy_(mean)
    return grey, norm(convolution(normalise(pixels, preprocessing)))


def test_a_coloured_image_is_answered_as_its_grey_one_inside_the_image() -> None:
    grey, coloured = _answers(PreprocessingConfig())
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    # Grey is rounded to whole levels: half a level of 255, summed over a 7x7 kernel.
    torch.testing.assert_close(coloured[inside], grey[inside], atol=2e-2, rtol=0)


def test_with_one_mean_and_std_for_all_channels_the_border_agrees_too() -> None:
    grey, coloured = _answers(PreprocessingConfig(mean=(0.45,) * 3, std=(0.225,) * 3))
    torch.testing.assert_close(coloured, grey, atol=2e-2, rtol=0)


def test_grey_is_that_of_pillow() -> None:
    from PIL import Image

    pixels = torch.randint(0, 256, (1, 9, 7, 3), dtype=torch.uint8)
    expected = torch.tensor(list(Image.fromarray(pixels[0].numpy()).convert("L").tobytes()))
    found = decoloured(pixels)[0, ..., 1].flatten().long()
    assert (found - expected).abs().max() <= 1


def test_grey_weights_stay_as_they_are_when_folded_twice() -> None:
    convolution, norm = _stem()
    assert norm.running_mean is not None
    once = fold_luminance(convolution.weight.detach(), norm.running_mean, PreprocessingConfig())
    twice = fold_luminance(*once, PreprocessingConfig())
    torch.testing.assert_close(twice[0], once[0])
    torch.testing.assert_close(twice[1], once[1])
