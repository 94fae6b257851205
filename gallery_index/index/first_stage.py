"""The first stage of a search: codes by position in memory, scanned for the best candidates.

Owns the codes and their order; knows neither rows nor records. Searches may run beside one
another from any thread; the caller sees to it that nothing searches during `add` and `erase`.
An erased position stays and its code is all zeros, which may still look like a good candidate:
whoever erased a position passes a mask without it until `kept` has dropped it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery_index.index.quantizers import Quantizer

Positions = NDArray[np.int64]
Estimates = NDArray[np.float32]
CHUNK: Final = 131_072
# A chunk's codes double in memory as they grow; the bound keeps that short of a peak.
_CHUNK_BYTES = 64 * 2**20


class FirstStage:
    """Codes by position, ranked by the similarity to a query that they let one estimate."""

    def __init__(self, quantizer: Quantizer, chunk: int | None = None) -> None:
        """`chunk`: positions scanned by one thread at a time; a multiple of 8."""
        self.quantizer = quantizer
        # A mask's bytes hold 8 positions: chunks start on whole ones.
        self._chunk = chunk or max(min(CHUNK, _CHUNK_BYTES // quantizer.code_size) // 8 * 8, 8)
        self._indexes: list[Any] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def kind(self) -> str:
        return self.quantizer.kind

    @property
    def bytes_used(self) -> int:
        """Bytes of all codes."""
        return self._count * self.quantizer.code_size

    def add(self, vectors: NDArray[np.float16]) -> None:
        """Append vectors (n, D) at the next positions."""
        self.add_codes(self.quantizer.encode(vectors))

    def add_codes(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, code_size) at the next positions.

        Raises:
            ValueError: codes of another size.
        """
        if codes.ndim != 2 or codes.shape[1] != self.quantizer.code_size:
            raise ValueError(
                f"expected codes of {self.quantizer.code_size} bytes, got an array {codes.shape}"
            )
        start = 0
        while start < len(codes):
            if self._count == len(self._indexes) * self._chunk:
                self._indexes.append(self.quantizer.new_index())
            room = len(self._indexes) * self._chunk - self._count
            part = np.ascontiguousarray(codes[start : start + room])
            self._indexes[-1].add_sa_codes(part)
            self._count += len(part)
            start += len(part)

    def erase(self, positions: Positions) -> None:
        """Overwrite codes with zeros; their positions stay."""
        for position in np.asarray(positions, np.int64).tolist():
            if not 0 <= position < self._count:
                raise IndexError(f"position {position} of {self._count}")
            _codes(self._indexes[position // self._chunk])[position % self._chunk] = 0

    def replace(self, positions: Positions, codes: NDArray[np.uint8]) -> None:
        """Put other codes (n, code_size) in the place of those at these positions."""
        for position, code in zip(positions.tolist(), codes, strict=True):
            _codes(self._indexes[position // self._chunk])[position % self._chunk] = code

    def codes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes of positions from `start` to before `stop`."""
        return self.codes_at(np.arange(start, min(stop, self._count), dtype=np.int64))

    def codes_at(self, positions: Positions) -> NDArray[np.uint8]:
        """Return a copy of the codes (n, code_size) of these positions."""
        codes = np.empty((len(positions), self.quantizer.code_size), np.uint8)
        owner = positions // self._chunk
        for chunk in np.unique(owner).tolist():
            ours = owner == chunk
            codes[ours] = _codes(self._indexes[chunk])[positions[ours] % self._chunk]
        return codes

    def decode(self, positions: Positions) -> NDArray[np.float32]:
        """Return what the codes say, (n, d), in their own space; for spot checks."""
        return self.quantizer.decode(self.codes_at(np.asarray(positions, np.int64)))

    def kept(self, positions: Positions) -> "FirstStage":
        """Return a new first stage of these positions alone, in this order."""
        stage = FirstStage(self.quantizer, self._chunk)
        for start in range(0, len(positions), self._chunk):
            stage.add_codes(self.codes_at(positions[start : start + self._chunk]))
        return stage

    def margin(self, query: NDArray[np.float32]) -> float:
        """Return what an exact similarity to the query (D,) hardly ever exceeds its estimate by."""
        return self.quantizer.margin(query)

    def candidates(
        self, query: NDArray[np.float32], n: int, mask: NDArray[np.bool_] | None = None
    ) -> tuple[Positions, Estimates]:
        """Return up to `n` positions in the mask and their estimates, best first.

        `mask` (positions,) must leave out every erased position; None means that there is none.
        """
        positions, estimates = self.candidates_of(query[None], n, mask)
        found = positions[0] >= 0
        return positions[0][found], estimates[0][found]

    def candidates_of(
        self, queries: NDArray[np.float32], n: int, mask: NDArray[np.bool_] | None = None
    ) -> tuple[Positions, Estimates]:
        """Return candidates of each query (Q, D): positions and estimates, (Q, at most n).

        Where a query has fewer, its last positions are -1 and their estimates -inf.
        """
        if mask is not None and mask.shape != (self._count,):
            raise ValueError(f"expected a mask of {self._count} positions, got {mask.shape}")
        prepared = self.quantizer.prepare(np.ascontiguousarray(queries, np.float32))
        parts = self._in_chunks(lambda chunk: self._search_chunk(prepared, n, mask, chunk))
        found = [part for part in parts if part is not None]
        if not found or n <= 0:
            return np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
        return _best(
            np.concatenate([part[0] for part in found], axis=1),
            np.concatenate([part[1] for part in found], axis=1),
            n,
        )

    def _in_chunks(self, search: Callable[[int], Any]) -> list[Any]:
        if len(self._indexes) <= 1:
            return [search(chunk) for chunk in range(len(self._indexes))]
        return list(_threads().map(search, range(len(self._indexes))))

    def _search_chunk(
        self, prepared: NDArray[np.float32], n: int, mask: NDArray[np.bool_] | None, chunk: int
    ) -> tuple[Positions, Estimates] | None:
        index, start = self._indexes[chunk], chunk * self._chunk
        n = min(n, index.ntotal)
        parameters = None
        # FAISS only reads the bits during the search: they must live until it returns.
        if mask is not None:
            within = mask[start : start + index.ntotal]
            n = min(n, int(np.count_nonzero(within)))
            bits = np.packbits(within, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(within), faiss.swig_ptr(bits))
            parameters = _search_parameters(index, selector)
        if n <= 0:
            return None
        # FAISS's threads would wait for one another on a busy machine; the setting is a thread's.
        faiss.omp_set_num_threads(1)
        estimates, positions = index.search(prepared, n, params=parameters)
        return np.where(positions < 0, -1, positions + start), estimates


@cache
def _threads() -> ThreadPoolExecutor:
    """The process's threads for scanning chunks, made at the first search that needs them."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="first-stage")


def _search_parameters(index: Any, selector: Any) -> Any:
    if isinstance(index, faiss.IndexRaBitQ):
        return faiss.RaBitQSearchParameters(sel=selector, qb=index.qb)  # type: ignore[call-arg]
    return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]


def _codes(index: Any) -> NDArray[np.uint8]:
    """A view of a FAISS index's codes, (n, code_size)."""
    size = index.ntotal * index.code_size
    flat: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), size)
    return flat.reshape(index.ntotal, index.code_size)


def _best(positions: Positions, estimates: Estimates, n: int) -> tuple[Positions, Estimates]:
    estimates = np.where(positions < 0, -np.inf, estimates).astype(np.float32)
    if estimates.shape[1] > n:
        top = np.argpartition(-estimates, n - 1, axis=1)[:, :n]
        positions = np.take_along_axis(positions, top, axis=1)
        estimates = np.take_along_axis(estimates, top, axis=1)
    order = np.lexsort((positions, -estimates), axis=1)
    return np.take_along_axis(positions, order, axis=1), np.take_along_axis(
        estimates, order, axis=1
    )
