"""Crops as small JPEG pictures, plain or with a pattern's map laid over them."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = (96, 128)
"""Width and height that a picture fits into."""
JPEG_QUALITY = 80
HEAT = np.array([255, 32, 0], dtype=np.float32)
STRONGEST = 0.75
"""How much of a pixel is heat where the map is 1."""


def thumbnail(image: Image.Image) -> Image.Image:
    """An RGB image made to fit into `LARGEST`, its proportions kept; never enlarged."""
    small = image.convert("RGB")
    small.thumbnail(LARGEST, Image.Resampling.BILINEAR)
    return small


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


def jpeg(image: Image.Image) -> bytes:
    """The bytes of a picture; the same for the same pixels."""
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
