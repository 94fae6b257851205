"""What `/metrics` says of the gallery: what it holds, and what searches in it are worth."""

from gallery_index.records import GalleryStats
from service.observing.exposition import Family, Sample, gauge


def gallery_families(stats: GalleryStats | None) -> list[Family]:
    """Return the gallery's families; None: it does not answer, so only that is known."""
    ready = 0 if stats is None else stats.ready
    alive = gauge("mpanet_store_ready", "1 while the metadata store answers.", ready)
    if stats is None:
        return [alive]
    return [alive, *_contents(stats), *_snapshot(stats), *_search_quality(stats)]


def _contents(stats: GalleryStats) -> list[Family]:
    store = {"kind": stats.store, "durability": stats.durability}
    return [
        gauge("mpanet_gallery_entries", "Entries that can be found.", stats.entries),
        gauge("mpanet_gallery_persons", "Persons with an entry.", stats.persons),
        gauge("mpanet_gallery_rows", "Rows ever written, deleted ones too.", stats.rows),
        gauge(
            "mpanet_gallery_damaged_rows",
            "Rows found to fail their checksum since the start; `mpanet gallery rebuild` mends.",
            stats.damaged_rows,
        ),
        Family(
            "mpanet_store_info",
            "gauge",
            "Where the records are, and what an acknowledged write survives.",
            [Sample(1, store)],
        ),
        Family(
            "mpanet_model_info", "gauge", "The model.", [Sample(1, {"model_id": stats.model_id})]
        ),
    ]


def _snapshot(stats: GalleryStats) -> list[Family]:
    return [
        gauge("mpanet_snapshot_age_seconds", "Age of the newest snapshot.", stats.snapshot_age_s),
        gauge(
            "mpanet_snapshot_rows_since",
            "Rows that a start would add to the newest snapshot.",
            stats.rows_since_snapshot,
        ),
    ]


def _search_quality(stats: GalleryStats) -> list[Family]:
    measured_at = stats.recall_measured_at
    return [
        Family(
            "mpanet_index_info",
            "gauge",
            "The kind of the index.",
            [Sample(1, {"kind": stats.index_kind})],
        ),
        gauge("mpanet_index_bytes", "Memory that the index takes.", stats.index_bytes),
        gauge(
            "mpanet_index_dead_positions",
            "Positions of deleted entries; a compaction drops them.",
            stats.dead_positions,
        ),
        gauge(
            "mpanet_index_recall_at_10",
            "Share of the ten nearest entries that searches found, as last measured.",
            stats.recall_at_10,
        ),
        gauge(
            "mpanet_index_recall_target",
            "The recall below which the index is built anew, finer.",
            stats.recall_target,
        ),
        gauge(
            "mpanet_index_recall_measured_timestamp_seconds",
            "When recall was last measured, Unix time.",
            None if measured_at is None else measured_at.timestamp(),
        ),
        gauge(
            "mpanet_index_candidates_per_query",
            "Vectors that recent searches compared exactly, on average.",
            stats.candidates_per_query,
        ),
    ]
