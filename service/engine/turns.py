"""Whose turn it is at the encoder. Counts batches; knows no jobs and no threads."""

from collections.abc import Mapping
from typing import Final

from service.engine.crop_jobs import Kind

QUERIES_IN_A_ROW: Final = 7
"""How many batches of queries run while enrolments wait; then one of theirs does."""
OTHERS_IN_A_ROW: Final = 31
"""How many batches of requests run while crops of a refresh wait; then one of theirs does."""


class Turns:
    """Queries go first, enrolments next, a refresh last; none of them waits for ever."""

    def __init__(self) -> None:
        self._query_batches = 0
        self._other_batches = 0

    def next(self, ready: Mapping[Kind, int], *, query_coming: bool) -> Kind | None:
        """Return whose batch is to run, by how many crops of each kind are ready; None: nobody's.

        `query_coming`: one is being decoded. A refresh lets it pass: the encoder is idle for a
        moment then, where the query would wait for a whole batch more.
        """
        requests = ready["query"] or ready["enroll"]
        if ready["refresh"]:
            if self._other_batches >= OTHERS_IN_A_ROW or not (requests or query_coming):
                self._other_batches = 0
                return "refresh"
            self._other_batches += 1
        if not requests:
            return None
        if not ready["enroll"]:
            return "query"
        if ready["query"] and self._query_batches < QUERIES_IN_A_ROW:
            self._query_batches += 1
            return "query"
        self._query_batches = 0
        return "enroll"
