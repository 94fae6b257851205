"""Embeddings computed anywhere: the arrays of an `.npz` file, checked before they are used.

The file is not trusted: no pickles, nothing that unpacks to more than its header says or to a
hundred times what it weighs.
"""

import io
import math
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mpanet.errors import CommandError

SMALL = 64 * 2**20
MAX_RATIO = 100
READ_BYTES = 2**20
DAMAGE = (
    OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class EmbeddingsFile:
    """Named arrays of one file; each is read when it is asked for.

    Raises:
        CommandError: whatever is wrong, in one line with the file's name and the array's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise CommandError(f"{path}: expected an .npz file of arrays: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> frozenset[str]:
        """The names of the arrays."""
        return frozenset(item.removesuffix(".npy") for item in self._zip.namelist())

    def embeddings(self, side: str) -> NDArray[np.float32]:
        """`{side}_embeddings`, (N, D) in float32; float16 and float64 are converted."""
        name = f"{side}_embeddings"
        array = self._read(name)
        if array.dtype.kind != "f" or array.dtype.itemsize > 8 or array.ndim != 2:
            self._refuse(name, "floating-point numbers of shape (N, D)", array)
        if 0 in array.shape:
            self._refuse(name, "at least one row and one column", array)
        with np.errstate(over="ignore"):
            return array.astype(np.float32, order="C", copy=False)

    def labels(self, name: str, rows: int) -> NDArray[np.int64]:
        """Whole numbers, (N,) in int64, one for each of `rows` embeddings."""
        array = self._read(name)
        if array.dtype.kind not in "iu" or array.shape != (rows,):
            self._refuse(name, f"whole numbers of shape ({rows},)", array)
        if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            self._refuse(name, "numbers below 2**63", array)
        return array.astype(np.int64)

    def _read(self, name: str) -> NDArray[np.generic]:
        try:
            entry = self._zip.getinfo(f"{name}.npy")
        except KeyError:
            there = ", ".join(item.removesuffix(".npy") for item in self._zip.namelist()[:12])
            raise CommandError(f"{self.path}: no array {name}; it has {there or 'none'}") from None
        if entry.file_size > max(SMALL, MAX_RATIO * entry.compress_size):
            raise CommandError(
                f"{self.path}: {name} unpacks to {entry.file_size} bytes from"
                f" {entry.compress_size}: refused"
            )
        try:
            with self._zip.open(entry) as file:
                return _read_npy(file, entry.file_size)
        except DAMAGE as error:
            raise CommandError(f"{self.path}: {name} cannot be read: {error}") from error

    def _refuse(self, name: str, expected: str, array: NDArray[np.generic]) -> None:
        raise CommandError(
            f"{self.path}: {name}: expected {expected}, got {array.dtype} {array.shape}"
        )


def _read_npy(file: IO[bytes], size: int) -> NDArray[np.generic]:
    """An array whose header agrees with the number of bytes that follow it."""
    head = file.read(min(size, 65_536))
    stream = io.BytesIO(head)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("holds Python objects")
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"its header says {dtype} {shape}, but {size} bytes are there")
    values = np.empty(math.prod(shape), dtype=dtype)
    target = values.view(np.uint8)
    rest = np.frombuffer(stream.read(), dtype=np.uint8)
    target[: len(rest)] = rest
    filled = len(rest)
    while filled < len(target):
        part = np.frombuffer(file.read(READ_BYTES), dtype=np.uint8)
        if not len(part):
            raise EOFError("cut off")
        target[filled : filled + len(part)] = part
        filled += len(part)
    return values.reshape(shape, order="F" if fortran else "C")
