"""LanceDB, embedded, over the vectors of the gallery benchmark."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.gallery_slices import TOP_K, Columns, Slice

PARTITION_ROWS = 4096
SAMPLE_RATE = 16
"""Rows a partition that centres are trained on: its default of 256 would read 100,000 rows into
memory as float32, at 14,336 dimensions 5.7 GB."""
DIMENSIONS_A_BYTE = 16
PROBES = 20
REFINE = 10


class LanceTable:
    """A table of rows, fields and fp16 vectors."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._indexed = False

    @classmethod
    def written(
        cls,
        directory: Path,
        blocks: Iterable[tuple[int, NDArray[np.float16]]],
        columns: Columns,
        dim: int,
    ) -> "LanceTable":
        """Write a table of all blocks."""
        schema = pa.schema(
            [("row", pa.int64()), ("vector", pa.list_(pa.float16(), dim))]
            + [(name, pa.int64()) for name in ("infrared", "camera", "site", "zone")]
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for first, vectors in blocks:
                rows = np.arange(first, first + len(vectors))
                flat = pa.array(vectors.reshape(-1))
                fields = [
                    getattr(columns, name)[rows].astype(np.int64)
                    for name in ("infrared", "camera", "site", "zone")
                ]
                arrays = [rows, pa.FixedSizeListArray.from_arrays(flat, dim), *fields]
                yield pa.record_batch([pa.array(array) for array in arrays], schema=schema)

        database = lancedb.connect(directory)
        return cls(database.create_table("entries", batches(), schema=schema))

    def make_index(self, kind: str, rows: int) -> str:
        """Index the vectors; says how."""
        partitions = max(1, rows // PARTITION_ROWS)
        settings: dict[str, Any] = {"num_partitions": partitions, "sample_rate": SAMPLE_RATE}
        if kind.endswith("PQ"):
            dim = self._table.schema.field("vector").type.list_size
            settings["num_sub_vectors"] = dim // DIMENSIONS_A_BYTE
            settings["sample_rate"] = SAMPLE_RATE
        self._table.create_index(metric="dot", index_type=kind, **settings)
        self._indexed = True
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        return f"{told}; {PROBES} probes, refined {REFINE} times"

    def search(self, slice: Slice, query: int) -> list[int]:
        """Return the rows nearest to a query, best first."""
        builder = self._table.search(slice.vectors[query].astype(np.float16)).metric("dot")
        if self._indexed:
            builder = builder.nprobes(PROBES).refine_factor(REFINE)
        wanted = slice.wanted[query]
        if wanted is not None:
            builder = builder.where(wanted.sql(), prefilter=True)
        found = builder.select(["row", "_distance"]).limit(TOP_K).to_arrow()
        rows: list[int] = found["row"].to_pylist()
        return rows
