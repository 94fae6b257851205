"""Augmentation of a whole batch at once, on the device that trains, from one generator.

Works on bytes (N, H, W, 3) and returns normalised input. One gather, one mask and a few
multiplications a batch: no per-image Python, so two cores never wait for it.
"""

import torch
from torch import Tensor

from model.preprocessing import PreprocessingConfig
from training.colour_blind import LUMA
from training.recipe import AugmentationConfig

PAD_VALUE = 127  # mid-grey, as the reference pads
ERASE_RATIO = (0.3, 3.3)


def augment(
    pixels: Tensor,
    infrared: Tensor,
    config: AugmentationConfig,
    preprocessing: PreprocessingConfig,
    generator: torch.Generator,
) -> Tensor:
    """Flip, shift, recolour and erase at random, then normalise.

    Args:
        pixels: uint8 (N, H, W, 3), RGB.
        infrared: (N,) bool; recolouring leaves these rows alone.
        generator: on the device of `pixels`; its state alone decides the outcome.

    Returns:
        float32 (N, 3, H, W), channels last in memory.
    """
    images = _shift_and_flip(pixels, config, generator).permute(0, 3, 1, 2).float() / 255
    images = _recolour(images, infrared, config, generator)
    images = _tone(images, config, generator)
    return _erase(_standardise(images, preprocessing), config, generator)


def normalise(pixels: Tensor, preprocessing: PreprocessingConfig) -> Tensor:
    """uint8 (N, H, W, 3) to network input, unchanged otherwise: float32 (N, 3, H, W)."""
    return _standardise(pixels.permute(0, 3, 1, 2).float() / 255, preprocessing)


def decoloured(pixels: Tensor) -> Tensor:
    """Grey of uint8 (N, H, W, 3) as three equal channels, uint8."""
    luma = torch.tensor(LUMA, device=pixels.device)
    grey = (pixels.float() @ luma).round().to(torch.uint8)
    return grey[..., None].expand_as(pixels)


def _standardise(images: Tensor, preprocessing: PreprocessingConfig) -> Tensor:
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (images - mean) / std


def _uniform(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(count, device=like.device, generator=generator)


def _shift_and_flip(
    pixels: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> Tensor:
    """Pad, crop at a random place and flip, as one gather."""
    count, height, width, _ = pixels.shape
    device, pad = pixels.device, config.pad
    top, left = (
        torch.randint(2 * pad + 1, (count, 1), device=device, generator=generator) for _ in range(2)
    )
    rows = torch.arange(height, device=device) + top
    columns = torch.arange(width, device=device).expand(count, width)
    flipped = (_uniform(count, pixels, generator) < config.flip)[:, None]
    columns = torch.where(flipped, width - 1 - columns, columns) + left
    padded = torch.full(
        (count, height + 2 * pad, width + 2 * pad, 3), PAD_VALUE, dtype=torch.uint8, device=device
    )
    padded[:, pad : pad + height, pad : pad + width] = pixels
    sample = torch.arange(count, device=device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]]


def _recolour(
    images: Tensor, infrared: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> Tensor:
    """Turn some visible images grey: by luminance, one random channel, or a random mixture.

    Source: grayscale and random channel exchange, Ye et al., CAJ, ICCV 2021.
    """
    count = len(images)
    luma = torch.tensor(LUMA, device=images.device).expand(count, 3)
    picked = torch.eye(3, device=images.device)[
        torch.randint(3, (count,), device=images.device, generator=generator)
    ]
    mixture = -torch.log(
        torch.rand(count, 3, device=images.device, generator=generator).clamp(min=1e-6)
    )
    mixture = mixture / mixture.sum(1, keepdim=True)
    draw = _uniform(count, images, generator)
    bounds = (
        config.visible_grey,
        config.visible_grey + config.visible_channel,
        config.visible_grey + config.visible_channel + config.visible_mix,
    )
    weights = torch.where(
        (draw < bounds[0])[:, None], luma, torch.where((draw < bounds[1])[:, None], picked, mixture)
    )
    touched = (draw < bounds[2]) & ~infrared
    grey = (images * weights[:, :, None, None]).sum(1, keepdim=True).expand_as(images)
    return torch.where(touched[:, None, None, None], grey, images)


def _tone(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Vary contrast, brightness and gamma of each image, and add noise, within [0, 1]."""

    def around_one(spread: float) -> Tensor:
        draw = _uniform(len(images), images, generator)
        return (1 + spread * (2 * draw - 1))[:, None, None, None]

    if config.gamma:
        images = images.clamp(min=1e-4) ** around_one(config.gamma)
    if config.contrast or config.brightness:
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        shift = around_one(config.brightness) - 1
        images = (images - middle) * around_one(config.contrast) + middle + shift
    if config.noise:
        level = config.noise * _uniform(len(images), images, generator)[:, None, None, None]
        shape = (len(images), 1, *images.shape[2:])
        images = images + level * torch.randn(shape, device=images.device, generator=generator)
    return images.clamp(0, 1)


def _erase(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Set a random rectangle of some images to zero, the mean colour after normalisation.

    Source: Zhong et al., Random Erasing, AAAI 2020. A rectangle larger than the image is cut to
    it, where torchvision draws again.
    """
    count, _, height, width = images.shape
    low, high = config.erase_area
    area = (low + (high - low) * _uniform(count, images, generator)) * height * width
    logs = torch.log(torch.tensor(ERASE_RATIO, device=images.device))
    ratio = torch.exp(logs[0] + (logs[1] - logs[0]) * _uniform(count, images, generator))
    tall = (area * ratio).sqrt().clamp(max=height).round()
    wide = (area / ratio).sqrt().clamp(max=width).round()
    top = (_uniform(count, images, generator) * (height - tall + 1)).floor()
    left = (_uniform(count, images, generator) * (width - wide + 1)).floor()
    row = torch.arange(height, device=images.device)[None, :]
    column = torch.arange(width, device=images.device)[None, :]
    in_rows = (row >= top[:, None]) & (row < (top + tall)[:, None])
    in_columns = (column >= left[:, None]) & (column < (left + wide)[:, None])
    chosen = _uniform(count, images, generator) < config.erase
    hole = in_rows[:, :, None] & in_columns[:, None, :] & chosen[:, None, None]
    return images.masked_fill(hole[:, None], 0.0)
