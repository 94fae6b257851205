"""Whether live scores still are what the calibration was made of: the drift signal.

Each query is compared with a few entries drawn at random, which are nearly all of other persons:
their similarities should be spread as the impostors of the calibration are. Who the entries are is
not looked at, and nothing but similarities is kept, in memory alone.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryError
from gallery_index.person_gallery import PersonGallery
from model.calibration import Calibration, PairCalibration, PairKind, pair_kind
from service.observing.exposition import Family, Sample
from service.refresh.served import ServedModel

DRAWN: Final = 8
"""Entries that a query is compared with: 0.3 ms at 3,584 dimensions, 0.4 ms at 14,336."""
WINDOW: Final = 4096
"""Similarities kept of each kind of pair, those of the last 500 queries or more: 130 KiB."""
LEAST: Final = 1024
"""Similarities of a kind of pair before anything is said of it."""
KNOWN_AT: Final = 1e-3
"""The false-accept rate at which a query's person counts as known."""


class ScoreDrift:
    """Scores of recent queries against the calibration in use. Any thread may call it.

    Another calibration, or another model, begins anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calibration: Calibration | None = None
        self._windows: dict[PairKind, deque[float]] = {}
        self._queries = {"known": 0, "unknown": 0}

    def look(
        self,
        gallery: PersonGallery,
        served: ServedModel,
        modality: str,
        embedding: NDArray[np.float32],
    ) -> None:
        """Compare a crop's embedding (D,) with entries drawn at random; never fails a query."""
        if served.calibration is None:
            return
        try:
            drawn = gallery.random_matches(embedding, DRAWN, model_id=served.model_id)
        except GalleryError:  # the model has changed, or a store is away: there are other queries
            return
        self.observe(
            served.calibration,
            [(pair_kind(modality, match.entry.modality), match.similarity) for match in drawn],
        )

    def observe(self, calibration: Calibration, scores: Sequence[tuple[PairKind, float]]) -> None:
        """Take in similarities of pairs that nobody has chosen."""
        with self._lock:
            if calibration is not self._calibration:
                self._calibration = calibration
                self._windows = {pair: deque(maxlen=WINDOW) for pair in calibration.kinds}
            for pair, similarity in scores:
                if pair in self._windows:
                    self._windows[pair].append(similarity)

    def count_query(self, *, known: bool) -> None:
        """Count a query that could have found somebody at the rate of `KNOWN_AT`."""
        with self._lock:
            self._queries["known" if known else "unknown"] += 1

    def families(self) -> list[Family]:
        """Return how far scores have moved; of pairs of which little was seen only how many."""
        with self._lock:
            calibration = self._calibration
            windows = {pair: np.array(window) for pair, window in self._windows.items()}
            queries = dict(self._queries)
        drift, shift = [], []
        for pair, scores in windows.items():
            if calibration is not None and len(scores) >= LEAST:
                of_pair = calibration.kinds[pair]
                drift.append(Sample(distance(scores, of_pair), {"pair": pair}))
                shift.append(Sample(float(scores.mean()) - _mean(of_pair), {"pair": pair}))
        return [
            Family(
                "mpanet_score_drift",
                "gauge",
                "How far similarities of queries to random entries are spread otherwise than the"
                " calibration's impostors: Kolmogorov-Smirnov distance, 0 to 1.",
                drift,
            ),
            Family(
                "mpanet_score_shift",
                "gauge",
                "Mean of these similarities less that of the impostors; above 0 more false accepts"
                " pass than was promised.",
                shift,
            ),
            Family(
                "mpanet_score_window",
                "gauge",
                "Similarities to random entries that drift and shift are told by.",
                [Sample(len(scores), {"pair": pair}) for pair, scores in windows.items()],
            ),
            Family(
                "mpanet_judged_queries_total",
                "counter",
                "Queries by whether a match reaches the threshold of false-accept rate 0.001.",
                [Sample(count, {"outcome": outcome}) for outcome, count in queries.items()],
            ),
        ]


def distance(scores: NDArray[np.float64], calibration: PairCalibration) -> float:
    """Return the Kolmogorov-Smirnov distance of scores (n,) to the calibration's impostors.

    The largest difference of the shares below any edge of the impostors' histogram.
    """
    edges, counts = calibration.impostor.edges, calibration.impostor.counts
    expected = np.cumsum(counts) / np.sum(counts)
    came = np.searchsorted(np.sort(scores), edges[1:], side="right") / len(scores)
    return float(np.abs(came - expected).max())


def _mean(calibration: PairCalibration) -> float:
    edges, counts = calibration.impostor.edges, calibration.impostor.counts
    middles = (edges[:-1] + edges[1:]) / 2
    return float((middles * counts).sum() / np.sum(counts))
