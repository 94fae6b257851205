"""Small pictures of crops."""

import numpy as np
from PIL import Image

from training.report.overlays import jpeg, thumbnail


def crop() -> Image.Image:
    """Noise in all colours, 48x128."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 48, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_thumbnails_fit_and_keep_proportions_and_small_crops_stay() -> None:
    assert thumbnail(Image.new("RGB", (128, 384))).size == (43, 128)
    assert thumbnail(Image.new("RGB", (960, 128))).size == (96, 13)
    assert thumbnail(Image.new("L", (20, 40))).size == (20, 40)
    assert thumbnail(Image.new("L", (20, 40))).mode == "RGB"


def test_the_same_pixels_give_the_same_bytes() -> None:
    assert jpeg(crop()) == jpeg(crop())
