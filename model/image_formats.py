"""Which image formats are read, told apart by their first bytes, and how their files are opened.

Owns everything that happens before a pixel is decoded. Pillow's registry of some forty formats and
its process-wide limit on pixels stay out of it: a file is handed to the one plugin of its format.
"""

import struct
from io import BytesIO
from typing import Literal

from PIL import (
    BmpImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

FormatName = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF"]

PLUGINS: dict[FormatName, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TILE_SIZE_TAGS = (322, 323)  # width, height


def format_of(data: bytes) -> FormatName | None:
    """The format that the first bytes announce, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADER_SIZES:
        return "BMP"
    if data.startswith(TIFF_MAGICS):
        return "TIFF"
    return None


def open_image(data: bytes, name: FormatName) -> ImageFile.ImageFile:
    """Read the header of a file of a known format; no pixel is decoded yet.

    Raises whatever the plugin raises on a broken file.
    """
    return PLUGINS[name](BytesIO(data))


def pixels_before_opening(data: bytes, name: FormatName) -> int:
    """Pixels of the canvas, where opening a file already allocates them (WebP); otherwise 0."""
    if name != "WebP" or len(data) < 30:
        return 0
    width: int
    height: int
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        return 0
    return width * height


def pixels_to_decode(image: ImageFile.ImageFile) -> int:
    """Pixels that decoding will allocate, by the header: of the image, or of one larger tile."""
    pixels = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile_width, tile_height = (image.tag_v2.get(tag) for tag in TILE_SIZE_TAGS)
        if isinstance(tile_width, int) and isinstance(tile_height, int):
            return max(pixels, tile_width * tile_height)
    return pixels
