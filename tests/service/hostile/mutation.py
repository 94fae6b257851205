"""Sound images broken at random, by a seed: bytes, lengths, whole chunks, the end cut off."""

import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from tests.service.hostile.files import (
    PNG_MAGIC,
    jpeg_segments,
    picture,
    png_chunks,
    riff,
    riff_chunks,
    saved,
    tiff,
)

Damage = Callable[[random.Random, bytes], bytes]
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1"]
HEAD_BYTES = 256
TWO_BYTES = 65_536


def sound_files() -> list[bytes]:
    """Return one file of every kind that is read, and of the odder ones among them."""
    deep = Image.fromarray(np.arange(3200, dtype=np.uint16).reshape(80, 40) * 20)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = [picture().rotate(angle) for angle in (30, 60)]
    several = {"save_all": True, "append_images": frames}
    return [
        saved(picture(), "JPEG", exif=turned),
        saved(picture(), "JPEG", progressive=True, icc_profile=b"profile" * 40),
        saved(picture("CMYK"), "JPEG"),
        saved(picture(), "PNG", exif=turned),
        saved(picture("RGBA"), "PNG"),
        saved(picture().quantize(16), "PNG", transparency=1),
        saved(deep, "PNG"),
        saved(picture(), "PNG", **several),
        saved(picture(), "WEBP"),
        saved(picture("RGBA"), "WEBP", lossless=True, exif=turned),
        saved(picture(), "WEBP", **several),
        saved(picture(), "BMP"),
        saved(picture("P"), "BMP"),
        saved(picture(), "TIFF", exif=turned),
        saved(picture(), "TIFF", compression="tiff_lzw"),
        saved(picture(), "TIFF", compression="jpeg"),
        saved(picture("1"), "TIFF", compression="group4"),
        saved(deep, "TIFF", compression="tiff_deflate"),
        saved(picture(), "TIFF", **several),
        tiff(),
    ]


def flip_bits(chance: random.Random, data: bytes) -> bytes:
    """Turn bits over, half the time in the head alone."""
    changed = bytearray(data)
    reach = min(len(changed), HEAD_BYTES) if chance.random() < 0.5 else len(changed)
    for _ in range(chance.randint(1, 12)):
        changed[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def swap_bytes(chance: random.Random, data: bytes) -> bytes:
    """Exchange two stretches of the file."""
    length = chance.randint(1, 16)
    one, other = sorted(chance.randrange(max(1, len(data) - length)) for _ in range(2))
    changed = bytearray(data)
    changed[one : one + length], changed[other : other + length] = (
        changed[other : other + length],
        changed[one : one + length],
    )
    return bytes(changed)


def set_extremes(chance: random.Random, data: bytes) -> bytes:
    """Write the least and greatest numbers where sizes and offsets may be."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(len(changed), HEAD_BYTES))
        changed[at : at + 4] = chance.choice(EXTREMES)
    return bytes(changed)


def cut(chance: random.Random, data: bytes) -> bytes:
    """Cut the end off: anywhere, in the head, or by a few bytes."""
    place = chance.random()
    if place < 0.4:
        return data[: chance.randrange(len(data))]
    if place < 0.7:
        return data[: chance.randrange(min(len(data), 64))]
    return data[: -chance.randint(1, 12)]


def cut_out(chance: random.Random, data: bytes) -> bytes:
    """Leave a stretch out, or have it twice."""
    at, length = chance.randrange(len(data)), chance.randint(1, 64)
    again = data[at : at + length] * chance.choice([0, 2, 5])
    return data[:at] + again + data[at + length :]


def move_pieces(chance: random.Random, data: bytes) -> bytes:
    """Leave out, double, exchange or empty whole chunks or segments."""
    if data.startswith(PNG_MAGIC):
        return PNG_MAGIC + b"".join(_moved(chance, png_chunks(data)))
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd8" + b"".join(_moved(chance, jpeg_segments(data))) + b"\xff\xd9"
    if data.startswith(b"RIFF"):
        pieces = [kind + body for kind, body in riff_chunks(data)]
        moved = [(piece[:4], piece[4:]) for piece in _moved(chance, pieces)]
        return riff(*moved, length=chance.choice([None, 0, len(data) * 2]))
    return set_extremes(chance, swap_bytes(chance, data))


def lie_about_size(chance: random.Random, data: bytes) -> bytes:
    """Announce another width or height."""
    places = {b"\x89PNG": (16, "big", 4), b"BM": (18, "little", 4), b"RIFF": (24, "little", 3)}
    side = chance.choice([0, 1, 7, 8, 41, 500, 20_000, TWO_BYTES, 2**24 - 1])
    changed = bytearray(data)
    for magic, (at, order, width) in places.items():
        if data.startswith(magic):
            at += width * chance.randint(0, 1)
            changed[at : at + width] = side.to_bytes(width, order)  # type: ignore[arg-type]
            return bytes(changed)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    if data.startswith(b"\xff\xd8") and frame > 0:
        at = frame + chance.choice([5, 7])
        changed[at : at + 2] = (side % TWO_BYTES).to_bytes(2, "big")
        return bytes(changed)
    return set_extremes(chance, data)


def prepend(chance: random.Random, data: bytes) -> bytes:
    """Put something else before or behind the image, as polyglots do."""
    other = chance.choice([b"PK\x03\x04" + bytes(26), b"%PDF-1.7\n", b"<html>", b"GIF89a", b"\0"])
    return other + data if chance.random() < 0.5 else data + other * chance.randint(1, 50)


DAMAGES: Sequence[Damage] = (
    flip_bits,
    swap_bytes,
    set_extremes,
    cut,
    cut_out,
    move_pieces,
    lie_about_size,
    prepend,
)


def damaged(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Break one of the files in one way or several."""
    data = chance.choice(files)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        data = chance.choice(DAMAGES)(chance, data) or b"\0"
    return data


def _moved(chance: random.Random, pieces: list[bytes]) -> list[bytes]:
    moved = list(pieces)
    for _ in range(chance.randint(1, 3) if pieces else 0):
        at, other = chance.randrange(len(moved)), chance.randrange(len(moved))
        action = chance.randrange(4)
        if action == 0 and len(moved) > 1:
            del moved[at]
        elif action == 1:
            moved[at:at] = [moved[at]] * chance.randint(1, 30)
        elif action == 2:
            moved[at], moved[other] = moved[other], moved[at]
        else:
            moved[at] = moved[at][: chance.randint(0, len(moved[at]))] + bytes(4)
    return moved
