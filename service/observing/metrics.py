"""`Metrics`: what was asked of the service since the start; what `/metrics` says, put together.

What each part says is `request_metrics`, `engine_metrics`, `gallery_metrics`, `process_metrics`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gallery_index.records import Added, GalleryStats
from service.observing.engine_metrics import EngineCounts, EngineStanding, engine_families
from service.observing.exposition import Family, Sample, counter, exposition, gauge
from service.observing.gallery_metrics import gallery_families
from service.observing.process_metrics import process_families
from service.observing.request_metrics import RequestCounts
from service.observing.score_drift import ScoreDrift
from service.problems import kind_of

OUTCOMES: Final = ("stored", "replayed", "refused")


@dataclass(frozen=True, slots=True)
class Standing:
    """How the service stands now; None: it is not known.

    `stats` None: the gallery does not answer. `free_bytes` are those of the data directory.
    """

    stats: GalleryStats | None
    engine: EngineStanding
    encoder_healthy: bool
    audit_ready: bool | None
    free_bytes: int | None


class Metrics(EngineCounts):
    """Counts since the start: an `EngineObserver` for any thread, `requests` for the edge, `drift`
    for whoever searches.

    Its own methods belong to one event loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests = RequestCounts()
        self.drift = ScoreDrift()
        self._queries = 0
        self._enrolments = dict.fromkeys(OUTCOMES, 0)
        self._refused: Counter[str] = Counter()

    def count_query(self) -> None:
        """Count an answered query."""
        self._queries += 1

    def count_enrolments(self, outcomes: Iterable[Added | Exception]) -> None:
        """Count what became of the crops of one request."""
        for outcome in outcomes:
            if isinstance(outcome, Added):
                self._enrolments["replayed" if outcome.replayed else "stored"] += 1
            else:
                self._enrolments["refused"] += 1
                self._refused[kind_of(outcome).code] += 1

    def text(self, standing: Standing) -> str:
        """Write everything in the text format of Prometheus. Reads files of the system."""
        return exposition(
            [
                *gallery_families(standing.stats),
                *self._crops(),
                *self.requests.families(),
                *engine_families(standing.engine, healthy=standing.encoder_healthy),
                *self.families(),
                *self.drift.families(),
                gauge(
                    "mpanet_audit_ready",
                    "1 while the audit log can be written.",
                    standing.audit_ready,
                ),
                gauge(
                    "mpanet_data_free_bytes",
                    "Free bytes on the disk of the data directory.",
                    standing.free_bytes,
                ),
                *process_families(),
            ]
        )

    def _crops(self) -> list[Family]:
        outcomes = [Sample(n, {"outcome": name}) for name, n in self._enrolments.items()]
        refused = [Sample(n, {"code": code}) for code, n in sorted(self._refused.items())]
        return [
            counter("mpanet_queries_total", "Queries answered.", self._queries),
            Family("mpanet_enrolments_total", "counter", "Crops sent to be enrolled.", outcomes),
            Family(
                "mpanet_crops_refused_total",
                "counter",
                "Crops sent to be enrolled and refused, by the code of their problem.",
                refused,
            ),
        ]
