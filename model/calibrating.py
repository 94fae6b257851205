"""From labelled crops, or pairs of them, to a calibration.

A genuine pair shows one person, an impostor pair two. Pairs that share a person are alike in how
alike they are, so how sure a rate is follows from drawing persons anew, not pairs: the intervals
are those of a bootstrap over persons, and never narrower than were all pairs independent.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.calibration import (
    CONFIDENCE,
    LEAST_ACCEPTED,
    PAIR_KINDS,
    RATES,
    Calibration,
    Histogram,
    PairCalibration,
    PairKind,
    Threshold,
    Unsupported,
    pair_kind,
)
from model.errors import CalibrationError
from model.labelled_pairs import Pairs, camera_numbers, pairs_between, some_of

LEAST_PERSONS: Final = 10
LEAST_GENUINE: Final = 30
WIDEST: Final = 4.0
"""How many times a rate its interval may reach; a wider one promises nothing."""
BIN: Final = 1 / 128
RESAMPLES: Final = 1000
_Z: Final = 2.5758293035489004  # of a normal distribution, two-sided, for CONFIDENCE
_ANEW: Final = math.sqrt(2)
_SEED: Final = 6


def calibrate(
    embeddings: NDArray[np.floating],
    person_ids: Sequence[str],
    modalities: Sequence[str],
    camera_ids: Sequence[str | None] | None = None,
) -> Calibration:
    """Calibrate a model by what it makes of labelled crops.

    Every pair of crops of a kind takes part, except that two crops of one person by one camera do
    not: they are often of the same moment, and alike for that. Without cameras these do.

    Args:
        embeddings: (N, D), of length one or nearly.
        person_ids, modalities, camera_ids: of each crop; None is an unknown camera.

    Raises: CalibrationError: no kind of pair has enough data; the message says what each has. Or
    what came does not belong together.
    """
    _check(embeddings, person_ids, modalities, person_ids if camera_ids is None else camera_ids)
    _, persons = np.unique(np.asarray(person_ids, str), return_inverse=True)
    cameras = None if camera_ids is None else camera_numbers(camera_ids)
    rows = {
        modality: some_of(np.flatnonzero(np.asarray(modalities, str) == modality), persons)
        for modality in ("visible", "infrared")
    }
    kinds: dict[PairKind, PairCalibration] = {}
    absent: dict[PairKind, str] = {}
    for one, other in (("visible", "visible"), ("infrared", "visible"), ("infrared", "infrared")):
        pairs = pairs_between(embeddings, persons, cameras, rows[one], rows[other])
        _take(kinds, absent, pair_kind(one, other), pairs)
    return _calibration(kinds, absent)


def compared(person_ids: Sequence[str], modalities: Sequence[str]) -> NDArray[np.int64]:
    """Return which crops `calibrate` compares, ascending: others need not even be embedded."""
    _, persons = np.unique(np.asarray(person_ids, str), return_inverse=True)
    of_modality = (
        some_of(np.flatnonzero(np.asarray(modalities, str) == modality), persons)
        for modality in ("visible", "infrared")
    )
    return np.sort(np.concatenate(list(of_modality)))


def calibrate_pairs(
    similarities: NDArray[np.floating],
    genuine: NDArray[np.bool_],
    kinds: Sequence[str],
    persons: Sequence[tuple[str, str]] | None = None,
) -> Calibration:
    """Calibrate a model by labelled pairs: similarities (n,), whether of one person (n,), kinds.

    `persons` are those of each pair; without them the pairs are taken to be independent, and the
    intervals are too narrow where they share persons.

    Raises: CalibrationError as `calibrate`.
    """
    _check(similarities, genuine, kinds, kinds if persons is None else persons)
    names = None
    if persons is not None:
        _, numbers = np.unique(np.asarray(persons, str).ravel(), return_inverse=True)
        names = numbers.reshape(-1, 2)
    made: dict[PairKind, PairCalibration] = {}
    absent: dict[PairKind, str] = {}
    for kind in PAIR_KINDS:
        mine = np.asarray(kinds, str) == kind
        of_kind = None if names is None else names[mine]
        values = np.asarray(similarities, np.float64)[mine]
        _take(made, absent, kind, Pairs(values, np.asarray(genuine, bool)[mine], of_kind))
    return _calibration(made, absent)


def _check(numbers: NDArray[np.floating], *others: Sequence[object] | NDArray[np.bool_]) -> None:
    lengths = {len(numbers), *map(len, others)}
    if len(lengths) != 1:
        raise CalibrationError(f"expected a label for each, came {sorted(lengths)} of them")
    if not np.isfinite(numbers).all():
        raise CalibrationError("expected finite numbers, came one that is not")


def _calibration(
    kinds: dict[PairKind, PairCalibration], absent: dict[PairKind, str]
) -> Calibration:
    if not kinds:
        raise CalibrationError("; ".join(f"{kind}: {why}" for kind, why in absent.items()))
    return Calibration(kinds=kinds, absent=absent)


def _take(
    kinds: dict[PairKind, PairCalibration],
    absent: dict[PairKind, str],
    kind: PairKind,
    pairs: Pairs,
) -> None:
    """Calibrate one kind of pair, or note why that cannot be."""
    genuine = int(pairs.genuine.sum())
    impostors = len(pairs.genuine) - genuine
    persons = None if pairs.persons is None else len(np.unique(pairs.persons))
    least = round(LEAST_ACCEPTED / RATES[0])
    few = persons is not None and persons < LEAST_PERSONS
    if few or genuine < LEAST_GENUINE or impostors < least:
        of_persons = "" if persons is None else f" of {persons} persons"
        absent[kind] = (
            f"expected {LEAST_GENUINE} genuine and {least} impostor pairs of {LEAST_PERSONS}"
            f" persons, came {genuine} and {impostors}{of_persons}"
        )
        return
    found = _of_kind(pairs, persons)
    if found is None:
        absent[kind] = f"{persons} persons are too few for a rate of {RATES[0]:g}"
    else:
        kinds[kind] = found


def _of_kind(pairs: Pairs, persons: int | None) -> PairCalibration | None:
    """Calibrate one kind of pair; None where not even the highest rate can be promised."""
    genuine = pairs.similarities[pairs.genuine]
    descending = np.sort(pairs.similarities[~pairs.genuine])[::-1]
    spread = _Spread(pairs)
    thresholds: list[Threshold] = []
    unsupported: list[Unsupported] = []
    for rate in RATES:
        similarity = _least_at(rate, descending)
        low, high = spread.interval(similarity)
        needed = _pairs_needed(rate, high, len(descending))
        if needed > len(descending) or unsupported:
            unsupported.append(Unsupported(rate=rate, pairs_needed=needed))
        else:
            passing = float((genuine >= similarity).mean())
            thresholds.append(
                Threshold(
                    rate=rate,
                    similarity=similarity,
                    interval=(low, high),
                    true_accept_rate=passing,
                )
            )
    if not thresholds:
        return None
    return PairCalibration(
        persons=persons,
        genuine=_histogram(genuine),
        impostor=_histogram(descending),
        evidence=_evidence(genuine, descending),
        thresholds=tuple(thresholds),
        unsupported=tuple(unsupported),
    )


def _least_at(rate: float, descending: NDArray[np.float64]) -> float:
    """Return the least similarity that no more than a rate of impostors reach, on the safe side."""
    allowed = math.floor(rate * len(descending) + 1e-9)
    above = descending[:allowed]
    barrier = descending[allowed] if allowed < len(descending) else -1.0
    passing = above[above > barrier]  # those like the first that must not pass do not either
    return float(passing[-1]) if len(passing) else float(np.nextafter(barrier, 2))


def _pairs_needed(rate: float, high: float, pairs: int) -> int:
    """Return how many impostor pairs a rate takes at least; no more than there are: enough.

    The interval narrows with the square root of the pairs at best.
    """
    by_count = math.ceil(LEAST_ACCEPTED / rate)
    too_wide = (high / rate - 1) / (WIDEST - 1)
    if by_count > pairs or too_wide <= 1:
        return by_count
    return math.ceil(pairs * too_wide**2)


class _Spread:
    """How the false-accept rate at a similarity varies with the persons who happen to be there."""

    def __init__(self, pairs: Pairs) -> None:
        self._similarities = pairs.similarities[~pairs.genuine]
        self._persons = None
        if pairs.persons is None:
            return
        names, numbers = np.unique(pairs.persons[~pairs.genuine], return_inverse=True)
        self._count = len(names)
        self._persons = numbers.reshape(-1, 2) @ np.array([self._count, 1])
        draw = np.random.default_rng(_SEED)
        share = np.full(self._count, 1 / self._count)
        self._weights = draw.multinomial(self._count, share, RESAMPLES).astype(np.float64)
        self._compared = self._weighed(np.ones(len(self._persons), bool))

    def interval(self, similarity: float) -> tuple[float, float]:
        """Return where the rate of as many other persons lies at a similarity, to CONFIDENCE.

        They vary as much as those here, so it is wider than where the rate of everybody lies.
        """
        passing = self._similarities >= similarity
        rate = float(passing.mean())
        low, high = _wilson(int(passing.sum()), len(passing))
        if self._persons is not None:
            accepted = self._weighed(passing)
            rates = accepted[self._compared > 0] / self._compared[self._compared > 0]
            tail = (1 - CONFIDENCE) / 2
            lowest, highest = np.quantile(rates, [tail, 1 - tail]).tolist()
            low, high = min(low, lowest), max(high, highest)
        return max(0.0, rate + _ANEW * (low - rate)), min(1.0, rate + _ANEW * (high - rate))

    def _weighed(self, which: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the number of these pairs in each resample of persons."""
        assert self._persons is not None
        table = np.bincount(self._persons[which], minlength=self._count**2)
        between = table.reshape(self._count, self._count).astype(np.float64)
        sums: NDArray[np.float64] = ((self._weights @ between) * self._weights).sum(axis=1)
        return sums


def _wilson(passing: int, pairs: int) -> tuple[float, float]:
    """Return the interval of a rate, were all pairs independent. Source: Wilson, JASA 22 (1927)."""
    rate, z2 = passing / pairs, _Z**2
    middle = (rate + z2 / (2 * pairs)) / (1 + z2 / pairs)
    half = _Z / (1 + z2 / pairs) * math.sqrt(rate * (1 - rate) / pairs + z2 / (4 * pairs**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _histogram(values: NDArray[np.float64]) -> Histogram:
    places = np.floor(values / BIN).astype(np.int64)
    first = int(places.min())
    return Histogram(
        start=first * BIN, width=BIN, counts=tuple(np.bincount(places - first).tolist())
    )


def _evidence(
    genuine: NDArray[np.float64], impostor: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Return points of the log likelihood ratio, ascending: isotonic regression over bins.

    Half a pair of each kind more in every block keeps what a few pairs show from being certain.
    Source: Zadrozny and Elkan, KDD 2002; Brummer and du Preez, Computer Speech 20 (2006).
    """
    first = math.floor(min(genuine.min(), impostor.min()) / BIN)
    bins = max(math.floor(values.max() / BIN) for values in (genuine, impostor)) - first + 1
    counts, sums = np.zeros((2, bins)), np.zeros((2, bins))
    for row, values in enumerate((genuine, impostor)):
        places = np.floor(values / BIN).astype(np.int64) - first
        counts[row] = np.bincount(places, minlength=bins)
        sums[row] = np.bincount(places, weights=values, minlength=bins)
    points: list[tuple[float, float]] = []
    every = counts.sum(axis=1, keepdims=True)
    for block in _ascending(counts):
        g, i = counts[:, block].sum(axis=1)
        similarity = (sums[:, block] / every).sum() / (counts[:, block] / every).sum()
        ratio = math.log((g + 0.5) / (len(genuine) + 1) / ((i + 0.5) / (len(impostor) + 1)))
        point = round(float(similarity), 5), round(ratio, 4)
        if not points:
            points.append(point)
        elif point[0] > points[-1][0]:
            points.append((point[0], max(point[1], points[-1][1])))
    return tuple(points)


def _ascending(counts: NDArray[np.float64]) -> Iterator[slice]:
    """Yield blocks of bins whose genuine part rises from one to the next; counts are (2, bins).

    Pool adjacent violators; how many there are of each kind makes no difference to the blocks.
    """
    blocks: list[tuple[float, float, int, int]] = []  # genuine, both, first bin, last + 1
    for place, (genuine, impostor) in enumerate(counts.T.tolist()):
        if genuine + impostor == 0:
            continue
        block = genuine, genuine + impostor, place, place + 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            before = blocks.pop()
            block = before[0] + block[0], before[1] + block[1], before[2], block[3]
        blocks.append(block)
    for _, _, first, end in blocks:
        yield slice(first, end)
