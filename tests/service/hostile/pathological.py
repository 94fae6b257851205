"""Files that are hostile by design, each with what the service must make of it.

Expected is what a person who knows the formats would say; `None` as code: read as an image.
"""

import gzip
import io
import struct
import zipfile
import zlib
from typing import Final

import numpy as np
from PIL import Image

from tests.forged_headers import claiming_huge
from tests.service.hostile.files import (
    LONG,
    PNG_MAGIC,
    chunk,
    directory,
    exif,
    picture,
    png,
    riff_chunks,
    saved,
    segment,
    tiff,
    with_segments,
)

MAX_PIXELS: Final = 1_000_000
MAX_BYTES: Final = 1_000_000
"""The limits that the service is given for these files."""

READ, UNKNOWN, BROKEN = None, "unsupported_image", "undecodable_image"
PIXELS, BYTES = "too_many_pixels", "too_many_bytes"
Case = tuple[bytes, str | None]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil.sh", "#!/bin/sh\n")
    return file.getvalue()


def _animated(kind: str) -> bytes:
    frames = [picture().rotate(angle) for angle in range(10, 80, 10)]
    image = picture("P") if kind == "GIF" else picture()
    return saved(image, kind, save_all=True, append_images=frames)


def _bomb(kind: str) -> bytes:
    """A sound small file whose header announces 20,000 x 20,000 (WebP: 16,383 x 16,383)."""
    return claiming_huge(saved(picture(), kind), kind)


def _deep_exif(levels: int) -> bytes:
    """EXIF directories that each lead to the next by the tag of a sub-directory."""
    size = 2 + 12 + 4
    places = [8 + size * (level + 1) for level in range(levels)]
    return exif(*[directory({0x8769: (LONG, 1, place)}) for place in places])


def _exif_loop() -> bytes:
    """A directory that is its own sub-directory, and its own successor."""
    return exif(directory({0x8769: (LONG, 1, 8), 0x0112: (3, 1, 1)}, following=8))


def _tiled(tile: int, offsets: int) -> bytes:
    """A TIFF of tiles of a size, `offsets` of them at the same place."""
    where = struct.pack("<I", 8) * offsets
    tags = {
        322: (LONG, 1, tile), 323: (LONG, 1, tile),
        324: (LONG, offsets, 8 + 3200), 325: (LONG, offsets, 8 + 3200),
    }  # fmt: skip
    return tiff(tags=tags, data=bytes(3200) + where, without=(273, 278, 279))


def _webp_of_frames(count: int) -> bytes:
    """An animated WebP whose first frame comes again and again."""
    chunks = riff_chunks(_animated("WEBP"))
    frame = next(body for kind, body in chunks if kind == b"ANMF")
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in [*chunks[:2], *[(b"ANMF", frame)] * count]
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again; each costs a pass over it all."""
    *before, last = saved(picture(), "JPEG", progressive=True).split(b"\xff\xda")
    scan = b"\xff\xda" + last[:-2]
    return b"\xff\xda".join(before) + scan * count + b"\xff\xd9"


def _strips(count: int) -> bytes:
    """A TIFF of one row a strip, all of them at the same place."""
    where = struct.pack("<I", 8) * count
    tags = {273: (LONG, count, 8 + 64), 278: (LONG, 1, 1), 279: (LONG, count, 8 + 64)}
    return tiff(8, count, tags=tags, data=bytes(64) + where)


JPEG, PNG = saved(picture(), "JPEG"), saved(picture(), "PNG")
ICC = b"ICC_PROFILE\0\1\1"

CASES: Final[dict[str, Case]] = {
    "nothing": (b"", BROKEN),
    "one byte": (b"\xff", UNKNOWN),
    "zeros": (bytes(5000), UNKNOWN),
    "text": (b"just words", UNKNOWN),
    "html": (b"<html><script>alert(1)</script></html>", UNKNOWN),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNKNOWN),
    "a zip": (_zip(), UNKNOWN),
    "a gzipped png": (gzip.compress(PNG), UNKNOWN),
    "an animated gif": (_animated("GIF"), UNKNOWN),
    "avif by its name": (b"\0\0\0\x1cftypavif" + bytes(100), UNKNOWN),
    "jpeg 2000": (saved(picture(), "JPEG2000"), UNKNOWN),
    "ico": (saved(picture(), "ICO"), UNKNOWN),
    "ppm": (saved(picture(), "PPM"), UNKNOWN),
    "pdf": (saved(picture(), "PDF"), UNKNOWN),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n", UNKNOWN),
    "a letter that begins BM": (b"BM it may concern: a letter that is long enough", UNKNOWN),
    "a riff that is a wave": (b"RIFF" + struct.pack("<I", 100) + b"WAVE" + bytes(100), UNKNOWN),
    "pdf and jpeg": (b"%PDF-1.7\n" + JPEG, UNKNOWN),
    "jpeg and pdf": (JPEG + b"%PDF-1.7\n", READ),
    "jpeg and zip": (JPEG + _zip(), READ),
    "png and html": (PNG + b"<script>alert(1)</script>", READ),
    "html in a png": (png(40, 80, chunk(b"tEXt", b"a\0<script>alert(1)</script>")), READ),
    "php in a jpeg": (with_segments(JPEG, segment(0xFE, b"<?php system($_GET[0]); ?>")), READ),
    "jpeg in a png": (PNG_MAGIC + JPEG, BROKEN),
    "apng": (_animated("PNG"), READ),
    "an animated webp": (_animated("WEBP"), READ),
    "a webp of 3,000 frames": (_webp_of_frames(3000), READ),
    "a tiff of pages": (_animated("TIFF"), READ),
    "one pixel wide": (saved(Image.new("RGB", (1, 5000)), "PNG"), BROKEN),
    "one pixel high": (saved(Image.new("RGB", (5000, 1)), "PNG"), BROKEN),
    "a line of 100,000 pixels": (png(8, 100_000), READ),
    "no width": (png(0, 80), BROKEN),
    "no height": (png(40, 0), BROKEN),
    "the greatest width": (png(2**31 - 1, 80, data=b""), PIXELS),
    "a width below zero": (png(2**32 - 1, 80, data=b""), PIXELS),
    "png bomb": (png(20_000, 20_000, data=zlib.compress(bytes(900_000))), PIXELS),
    "png bomb of text": (
        png(40, 80, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60_000_000)))] * 8),
        BROKEN,
    ),
    "png bomb of a profile": (
        png(40, 80, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(60_000_000)))),
        BROKEN,
    ),
    "png of more data than pixels": (png(40, 80, data=zlib.compress(bytes(90_000_000))), READ),
    "png without data": (png(40, 80, data=b""), BROKEN),
    "png of too little data": (png(40, 80, data=zlib.compress(bytes(500))), BROKEN),
    "png of garbage": (png(40, 80, data=b"garbage"), BROKEN),
    "png of an endless chunk": (png(40, 80, chunk(b"tEXt", b"a", length=2**31 - 1)), BROKEN),
    "png of a wrong checksum": (
        PNG_MAGIC + chunk(b"IHDR", PNG[16:29], crc=1) + PNG[33:], BROKEN,
    ),
    "png without a header": (PNG_MAGIC + PNG[33:], BROKEN),
    "png with two headers": (png(40, 80, chunk(b"IHDR", PNG[16:29])), READ),
    "png with two headers of two sizes": (
        png(40, 80, chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))),
        PIXELS,
    ),
    "png of depth 3": (png(40, 80, form=(3, 2)), BROKEN),
    "png of colour type 7": (png(40, 80, form=(8, 7)), BROKEN),
    "png of interlace 9": (png(40, 80, interlace=9), BROKEN),
    "interlaced png": (png(40, 80, interlace=1, data=zlib.compress(bytes(20_000))), READ),
    "png of a palette that is missing": (png(40, 80, form=(8, 3)), BROKEN),
    "png of 20,000 chunks": (png(40, 80, *[chunk(b"abCd", b"")] * 20_000), READ),
    "png of an animation of 2^31 frames": (
        png(40, 80, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), READ,
    ),
    "png of 16 bits": (png(40, 80, form=(16, 2)), READ),
    "palette with alpha": (saved(picture("RGBA").quantize(8), "PNG"), READ),
    "jpeg bomb": (_bomb("JPEG"), PIXELS),
    "jpeg of cmyk": (saved(picture("CMYK"), "JPEG"), READ),
    "jpeg without height": (JPEG.replace(struct.pack(">HH", 80, 40), bytes(2) + b"\0\x28"), BROKEN),
    "jpeg of an endless segment": (with_segments(JPEG, segment(0xE5, b"", length=65_535)), BROKEN),
    "jpeg of a segment below zero": (with_segments(JPEG, segment(0xE5, b"", length=0)), READ),
    "jpeg of 50,000 segments": (with_segments(JPEG, *[segment(0xE5, b"")] * 50_000), READ),
    "jpeg of garbage": (JPEG[:2] + b"\xff\xda" + bytes(900), BROKEN),
    "jpeg of 20 scans": (_scans(15), READ),
    "jpeg of 2,000 scans": (_scans(2000), BROKEN),
    "jpeg of a start alone": (b"\xff\xd8\xff", BROKEN),
    "jpeg of two images": (JPEG + JPEG, READ),
    "deep exif": (with_segments(JPEG, segment(0xE1, b"Exif\0\0" + _deep_exif(3000))), READ),
    "exif loop": (with_segments(JPEG, segment(0xE1, b"Exif\0\0" + _exif_loop())), READ),
    "exif loop in a png": (png(40, 80, chunk(b"eXIf", _exif_loop())), READ),
    "exif of garbage": (with_segments(JPEG, segment(0xE1, b"Exif\0\0garbage")), READ),
    "exif of 65,535 tags": (
        with_segments(JPEG, segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(500))), READ,
    ),
    "orientation of 9": (
        with_segments(JPEG, segment(0xE1, b"Exif\0\0" + exif(directory({0x112: (3, 1, 9)})))), READ,
    ),
    "icc of garbage": (with_segments(JPEG, segment(0xE2, ICC + b"garbage" * 99)), READ),
    "icc of 255 pieces, one there": (
        with_segments(JPEG, segment(0xE2, ICC[:-2] + b"\1\xff" + bytes(99))), READ,
    ),
    "webp bomb": (_bomb("WEBP"), PIXELS),
    "webp of nothing": (b"RIFF\x04\0\0\0WEBP", BROKEN),
    "webp cut in its head": (saved(picture(), "WEBP")[:28], BROKEN),
    "bmp bomb": (_bomb("BMP"), PIXELS),
    "bmp of a height below zero": (
        saved(picture(), "BMP")[:22] + struct.pack("<i", -80) + saved(picture(), "BMP")[26:], READ,
    ),
    "bmp of a head alone": (saved(picture(), "BMP")[:20], BROKEN),
    "tiff bomb": (tiff(20_000, 20_000), PIXELS),
    "tiff of no size": (tiff(without=(256, 257)), BROKEN),
    "tiff whose directory leads to itself": (tiff(following=8 + 3200), READ),
    "tiff whose directory is beyond its end": (b"II*\0\xff\xff\xff\xff" + bytes(900), BROKEN),
    "tiff whose directory is its head": (b"II*\0\0\0\0\0" + bytes(900), BROKEN),
    "tiff of 65,535 tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(900), BROKEN),
    "tiff of a tag of 2^32 values": (tiff(tags={40_000: (12, 2**32 - 1, 8)}), READ),
    "tiff of 4,000 tags of one text": (
        tiff(tags=dict.fromkeys(range(40000, 44000), (2, 3000, 8))), READ,
    ),
    "tiff of 2^32 samples": (tiff(tags={277: (LONG, 1, 2**32 - 1)}), BROKEN),
    "tiff of 65,535 samples": (tiff(tags={277: (3, 1, 65_535)}), BROKEN),
    "tiff of data beyond its end": (tiff(tags={273: (LONG, 1, 2**31)}), BROKEN),
    "tiff of an unknown compression": (tiff(tags={259: (3, 1, 60_000)}), BROKEN),
    "tiff of 1,000 strips": (_strips(1000), READ),
    "tiff of 70,000 strips": (_strips(70_000), BROKEN),
    "tiff of tiles": (_tiled(16, 15), READ),
    "tiff of a tile of 60,000": (_tiled(60_000, 1), PIXELS),
    "tiff of a tile of nothing": (_tiled(0, 15), BROKEN),
    "tiff of 16 bits": (saved(Image.fromarray(np.full((80, 40), 9000, np.uint16)), "TIFF"), READ),
    "tiff of floats that are none": (
        saved(Image.fromarray(np.full((80, 40), np.nan, np.float32)), "TIFF"), BROKEN,
    ),
    "big tiff": (b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63), BROKEN),
    "more bytes than are read": (PNG + bytes(MAX_BYTES), BYTES),
}  # fmt: skip
