"""Image files written by hand: chunks of PNG, segments of JPEG, directories of TIFF, as one likes.

Nothing here checks anything: lengths, checksums and counts may be wrong on purpose.
"""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SIZE = (40, 80)
RGB_8 = (8, 2)
STUFFING = {b"\0", *(bytes([marker]) for marker in range(0xD0, 0xD8))}


def picture(mode: str = "RGB") -> Image.Image:
    """Return a picture with edges and colours, 40 x 80."""
    width, height = SIZE
    down, across = np.mgrid[:height, :width]
    pixels = np.stack([across * 6, down * 3, (across + down) * 2], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, *, length: int | None = None, crc: int | None = None) -> bytes:
    """Return a chunk of a PNG; its length and checksum may lie."""
    size = len(body) if length is None else length
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", size) + kind + body + struct.pack(">I", checksum)


def png(
    width: int,
    height: int,
    *extra: bytes,
    form: tuple[int, int] = RGB_8,
    data: bytes | None = None,
    interlace: int = 0,
) -> bytes:
    """Return a PNG of zeros; `extra` chunks come before its data. `form`: depth, colour type."""
    depth, colour = form
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    row = 1 + width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1) * depth // 8
    pixels = zlib.compress(bytes(row * height)) if data is None else data
    ending = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return PNG_MAGIC + chunk(b"IHDR", header) + b"".join(extra) + ending


def png_chunks(data: bytes) -> list[bytes]:
    """Take a PNG apart into its chunks; a damaged one somehow."""
    chunks, at = [], len(PNG_MAGIC)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    return chunks


def segment(marker: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a segment of a JPEG; its length may lie."""
    size = len(body) + 2 if length is None else length
    return bytes([0xFF, marker]) + struct.pack(">H", size) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """Put segments at the front of a JPEG."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def jpeg_segments(data: bytes) -> list[bytes]:
    """Take a JPEG apart into its segments, each scan with its data; a damaged one somehow."""
    segments, at = [], 2
    while at < len(data) and data[at + 1 : at + 2] != b"\xd9":
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1 : at + 2] == b"\xda":
            end = _end_of_scan(data, end)
        segments.append(data[at:end])
        at = end
    return segments


def _end_of_scan(data: bytes, at: int) -> int:
    """Find the next marker that is neither stuffing nor a restart."""
    while (at := data.find(b"\xff", at)) >= 0:
        if data[at + 1 : at + 2] not in STUFFING:
            return at
        at += 2
    return len(data)


Tag = tuple[int, int, int]
"""Type, count, value or offset: as they stand in the file."""
LONG = 4


def directory(tags: Mapping[int, Tag], following: int = 0) -> bytes:
    """Return a directory of a little-endian TIFF."""
    rows = [struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items())]
    return struct.pack("<H", len(rows)) + b"".join(rows) + struct.pack("<I", following)


def tiff(
    width: int = SIZE[0],
    height: int = SIZE[1],
    *,
    tags: Mapping[int, Tag] | None = None,
    data: bytes | None = None,
    following: int = 0,
    without: Sequence[int] = (),
) -> bytes:
    """Return a grey TIFF of zeros: its data at byte 8, its directory behind; `tags` replace."""
    pixels = bytes(SIZE[0] * SIZE[1]) if data is None else data
    usual: dict[int, int] = {
        256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height,
        279: len(pixels),
    }  # fmt: skip
    all_tags = {tag: (LONG, 1, value) for tag, value in usual.items()} | dict(tags or {})
    kept = {tag: values for tag, values in all_tags.items() if tag not in without}
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory(kept, following)


def exif(*directories: bytes) -> bytes:
    """Return an EXIF block of directories, the first at offset 8."""
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directories)


def riff(*chunks: tuple[bytes, bytes], length: int | None = None) -> bytes:
    """Return a WebP of chunks; its length may lie."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Take a WebP apart into its chunks; a damaged one somehow."""
    chunks, at = [], 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks
