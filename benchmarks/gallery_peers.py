"""Processes of the gallery benchmark: others that search the same vectors, one query at a time.

    python -m benchmarks.gallery_peers JOB

They read the vector file of the gallery that was measured. A peer that cannot take part says why.
"""

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_child import VECTORS, child_main, memory_mb
from benchmarks.gallery_serving import milliseconds
from benchmarks.gallery_slices import TOP_K, Columns, Slice, Tops, Wanted, load
from gallery_index.candidates import Ask, Candidates, StoredVectors
from gallery_index.exact_search import exact_search
from gallery_index.files.vector_file import VectorFile
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.quantizer_choice import SAMPLE_ROWS, choose, finer
from gallery_index.index.quantizers import HadamardRaBitQ, Quantizer

Search = Callable[[Slice, int], list[int]]


@dataclass(frozen=True)
class Data:
    """The gallery's vectors and columns, the queries and their exact answers."""

    vectors: VectorFile
    columns: Columns
    slices: list[Slice]
    tops: list[Tops]

    @classmethod
    def of(cls, directory: str, slices: str, answers: str, queries: int) -> "Data":
        """Read what the measured processes wrote; the first `queries` of each slice."""
        columns, tops = load(Path(answers))
        chosen = [slice.first(queries) for slice in load(Path(slices))]
        return cls(VectorFile(Path(directory) / VECTORS), columns, chosen, tops)

    @property
    def rows(self) -> int:
        return len(self.columns.person)

    @property
    def dim(self) -> int:
        return self.vectors.identity.embedding_dim

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """All vectors, as first row and fp16 (n, D)."""
        for block in self.vectors.scan(0, self.rows):
            yield int(block.rows[0]), np.ascontiguousarray(block.vectors)

    def mask(self, wanted: Wanted | None) -> NDArray[np.bool_] | None:
        """Which rows match; None is all."""
        return None if wanted is None else wanted.rows(self.columns)

    def ask(self, search: Search, *, grouped: bool) -> list[dict[str, Any]]:
        """Ask each query once to warm up and once for its time."""
        found = []
        for slice, tops in zip(self.slices, self.tops, strict=True):
            if slice.group_by == "person" and not grouped:
                continue
            answers, times = [], []
            for query in range(len(slice.vectors)):
                answers.append(search(slice, query))
                times.append(milliseconds(partial(search, slice, query)))
            recall = tops.recall(answers)
            found.append({"name": slice.name, "recall": recall, "warm_ms": times})
        return found


def flat(memory_gb: float, **where: Any) -> dict[str, Any]:
    """FAISS's exact flat index in half precision."""
    data = Data.of(**where)
    size_gb = data.rows * data.dim * 2 / 1e9
    if size_gb > memory_gb:
        return {"skipped": f"{size_gb:.1f} GB of vectors, more than the {memory_gb:g} GB allowed"}
    start = time.perf_counter()
    index: Any = faiss.IndexScalarQuantizer(
        data.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for _, vectors in data.blocks():
        index.add_sa_codes(vectors.view(np.uint8))
    build_s = time.perf_counter() - start

    def search(slice: Slice, query: int) -> list[int]:
        mask = data.mask(slice.wanted[query])
        parameters = None
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        _, rows = index.search(slice.vectors[query : query + 1], TOP_K, params=parameters)
        found: list[int] = rows[0].tolist()
        return found

    return _figures(data, search, build_s)


def rabitq(memory_gb: float, **where: Any) -> dict[str, Any]:
    """A bit a dimension at full dimension, with this gallery's own exact re-scoring."""
    data = Data.of(**where)
    start = time.perf_counter()
    quantizer = _rabitq(data)
    if quantizer is None:
        return {"skipped": "too few dimensions for anything but exact search"}
    size_gb = data.rows * quantizer.code_size / 1e9
    if size_gb > memory_gb:
        return {"skipped": f"{size_gb:.1f} GB of codes, more than the {memory_gb:g} GB allowed"}
    stage = FirstStage(quantizer)
    for _, vectors in data.blocks():
        stage.add(vectors)
    build_s = time.perf_counter() - start
    scored: list[int] = []

    def search(slice: Slice, query: int) -> list[int]:
        vector, mask = slice.vectors[query], data.mask(slice.wanted[query])
        total = data.rows if mask is None else int(np.count_nonzero(mask))

        def find(n: int) -> Candidates:
            rows, estimates = stage.candidates(vector, min(n, total), mask)
            return Candidates(
                rows, estimates, data.columns.person[rows], total, stage.margin(vector)
            )

        ask = Ask(TOP_K, slice.group_by, None)
        found, count = exact_search(vector, ask, find=find, read_vectors=lambda r: _read(data, r))
        scored.append(count)
        return [hit.row for hit in found]

    return _figures(data, search, build_s, grouped=True) | {"scored": float(np.mean(scored))}


def _rabitq(data: Data) -> Quantizer | None:
    """The rung of the ladder that it is, as the gallery would train it."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(data.rows, min(SAMPLE_ROWS, data.rows), replace=False))
    sample = np.ascontiguousarray(data.vectors.read(rows).vectors)
    quantizer: Quantizer | None = choose(sample, data.rows, exact_below=0)
    while quantizer is not None and not isinstance(quantizer, HadamardRaBitQ):
        quantizer = finer(quantizer, sample)
    return quantizer


def _read(data: Data, rows: NDArray[np.int64]) -> StoredVectors:
    return StoredVectors(data.vectors.read(rows).vectors, np.ones(len(rows), np.bool_))


def lancedb(memory_gb: float, work: str, index: str, **where: Any) -> dict[str, Any]:
    """LanceDB embedded, by `index` (its type's name) or, for "flat", without one."""
    if importlib.util.find_spec("lancedb") is None:
        return {"skipped": "lancedb is not installed"}
    from benchmarks.gallery_lancedb import LanceTable  # takes memory that is only this peer's

    data = Data.of(**where)
    directory = Path(work) / "lancedb"
    shutil.rmtree(directory, ignore_errors=True)  # of a process that was killed
    try:
        start = time.perf_counter()
        table = LanceTable.written(directory, data.blocks(), data.columns, data.dim)
        note = None if index == "flat" else table.make_index(index, data.rows)
        figures = _figures(data, table.search, time.perf_counter() - start)
        return figures | {"note": note}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def gpu(memory_gb: float, **where: Any) -> dict[str, Any]:
    """Exact search in half precision, all vectors in the memory of a card."""
    if not hasattr(faiss, "StandardGpuResources"):
        return {"skipped": "this FAISS has no GPU support"}
    if not faiss.get_num_gpus():
        return {"skipped": "no card"}
    data = Data.of(**where)
    start = time.perf_counter()
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = True
    index: Any = faiss.GpuIndexFlat(
        faiss.StandardGpuResources(), data.dim, faiss.METRIC_INNER_PRODUCT, config
    )
    for _, vectors in data.blocks():
        index.add(vectors.astype(np.float32))
    build_s = time.perf_counter() - start

    def search(slice: Slice, query: int) -> list[int]:
        _, rows = index.search(slice.vectors[query : query + 1], TOP_K)
        found: list[int] = rows[0].tolist()
        return found

    # It knows no filters.
    kept = [(s, t) for s, t in zip(data.slices, data.tops, strict=True) if not any(s.wanted)]
    unfiltered = Data(data.vectors, data.columns, [s for s, _ in kept], [t for _, t in kept])
    return _figures(unfiltered, search, build_s)


def _figures(data: Data, search: Search, build_s: float, grouped: bool = False) -> dict[str, Any]:
    return {
        "build_s": build_s,
        "slices": data.ask(search, grouped=grouped),
        "memory_mb": memory_mb("VmRSS", "RssAnon", "RssFile", "VmHWM"),
    }


if __name__ == "__main__":
    child_main(flat, rabitq, lancedb, gpu)
