"""Bytes to an image to the network's input: the only preprocessing, for evaluation and serving.

Owns limits, decoding, orientation, transparency, and resize and normalisation. Which formats there
are is `image_formats`, how deep images become 8-bit is `tone_mapping`. No augmentation here.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from pydantic import BaseModel, ConfigDict

from model.errors import ImageTooLargeError, UndecodableImageError, UnsupportedImageError
from model.image_formats import (
    PLUGINS,
    endless,
    format_of,
    open_image,
    pixels_before_opening,
    pixels_to_decode,
)
from model.tone_mapping import tone_map

# What Pillow and the libraries below it raise on hostile files. `Warning`: under `-W error`.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
ORIENTATION_TAG = 0x0112
PHOTOMETRIC_TAG = 262
WHITE_IS_ZERO = 0
TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PreprocessingConfig(BaseModel):
    """How an image becomes input; travels with the weights. Mean and std are for RGB in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear"] = "bilinear"
    tone_mapping: Literal["depth-v1"] = "depth-v1"


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before a pixel is decoded."""

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 25_000_000
    min_side: int = 8


def read_image(data: bytes, limits: ImageLimits | None = None) -> Image.Image:
    """Decode JPEG, PNG, WebP, BMP or TIFF to 8-bit RGB, upright.

    The first frame of several, without its metadata. EXIF orientation is applied (broken EXIF: as
    stored); transparent parts become black; one-channel images deeper than 8 bits go through
    `tone_map`. `limits` defaults to `ImageLimits()`; they are checked on the header alone.

    Raises:
        UnsupportedImageError: not one of the five formats.
        UndecodableImageError: empty, truncated, broken, or a side below `min_side`.
        ImageTooLargeError: too many bytes or pixels.
    """
    limits = limits or ImageLimits()
    if not data:
        raise UndecodableImageError("the image is empty: 0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError("bytes", limit=limits.max_bytes, came=len(data))
    name = format_of(data)
    if name is None:
        expected = ", ".join(PLUGINS)
        raise UnsupportedImageError(f"not an image that is read here: expected one of {expected}")
    _refuse_pixels(pixels_before_opening(data, name), limits)
    if (reason := endless(data, name)) is not None:
        raise UndecodableImageError(f"cannot decode the {name} image: {reason}")
    try:
        with open_image(data, name) as image:
            _check_size(image, limits)
            image.load()
            upright = _upright(_to_rgb(image), image)
            upright.info = {}  # an EXIF block left here could turn the image a second time
            return upright
    except DECODING_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise UndecodableImageError(f"cannot decode the {name} image: {reason}") from error


def to_input(
    image: Image.Image, image_size: tuple[int, int], preprocessing: PreprocessingConfig
) -> NDArray[np.float32]:
    """Resize an RGB image to `image_size` (H, W) and normalise it: float32 (3, H, W)."""
    height, width = image_size
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    scaled = np.asarray(resized, dtype=np.float32) / np.float32(255.0)
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def _check_size(image: ImageFile.ImageFile, limits: ImageLimits) -> None:
    _refuse_pixels(pixels_to_decode(image), limits)
    if min(image.size) < limits.min_side:
        width, height = image.size
        raise UndecodableImageError(
            f"the image is {width}x{height} pixels; at least"
            f" {limits.min_side}x{limits.min_side} are needed"
        )


def _refuse_pixels(pixels: int, limits: ImageLimits) -> None:
    if pixels > limits.max_pixels:
        raise ImageTooLargeError("pixels", limit=limits.max_pixels, came=pixels)


def _upright(image: Image.Image, source: ImageFile.ImageFile) -> Image.Image:
    """Apply the EXIF orientation of the loaded file; a broken EXIF block counts as none.

    (Pillow turns a TIFF by itself as it loads it, and drops the tag.)
    """
    try:
        transpose = TRANSPOSE_BY_ORIENTATION.get(source.getexif().get(ORIENTATION_TAG, 1))
    except DECODING_ERRORS:
        return image
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: ImageFile.ImageFile) -> Image.Image:
    """8-bit RGB of any mode that the five formats decode to."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = tone_map(np.asarray(image))
        if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO:
            grey = 255 - grey
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, coloured).convert("RGB")
    return image.convert("RGB")
