"""Where a pattern looks, laid over the crop that it looked at."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEAT = np.array([255, 32, 0], dtype=np.float32)
STRONGEST = 0.75
"""How much of a pixel is heat where the map is 1."""


def overlay(image: Image.Image, pattern_map: NDArray[np.float32]) -> Image.Image:
    """Redden an RGB image where a map (h, w) in [0, 1] is high; 0 leaves the pixel as it is.

    The map covers the whole image, as the network saw it, and is enlarged bilinearly.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    enlarged = Image.fromarray(np.asarray(pattern_map, dtype=np.float32)).resize(
        image.size, Image.Resampling.BILINEAR
    )
    share = STRONGEST * np.clip(np.asarray(enlarged), 0.0, 1.0)[:, :, None]
    return Image.fromarray(np.rint(pixels * (1 - share) + HEAT * share).astype(np.uint8))
