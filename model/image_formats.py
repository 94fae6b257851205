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
MAX_SCANS = 100
MAX_PIECES = 65_536
PIECE_TAGS = (273, 324)  # offsets of strips, of tiles
COMPRESSION_TAG = 259
TIFF_JPEG = (6, 7)
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


def endless(data: bytes, name: FormatName) -> str | None:
    """Say why decoding a small file would take without end, or None.

    A scan of a JPEG costs what its picture has in pixels, whatever its bytes are; a segment, a
    strip and a tile cost a turn of Python.
    """
    strips = 0
    if name == "TIFF":
        strips, compression = _tiff_pieces(data)
        if strips > MAX_PIECES:
            return f"it has {strips:,} strips or tiles; at most {MAX_PIECES:,} are read"
        if compression not in TIFF_JPEG:
            return None
    elif name != "JPEG":
        return None
    scans = data.count(b"\xff\xda")  # within a scan 0xFF is followed by 0x00
    if scans > MAX_SCANS * max(1, strips):
        return f"it has {scans:,} scans; at most {MAX_SCANS} are read"
    restarts = sum(data.count(bytes((0xFF, 0xD0 + number))) for number in range(8))
    segments = data.count(b"\xff") - data.count(b"\xff\0") - restarts
    if segments > MAX_PIECES:
        return f"it has some {segments:,} segments; at most {MAX_PIECES:,} are read"
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


def _tiff_pieces(data: bytes) -> tuple[int, int]:
    """Return how many strips or tiles the first directory of a TIFF has, and its compression.

    0 for what is not there; a broken directory is for the decoder to refuse.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = data[2:4] in (b"+\0", b"\0+")
    count_size, entry_size, offset_at, word = (8, 20, 8, 8) if big else (2, 12, 4, 4)
    at = int.from_bytes(data[offset_at : offset_at + word], order)
    entries = int.from_bytes(data[at : at + count_size], order)
    pieces = compression = 0
    for number in range(min(entries, (len(data) - at) // entry_size)):
        begin = at + count_size + number * entry_size
        entry = data[begin : begin + entry_size]
        tag = int.from_bytes(entry[:2], order)
        if tag in PIECE_TAGS:
            pieces = max(pieces, int.from_bytes(entry[4 : 4 + word], order))
        elif tag == COMPRESSION_TAG:
            compression = int.from_bytes(entry[4 + word : 6 + word], order)
    return pieces, compression
