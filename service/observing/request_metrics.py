"""What `/metrics` says of requests: how many, how long, refused why, and where their time went.

Labels are bounded: an unknown path or method is `other`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from service.observing.exposition import Family, Histogram, Sample
from service.observing.stages import STAGES
from service.problems import INTERNAL, KINDS, OF_CONNECTIONS

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
CODES: Final = (*(kind.code for kind in KINDS.values()), INTERNAL.code, "not_found")
"""They begin at 0: of a counter that begins with its first event no increase is seen."""
QUERY: Final = "/query"
QUERY_STAGES: Final = ("decode", "queue", "embed", "search", "rerank")


class RequestCounts:
    """What requests came to since the start. Its methods belong to one event loop."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str, int], Histogram] = {}
        self._problems = Counter(dict.fromkeys(CODES, 0))
        self._connections = Counter({kind.code: 0 for kind in OF_CONNECTIONS})
        self._stages = {(QUERY, stage): Histogram(BUCKETS_S) for stage in QUERY_STAGES}

    def count_request(
        self, route: str | None, method: str, status: int, code: str | None, seconds: float
    ) -> None:
        """Count a request; status 0 is one without an answer, `route` None an unknown path."""
        key = route or OTHER, method if method in METHODS else OTHER, status
        histogram = self._seconds.get(key)
        if histogram is None:
            histogram = self._seconds[key] = Histogram(BUCKETS_S)
        histogram.observe(seconds)
        if code is not None:
            self._problems[code] += 1

    def count_stages(self, route: str | None, stages: Mapping[str, float]) -> None:
        """Count what a request spent in each stage, in milliseconds."""
        for stage, ms in stages.items():
            assert stage in STAGES
            key = route or OTHER, stage
            histogram = self._stages.get(key)
            if histogram is None:
                histogram = self._stages[key] = Histogram(BUCKETS_S)
            histogram.observe(ms / 1000)

    def count_refused_connection(self, code: str) -> None:
        """Count a connection that was answered before there was a request."""
        self._connections[code] += 1

    def families(self) -> list[Family]:
        """Return all counts."""
        seconds = [
            sample
            for (route, method, status), histogram in sorted(self._seconds.items())
            for sample in histogram.samples(
                {"route": route, "method": method, "status": str(status)}
            )
        ]
        return [
            Family(
                "mpanet_request_seconds", "histogram", "Requests and how long each took.", seconds
            ),
            _by_code(
                "mpanet_problems_total", "Requests answered with an error, by code.", self._problems
            ),
            _by_code(
                "mpanet_connections_refused_total",
                "Connections answered with an error before there was a request.",
                self._connections,
            ),
            *self._stage_families(),
        ]

    def _stage_families(self) -> list[Family]:
        stages = [
            sample
            for (route, stage), histogram in sorted(self._stages.items())
            for sample in histogram.samples({"route": route, "stage": stage})
        ]
        of_queries = [
            sample
            for stage in QUERY_STAGES
            for sample in self._stages[QUERY, stage].samples({"stage": stage})
        ]
        return [
            Family(
                "mpanet_stage_seconds",
                "histogram",
                "What requests spent in each stage; of several crops the longest.",
                stages,
            ),
            Family(
                "mpanet_query_stage_seconds",
                "histogram",
                "What a query spent in each stage; of several crops the longest.",
                of_queries,
            ),
        ]


def _by_code(name: str, help: str, counts: Counter[str]) -> Family:
    samples = [Sample(n, {"code": code}) for code, n in sorted(counts.items())]
    return Family(name, "counter", help, samples)
