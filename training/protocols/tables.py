"""Tables: the similarities that the trials and variants of one contest share, each worked out once.

Columns are the candidates that some trial draws; what no trial draws is never looked at.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.contest import Contest, Labels, Measure, ignored
from training.protocols.embedded import Embedded, Positions, fill, within

Table = NDArray[np.float32]


class Tables:
    """Similarities of a contest's queries (Q) and drawn candidates (C), made when asked for.

    With `only_seen`, pairs that no query of a camera may see are left out of the product, and what
    stands in their place has no meaning.

    Raises:
        ProtocolError: the embeddings do not fit the labels or each other.
    """

    def __init__(
        self, contest: Contest, query: Embedded, gallery: Embedded, *, only_seen: bool
    ) -> None:
        _check(contest, query, gallery)
        self.contest = contest
        self._query = query
        self._only_seen = only_seen
        drawn = np.unique(np.concatenate(contest.trials))
        self._candidates = gallery.rows(drawn)
        self.labels: Labels = contest.gallery.rows(drawn)
        self.trials: list[Positions] = [np.searchsorted(drawn, rows) for rows in contest.trials]
        self._tables: dict[tuple[str, Measure], Table] = {}

    @cached_property
    def drawn(self) -> NDArray[np.bool_]:
        """(T, C): the candidates that each trial's gallery has."""
        drawn = np.zeros((len(self.trials), len(self.labels)), dtype=bool)
        for trial, columns in enumerate(self.trials):
            drawn[trial, columns] = True
        return drawn

    def between(self, measure: Measure) -> Table:
        """(Q, C): queries to candidates."""
        key = ("between", measure)
        if key not in self._tables:
            self._tables[key] = self._between(measure)
        return self._tables[key]

    def among_queries(self, measure: Measure) -> Table:
        """(Q, Q), symmetric."""
        return self._among("queries", self._query, measure)

    def among_candidates(self, measure: Measure) -> Table:
        """(C, C), symmetric."""
        return self._among("candidates", self._candidates, measure)

    def _among(self, name: str, rows: Embedded, measure: Measure) -> Table:
        if (name, measure) not in self._tables:
            self._tables[name, measure] = within(rows, measure)
        return self._tables[name, measure]

    def _between(self, measure: Measure) -> Table:
        query, candidates = self._query, self._candidates
        table = np.empty((len(query), len(candidates)), dtype=np.float32)
        everything = np.arange(len(candidates))
        if not self._only_seen or self.contest.ignore != "camera 2 for probes of camera 3":
            fill(table, query, np.arange(len(query)), candidates, everything, measure)
            return table
        cameras = self.contest.query.camera_ids
        for camera_id in np.unique(cameras).tolist():
            rows = np.flatnonzero(cameras == camera_id)
            hidden = ignored(self.contest.ignore, self.contest.query.rows(rows[:1]), self.labels)
            seen = everything if hidden is None else everything[~hidden[0]]
            fill(table, query, rows, candidates, seen, measure)
        return table


def _check(contest: Contest, query: Embedded, gallery: Embedded) -> None:
    for name, vectors, labels in (
        ("query", query, contest.query),
        ("gallery", gallery, contest.gallery),
    ):
        if len(vectors) != len(labels):
            raise ProtocolError(f"{len(vectors)} {name} embeddings, but {len(labels)} labels")
    ours, theirs = query.source.shape[1], gallery.source.shape[1]
    if ours != theirs:
        raise ProtocolError(f"query embeddings have {ours} dimensions, gallery embeddings {theirs}")
