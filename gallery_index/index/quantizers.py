"""Codes that stand for vectors in memory, and how far a similarity estimated from them may be off.

A quantizer is trained once on a sample, then frozen: it encodes vectors, makes the FAISS index
that scans the codes, brings a query into the codes' space and states its margin. FAISS FastScan
is never among them: it loses its recall silently above 3,072 dimensions.
"""

import io
from collections.abc import Callable
from typing import Any, Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery_index.index.blas_threads import one_blas_thread
from gallery_index.index.half_precision import rounding_error

Vectors = NDArray[np.float32]
_BLOCK = 256  # rows that are widened to float32 at a time
_ROUNDED = 1e-3  # more than BLAS rounds of a coordinate that is at most 127


class Quantizer(Protocol):
    """Trained, frozen, serialisable."""

    @property
    def kind(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def code_size(self) -> int:
        """Bytes a code."""
        ...

    def encode(self, vectors: NDArray[np.float16]) -> NDArray[np.uint8]:
        """Return the codes (n, code_size) of vectors (n, D)."""
        ...

    def could_be(self, codes: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Return whether each code may have been made of its vector, in whatever company."""
        ...

    def decode(self, codes: NDArray[np.uint8]) -> Vectors:
        """Return what codes say, (n, d), in the codes' own space."""
        ...

    def prepare(self, queries: Vectors) -> Vectors:
        """Bring queries (Q, D) into the space that `new_index` searches, (Q, d)."""
        ...

    def margin(self, query: Vectors) -> float:
        """What an exact similarity to this query (D,) hardly ever exceeds its estimate by."""
        ...

    def new_index(self) -> Any:
        """Return an empty FAISS flat-codes index over these codes, by inner product."""
        ...

    def to_bytes(self) -> bytes: ...


class ExactFp16:
    """The vectors themselves, in half precision."""

    kind: Final = "exact-fp16"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.code_size = 2 * dim

    def encode(self, vectors: NDArray[np.float16]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(vectors).view(np.uint8)

    def could_be(self, codes: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Return whether codes are those of vectors."""
        return np.asarray((codes == self.encode(vectors)).all(axis=1))

    def decode(self, codes: NDArray[np.uint8]) -> Vectors:
        return np.ascontiguousarray(codes).view(np.float16).astype(np.float32)

    def prepare(self, queries: Vectors) -> Vectors:
        return queries

    def margin(self, query: Vectors) -> float:
        return rounding_error(self.dim)

    def new_index(self) -> Any:
        return faiss.IndexScalarQuantizer(
            self.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )

    def to_bytes(self) -> bytes:
        return _packed(self.kind, self.dim)


class PcaInt8:
    """Coordinates on the first directions of the gallery's own spectrum, a byte each.

    `basis` (d, D) has orthonormal rows; `step` (d,) is what one unit of a coordinate stands for (a
    byte is 128 more than its units); `reach` is the measured margin for each unit of a query's
    residual norm.
    """

    def __init__(self, basis: Vectors, step: Vectors, reach: float) -> None:
        self.basis, self.step, self.reach = basis, step, reach
        self.code_size, self.dim = basis.shape
        self.kind = f"pca{self.code_size}-int8"

    def encode(self, vectors: NDArray[np.float16]) -> NDArray[np.uint8]:
        return _by_block(vectors, self.code_size, self._encode_block)

    @one_blas_thread()
    def _encode_block(self, vectors: Vectors) -> NDArray[np.uint8]:
        units = np.rint(vectors @ self.basis.T / self.step)
        codes: NDArray[np.uint8] = (np.clip(units, -127, 127) + 128).astype(np.uint8)
        return codes

    def could_be(self, codes: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Return whether codes are those of vectors, but for what BLAS rounds.

        It sums a row differently by how many stand beside it, which may turn a byte by one where a
        coordinate lies halfway between two.
        """
        units = vectors.astype(np.float64) @ self.basis.T.astype(np.float64) / self.step
        away = np.abs(codes.astype(np.float64) - 128 - np.clip(units, -127, 127))
        return np.asarray((away <= 0.5 + _ROUNDED).all(axis=1))

    def decode(self, codes: NDArray[np.uint8]) -> Vectors:
        return (codes.astype(np.float32) - 128) * self.step

    @one_blas_thread()
    def prepare(self, queries: Vectors) -> Vectors:
        return np.ascontiguousarray(queries @ self.basis.T * self.step)

    def margin(self, query: Vectors) -> float:
        residual, rounding = self.error_scales(query[None])
        return float(self.reach * residual[0] + rounding[0])

    @one_blas_thread()
    def error_scales(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """Return each query's residual norm, and four deviations of what the bytes round off."""
        within = queries @ self.basis.T
        left = np.square(queries).sum(1, dtype=np.float64) - np.square(within).sum(1, np.float64)
        rounding = 4 * np.linalg.norm(within * self.step, axis=1) / np.sqrt(12)
        return np.sqrt(np.maximum(left, 0)).astype(np.float32), rounding

    def new_index(self) -> Any:
        # Not QT_8bit_direct_signed: it silently cuts the query down to whole numbers where the
        # dimensions are a multiple of 16.
        index = faiss.IndexScalarQuantizer(
            self.code_size, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
        )
        # A code says least + (code + 1/2) / 255 * range: here code - 128.
        faiss.copy_array_to_vector(np.array([-128.5, 255], np.float32), index.sq.trained)
        index.is_trained = True
        return index

    def to_bytes(self) -> bytes:
        reach = np.float64(self.reach)
        return _packed(self.kind, self.dim, basis=self.basis, step=self.step, reach=reach)


class HadamardRaBitQ:
    """A bit a dimension after a random rotation: for vectors that no few dimensions describe.

    `centre` is the rotated sample's mean; `reach` is the measured margin for each unit of a
    query's distance from it.
    """

    kind: Final = "hr-rabitq"
    _SEED = 12345

    def __init__(self, dim: int, centre: Vectors, reach: float) -> None:
        self.dim, self.centre, self.reach = dim, centre, reach
        self._rotation = _rotation(dim)
        self._empty = self.new_index()
        self.code_size = int(self._empty.code_size)

    def encode(self, vectors: NDArray[np.float16]) -> NDArray[np.uint8]:
        def block(rows: Vectors) -> NDArray[np.uint8]:
            codes: NDArray[np.uint8] = self._empty.sa_encode(self.prepare(rows))
            return codes

        return _by_block(vectors, self.code_size, block)

    def could_be(self, codes: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Return whether codes are those of vectors: the rotation takes each row by itself."""
        return np.asarray((codes == self.encode(vectors)).all(axis=1))

    def decode(self, codes: NDArray[np.uint8]) -> Vectors:
        decoded: Vectors = self._empty.sa_decode(np.ascontiguousarray(codes))
        return decoded

    def prepare(self, queries: Vectors) -> Vectors:
        rotated: Vectors = self._rotation.apply(np.ascontiguousarray(queries))
        return rotated

    def margin(self, query: Vectors) -> float:
        return float(self.reach * self.distances(query[None])[0])

    def distances(self, queries: Vectors) -> Vectors:
        """Return each query's distance from the centre."""
        away: Vectors = np.linalg.norm(self.prepare(queries) - self.centre, axis=1)
        return away

    def new_index(self) -> Any:
        index = faiss.IndexRaBitQ(self._rotation.d_out, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(self.centre, index.center)
        index.is_trained = True
        return index

    def to_bytes(self) -> bytes:
        return _packed(self.kind, self.dim, centre=self.centre, reach=np.float64(self.reach))


def rotated_mean(sample: Vectors) -> Vectors:
    """Return the centre that `HadamardRaBitQ` wants of a sample (n, D)."""
    mean = sample.mean(axis=0, keepdims=True)
    centre: Vectors = _rotation(sample.shape[1]).apply(mean)[0]
    return centre


def from_bytes(data: bytes, dim: int) -> Quantizer:
    """Return the quantizer that `to_bytes` wrote.

    Raises:
        ValueError: damaged, or a quantizer of another dimension; says what was found.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
        kind, found = str(parts["kind"]), int(parts["dim"])
        reach = float(parts.get("reach", 0))
        if found != dim:
            raise ValueError(f"dimension {found}, expected {dim}")
        if kind == ExactFp16.kind:
            return ExactFp16(dim)
        if kind == HadamardRaBitQ.kind and parts["centre"].shape == (_rotation(dim).d_out,):
            return HadamardRaBitQ(dim, parts["centre"], reach)
        basis, step = parts["basis"], parts["step"]
        if kind == f"pca{len(basis)}-int8" and basis.shape == (len(step), dim):
            return PcaInt8(basis, step, reach)
        raise ValueError(f"kind {kind!r}, or arrays that do not fit it")
    except Exception as error:  # zipfile, zlib and NumPy each raise their own for a damaged file
        raise ValueError(f"not a quantizer of the first stage: {error}") from error


def _packed(kind: str, dim: int, **parts: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, kind=np.str_(kind), dim=np.int64(dim), **parts)
    return out.getvalue()


def _rotation(dim: int) -> Any:
    return faiss.HadamardRotation(dim, HadamardRaBitQ._SEED)


def _by_block(
    vectors: NDArray[np.float16], width: int, encode: Callable[[Vectors], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    codes = np.empty((len(vectors), width), np.uint8)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        codes[start : start + _BLOCK] = encode(block)
    return codes
