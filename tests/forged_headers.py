"""Sound small images whose headers claim to be huge: what a decompression bomb looks like."""

import struct


def claiming_huge(image: bytes, kind: str) -> bytes:
    """Let a JPEG, BMP or lossy WebP claim 20,000 x 20,000 pixels (WebP: its largest, 16,383)."""
    data = bytearray(image)
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 20_000, 20_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 20_000, 20_000)
    else:
        data[26:30] = struct.pack("<HH", 16_383, 16_383)
    return bytes(data)
