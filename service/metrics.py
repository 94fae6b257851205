"""What `/metrics` says: the state of the gallery, and what was asked of it since the start."""

from collections.abc import Iterable
from typing import Final

from gallery_index.records import Added, GalleryStats
from service.exposition import Family, FamilyType, Histogram, Sample, exposition
from service.schemas import Timings

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
STAGES: Final = ("decode", "queue", "embed", "search", "rerank")
OUTCOMES: Final = ("stored", "replayed", "refused")


class Metrics:
    """Counts since the start. Its methods belong to one event loop."""

    def __init__(self) -> None:
        self._queries = 0
        self._enrolments = dict.fromkeys(OUTCOMES, 0)
        self._stages = {stage: Histogram(BUCKETS_S) for stage in STAGES}

    def count_query(self, timings: Timings, *, reranked: bool) -> None:
        """Count an answered query; only one that was re-ranked has that stage."""
        self._queries += 1
        for stage in STAGES:
            if stage != "rerank" or reranked:
                self._stages[stage].observe(getattr(timings, stage) / 1000)

    def count_enrolments(self, outcomes: Iterable[Added | Exception]) -> None:
        """Count what became of the crops of one request."""
        for outcome in outcomes:
            if isinstance(outcome, Added):
                self._enrolments["replayed" if outcome.replayed else "stored"] += 1
            else:
                self._enrolments["refused"] += 1

    def text(self, stats: GalleryStats) -> str:
        """Write everything in the text format of Prometheus."""
        return exposition([*_gallery(stats), *_search_quality(stats), *self._counts()])

    def _counts(self) -> list[Family]:
        enrolments = [Sample(n, {"outcome": name}) for name, n in self._enrolments.items()]
        stages = [
            sample
            for stage, histogram in self._stages.items()
            for sample in histogram.samples({"stage": stage})
        ]
        return [
            _family("queries_total", "counter", "Queries answered.", self._queries),
            Family("mpanet_enrolments_total", "counter", "Crops sent to be enrolled.", enrolments),
            Family(
                "mpanet_query_stage_seconds",
                "histogram",
                "What a query spent in each stage; of several crops the longest.",
                stages,
            ),
        ]


def _gallery(stats: GalleryStats) -> list[Family]:
    store = {"kind": stats.store, "durability": stats.durability}
    return [
        _family("gallery_entries", "gauge", "Entries that can be found.", stats.entries),
        _family("gallery_persons", "gauge", "Persons with an entry.", stats.persons),
        _family("gallery_rows", "gauge", "Rows ever written, deleted ones too.", stats.rows),
        _family(
            "gallery_damaged_rows",
            "gauge",
            "Rows found to fail their checksum since the start; `mpanet gallery rebuild` mends.",
            stats.damaged_rows,
        ),
        _family("store_ready", "gauge", "1 while the metadata store answers.", stats.ready),
        Family(
            "mpanet_store_info",
            "gauge",
            "Where the records are, and what an acknowledged write survives.",
            [Sample(1, store)],
        ),
        Family(
            "mpanet_model_info", "gauge", "The model.", [Sample(1, {"model_id": stats.model_id})]
        ),
        _family(
            "snapshot_age_seconds", "gauge", "Age of the newest snapshot.", stats.snapshot_age_s
        ),
        _family(
            "snapshot_rows_since",
            "gauge",
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
        _family("index_bytes", "gauge", "Memory that the index takes.", stats.index_bytes),
        _family(
            "index_dead_positions",
            "gauge",
            "Positions of deleted entries; a compaction drops them.",
            stats.dead_positions,
        ),
        _family(
            "index_recall_at_10",
            "gauge",
            "Share of the ten nearest entries that searches found, as last measured.",
            stats.recall_at_10,
        ),
        _family(
            "index_recall_target",
            "gauge",
            "The recall below which the index is built anew, finer.",
            stats.recall_target,
        ),
        _family(
            "index_recall_measured_timestamp_seconds",
            "gauge",
            "When recall was last measured, Unix time.",
            None if measured_at is None else measured_at.timestamp(),
        ),
        _family(
            "index_candidates_per_query",
            "gauge",
            "Vectors that recent searches compared exactly, on average.",
            stats.candidates_per_query,
        ),
    ]


def _family(name: str, type: FamilyType, help: str, value: float | None) -> Family:
    """Return a family of one sample, or of none where nothing is known."""
    return Family(f"mpanet_{name}", type, help, [] if value is None else [Sample(value)])
