"""The recall of a local index, on its own entries: which ask, and what they are answered."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Ask
from gallery_index.exact_search import exact_search
from gallery_index.index.local_index import LocalIndex, live_positions
from gallery_index.index.recall import Block, Probe, draw_probes, measure_recall
from gallery_index.index.recall_record import Recall
from gallery_index.records import EntryFilter

DEPTH = 10
PROBES = 64
_GROUPS = ("visible", "infrared")


def _ignore() -> None:
    """Go on."""


def measured(index: LocalIndex, on_block: Callable[[], None] = _ignore) -> Recall:
    """Return the recall@10 of searches for a sample of entries, half of them across modalities.

    Reads every vector once; searches and writes go on, compaction must not. Entries that come or go
    meanwhile are not held against it. `on_block` may end it by an error.
    """
    with index.view.reading():
        positions = live_positions(index.table)
        infrared = index.table.mask(EntryFilter(modality="infrared"))
        rows = index.table.rows_of(positions)
        known = index.table.positions
    groups = np.zeros(known, np.int8) if infrared is None else infrared.astype(np.int8)
    probes = _probes(index, positions, groups)
    value = measure_recall(
        probes,
        _sound_blocks(index, positions, rows, on_block),
        lambda probe, k: _answer(index, probe, k, known),
        groups=groups,
        k=DEPTH,
    )
    return Recall(value, len(positions), datetime.now(UTC))


def _probes(
    index: LocalIndex, positions: NDArray[np.int64], groups: NDArray[np.int8]
) -> list[Probe]:
    draw = np.random.default_rng(len(positions))
    chosen = np.sort(draw.choice(positions, min(PROBES, len(positions)), replace=False))
    draw.shuffle(chosen)
    with index.view.reading():
        chosen = chosen[np.isin(chosen, live_positions(index.table))]  # others were erased since
        stored = index.vectors(index.table.rows_of(chosen))
    return draw_probes(stored.values[stored.sound], groups[chosen[stored.sound]])


def _answer(index: LocalIndex, probe: Probe, k: int, known: int) -> NDArray[np.int64]:
    filter = EntryFilter(modality=None if probe.group is None else _GROUPS[probe.group])
    with index.view.reading():
        found, _ = exact_search(
            probe.vector,
            Ask(k, "entry", None),
            find=lambda n: index.candidates(probe.vector, n, filter, before=known),
            read_vectors=index.vectors,
        )
        return index.table.positions_of(np.array([hit.row for hit in found], np.int64))


def _sound_blocks(
    index: LocalIndex,
    positions: NDArray[np.int64],
    rows: NDArray[np.int64],
    on_block: Callable[[], None],
) -> Iterator[Block]:
    for start in range(0, len(rows), 256):
        on_block()
        block = index.file.read(rows[start : start + 256])
        yield positions[start : start + 256][block.sound], block.vectors[block.sound]
