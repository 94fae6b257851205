"""Light and sensor: from surfaces to the pixels that one camera would report."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.synthetic.cameras import Camera
from training.synthetic.raster import Floats
from training.synthetic.surface import (
    Palette,
    Relief,
    gloss,
    infrared_reflectance,
    visible_colour,
)


def light_visible(palette: Palette, relief: Relief, rng: np.random.Generator) -> Floats:
    """Light a figure's painted pixels from a lamp above and aside: (n, 3), about 0..1."""
    aside, strength = np.float32(rng.uniform(-0.7, 0.7)), np.float32(rng.uniform(0.35, 0.6))
    facing = np.sqrt(np.maximum(1.0 - relief.nx**2, 0.0))
    lamp = np.clip(relief.nx * aside + np.float32(0.85) * facing, 0.0, 1.2)
    bright = (1.0 - strength + strength * np.float32(1.2) * lamp) * relief.tone
    lit = visible_colour(palette, relief) * bright[:, None]
    shine = gloss(palette, relief) * lamp**8 * np.float32(0.35)
    result: Floats = lit + shine[:, None]
    return result


def light_infrared(palette: Palette, relief: Relief, rng: np.random.Generator) -> Floats:
    """Light a figure's painted pixels from the camera's own illuminator: (n, 1), about 0..1."""
    ambient = np.float32(rng.uniform(0.25, 0.45))
    facing = np.sqrt(np.maximum(1.0 - relief.nx**2, 0.0))
    bright = (ambient + (1.0 - ambient) * facing) * relief.tone
    shine = gloss(palette, relief) * facing**14 * np.float32(0.30)
    lit: Floats = infrared_reflectance(palette, relief) * bright + shine
    return lit[:, None]


def illuminator(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Fall-off of an active illuminator: bright near its axis, dim at the rim, about 1."""
    x = (np.arange(width) / height - rng.uniform(0.3, 0.7) * width / height) ** 2
    y = (np.arange(height) / height - rng.uniform(0.2, 0.6)) ** 2
    beam = np.exp(-(x[None, :] * 1.6 + y[:, None]) / (2 * rng.uniform(0.55, 0.9) ** 2))
    field: Floats = (beam * rng.uniform(0.95, 1.4)).astype(np.float32)
    return field


def expose(
    scene: Floats, camera: Camera, size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Read a scene (height, width, 3 or 1) out through a camera: uint8 (*size, 3).

    White balance, exposure, contrast, optics and noise jitter around the camera's own figures.
    """
    exposure = camera.exposure * rng.uniform(0.85, 1.15)
    gains = np.asarray(camera.gains) * rng.normal(1.0, 0.025, 3)
    contrast = camera.contrast * rng.uniform(0.9, 1.1)
    noise = camera.noise * rng.uniform(0.7, 1.4)
    blur = camera.blur * rng.uniform(0.4, 1.5)
    grain_rng = np.random.Generator(np.random.SFC64(int(rng.integers(2**62))))
    channels = scene.shape[2]
    factors = (exposure * gains if channels == 3 else np.full(1, exposure)).astype(np.float32)
    values = _optics(scene, size, blur) * factors
    values = (values - np.float32(0.45)) * np.float32(contrast) + np.float32(0.45)
    grain = grain_rng.standard_normal((*size, channels), dtype=np.float32)
    values += grain * np.float32(noise)
    result: NDArray[np.uint8] = (np.clip(values, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return result if channels == 3 else np.repeat(result, 3, axis=2)


HEADROOM = 1.4
"""How far above white a lit surface may be before the optics clip it."""


def _optics(scene: Floats, size: tuple[int, int], blur: float) -> Floats:
    """Sample a scene at the crop's size through a slightly soft lens: (*size, channels)."""
    levels = (np.clip(scene, 0.0, HEADROOM) * np.float32(255 / HEADROOM)).astype(np.uint8)
    image = Image.fromarray(levels if scene.shape[2] == 3 else levels[:, :, 0])
    image = image.resize((size[1], size[0]), Image.Resampling.BOX)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    soft: Floats = pixels.reshape(*size, scene.shape[2]) * np.float32(HEADROOM / 255)
    return soft
