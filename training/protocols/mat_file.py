"""Cells and numbers of a MATLAB 5 file, without SciPy, which serving does not install.

Reads what `rand_perm_cam.mat` is made of: one variable, cells within cells, real numbers. Anything
else is refused, and so is a file that unpacks to more than 64 MiB.

Source: "MAT-File Format", The MathWorks, "Level 5 MAT-File Format".
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64 * 2**20
HEADER = 128
MATRIX, COMPRESSED = 14, 15
CELL = 1
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip

Value = NDArray[np.float64] | list["Value"]


class MatFileError(ValueError):
    """The bytes are not such a file."""


def read_mat_file(path: Path, name: str) -> Value:
    """The variable of a name: numbers as float64 in their shape, a cell array as a flat list.

    Raises:
        OSError: the file cannot be read.
        MatFileError: it is not such a file, is cut off, or has no such variable.
    """
    data = path.read_bytes()
    if data[126:HEADER] not in (b"IM", b"MI"):
        raise MatFileError("not a MATLAB 5 file")
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        for kind, body in _elements(memoryview(data)[HEADER:], order):
            if kind == COMPRESSED:
                ((kind, body),) = _elements(memoryview(_unpacked(body)), order)
            if kind == MATRIX:
                found, value = _matrix(body, order, depth=3)
                if found == name:
                    return value
    except (struct.error, zlib.error, ValueError, KeyError, StopIteration) as error:
        raise MatFileError(f"damaged ({error!r})") from error
    raise MatFileError(f"no variable {name}")


def _unpacked(body: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(body, MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"unpacks to more than {MAX_BYTES} bytes")
    if not unpacker.eof:
        raise ValueError("cut off")
    return data


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of the data elements that follow each other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element has its size and its bytes within the tag
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start, step = at + 8, 8 + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError("cut off")
        yield kind, data[start : start + size]
        at += step


def _matrix(body: memoryview, order: str, depth: int) -> tuple[str, Value]:
    if not depth:
        raise ValueError("cells too deep")
    elements = _elements(body, order)
    (_, flags), (_, shape), (_, name) = next(elements), next(elements), next(elements)
    dimensions = [int(size) for size in np.frombuffer(shape, f"{order}i4")]
    title = bytes(name).decode("ascii")
    if struct.unpack_from(f"{order}I", flags)[0] & 0xFF == CELL:
        return title, [_matrix(cell, order, depth - 1)[1] for kind, cell in elements]
    kind, numbers = next(elements)
    values = np.frombuffer(numbers, order + NUMBERS[kind]).astype(np.float64)
    return title, values.reshape(dimensions, order="F")
