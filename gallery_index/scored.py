"""What of a query's candidates has been scored, and what that says of the others."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import MOST_SCORED, Ask, Candidates

_KNOWN_PERSON = 8  # entries of a person scored, from which the errors of the others are known
_CAUTION = 2.0  # of the error that a query has shown, for entries that it has not met


@dataclass(slots=True, eq=False)
class Scored:
    """What has been scored so far: float32 similarities, right to `error`."""

    error: float
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    persons: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    estimates: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def add(self, found: Candidates, places: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        self.rows = np.concatenate([self.rows, found.rows[places]])
        self.persons = np.concatenate([self.persons, found.persons[places]])
        self.values = np.concatenate([self.values, values])
        self.estimates = np.concatenate([self.estimates, found.estimates[places]])

    def margin(self, found: Candidates) -> float:
        """How far a similarity may exceed its estimate, by what this query has shown so far.

        Estimates fall short the more the nearer an entry is, and the nearest are scored first: what
        they were short of bounds what the others are. Never more than the first stage says, nor
        less than a quarter of it.
        """
        if not len(self.values) or found.total <= MOST_SCORED:
            return found.margin
        shown = float((self.values - self.estimates).max())
        return min(found.margin, max(_CAUTION * shown + self.error, found.margin / 4))

    def best_of_groups(self, ask: Ask) -> NDArray[np.float32]:
        """The best of each person scored; of entries without one, and ungrouped, every value."""
        if ask.group_by == "entry":
            return self.values
        alone = self.persons < 0
        persons, group = np.unique(self.persons[~alone], return_inverse=True)
        best = np.full(len(persons), -np.inf, np.float32)
        np.maximum.at(best, group, self.values[~alone])
        return np.concatenate([best, self.values[alone]])

    def bar(self, ask: Ask) -> float:
        """What an entry must reach to belong to the answer, as far as is known."""
        best = self.best_of_groups(ask)
        if len(best) < ask.top_k:
            return ask.floor
        kth = np.partition(best, len(best) - ask.top_k)[len(best) - ask.top_k]
        return max(float(kth) - self.error, ask.floor)

    def person_bars(self, persons: NDArray[np.int64]) -> NDArray[np.float32]:
        """What an entry must reach to be the best of its person, for each of these."""
        bars = np.full(len(persons), -np.inf, np.float32)
        groups, place, known = self._groups(persons)
        if len(groups.names):
            bars[known] = groups.best[place[known]] - self.error
        return bars

    def counts(self, persons: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many entries of each of these persons have been scored."""
        counts = np.zeros(len(persons), np.int64)
        groups, place, known = self._groups(persons)
        if len(groups.names):
            counts[known] = groups.counts[place[known]]
        return counts

    def person_margins(self, persons: NDArray[np.int64], found: Candidates) -> NDArray[np.float32]:
        """How far a similarity may exceed its estimate, for entries of each of these persons.

        A person's crops are alike, and so are the errors of their estimates: after a few, the
        largest, and twice as much again as they differ by, bounds the rest.
        """
        margins = np.full(len(persons), self.margin(found), np.float32)
        groups, place, known = self._groups(persons)
        if len(groups.names) and found.total > MOST_SCORED:
            known &= groups.counts[place] >= _KNOWN_PERSON
            spread = groups.most_short - groups.least_short
            shown = groups.most_short + 2 * spread + self.error
            margins[known] = np.minimum(margins[known], shown[place[known]])
        return margins

    def _groups(
        self, persons: NDArray[np.int64]
    ) -> tuple["_Groups", NDArray[np.intp], NDArray[np.bool_]]:
        """Return the persons scored, the place of each of these among them, and whether it is."""
        groups = _Groups.of(self.persons, self.values, self.values - self.estimates)
        if not len(groups.names):
            return groups, np.zeros(len(persons), np.intp), np.zeros(len(persons), np.bool_)
        place = np.minimum(np.searchsorted(groups.names, persons), len(groups.names) - 1)
        return groups, place, (groups.names[place] == persons) & (persons >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The entries scored, by person: ascending names, and for each how many, the best value, and
    the most and least that an estimate was short of its value."""

    names: NDArray[np.int64]
    counts: NDArray[np.int64]
    best: NDArray[np.float32]
    most_short: NDArray[np.float32]
    least_short: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        persons: NDArray[np.int64],
        values: NDArray[np.float32],
        short: NDArray[np.float32],
    ) -> "_Groups":
        order = np.argsort(persons, kind="stable")
        names, starts, counts = np.unique(persons[order], return_index=True, return_counts=True)
        if not len(names):
            empty = np.empty(0, np.float32)
            return cls(names, counts, empty, empty, empty)
        return cls(
            names,
            counts,
            np.maximum.reduceat(values[order], starts),
            np.maximum.reduceat(short[order], starts),
            np.minimum.reduceat(short[order], starts),
        )
