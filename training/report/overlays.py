"""Crops as small JPEG pictures."""

from io import BytesIO

from PIL import Image

LARGEST = (96, 128)
"""Width and height that a picture fits into."""
JPEG_QUALITY = 80


def thumbnail(image: Image.Image) -> Image.Image:
    """An RGB image made to fit into `LARGEST`, its proportions kept; never enlarged."""
    small = image.convert("RGB")
    small.thumbnail(LARGEST, Image.Resampling.BILINEAR)
    return small


def jpeg(image: Image.Image) -> bytes:
    """The bytes of a picture; the same for the same pixels."""
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
