"""What a similarity of two crops says: a probability, and thresholds at false-accept rates.

Owns what a calibration is, how it is asked and how it is written into a manifest. How one is made
of labelled crops is `calibrating`.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import CalibrationError, RateNotSupportedError

PairKind: TypeAlias = Literal["visible-visible", "infrared-visible", "infrared-infrared"]
PAIR_KINDS: Final[tuple[PairKind, ...]] = get_args(PairKind)

RATES: Final = (1e-1, 1e-2, 1e-3, 1e-4)
"""The false-accept rates that thresholds are made for."""
LEAST_ACCEPTED: Final = 30
"""Impostor pairs that must pass a threshold before its rate is promised ("rule of 30": the rate is
then known to within 30 percent nine times of ten, were the pairs independent).
Source: Doddington et al., Speech Communication 31 (2000), 225-254."""
NOTHING: Final = 1e-12
"""A rate that no number of pairs will ever support."""
CONFIDENCE: Final = 0.99
"""How sure the intervals of the rates are."""

_Share = Annotated[float, Field(ge=0, le=1)]
_Similarity = Annotated[float, Field(ge=-1.01, le=1.01)]
_Evidence = Annotated[float, Field(ge=-100, le=100)]
_Count = Annotated[int, Field(ge=0, le=10**12)]


def pair_kind(one: str, other: str) -> PairKind:
    """Return the kind of pair that crops of two modalities are, in any order."""
    kind = "-".join(sorted((one, other)))
    for known in PAIR_KINDS:
        if kind == known:
            return known
    raise ValueError(f"expected two of 'visible' and 'infrared', came {one!r} and {other!r}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Histogram(_Part):
    """How many similarities lie in each of neighbouring bins, the first from `start`."""

    start: float = Field(ge=-2, le=2)
    width: float = Field(gt=0, le=1)
    counts: tuple[_Count, ...] = Field(min_length=1, max_length=1024)

    @model_validator(mode="after")
    def _has_something(self) -> "Histogram":
        if not self.total:
            raise ValueError("a histogram of nothing")
        return self

    @property
    def total(self) -> int:
        """How many similarities there are."""
        return sum(self.counts)

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """The edges of the bins, (bins + 1,)."""
        return np.float64(self.start) + self.width * np.arange(len(self.counts) + 1.0)

    @cached_property
    def above(self) -> NDArray[np.float64]:
        """The share of similarities at or above each edge, (bins + 1,)."""
        left = self.total - np.concatenate([[0], np.cumsum(self.counts)])
        share: NDArray[np.float64] = left / self.total
        return share


class Threshold(_Part):
    """The least similarity at a false-accept rate.

    `interval` is where the false-accept rate at that similarity lies among as many other people as
    the calibration is of, to its `confidence`; `true_accept_rate` the share of genuine pairs that
    pass.
    """

    rate: _Share
    similarity: _Similarity
    interval: tuple[_Share, _Share]
    true_accept_rate: _Share


class Unsupported(_Part):
    """A rate for which there are too few impostor pairs, and how many it would take at least."""

    rate: _Share
    pairs_needed: int = Field(gt=0)


class PairCalibration(_Part):
    """What similarities of one kind of pair say.

    `genuine` are pairs of one person, `impostor` of two; `persons` how many persons they are of,
    None where the pairs came without. `evidence` are points (similarity, log likelihood ratio),
    ascending in both; between them it is linear, beyond them constant.
    """

    persons: int | None = Field(ge=2)
    genuine: Histogram
    impostor: Histogram
    evidence: tuple[tuple[_Similarity, _Evidence], ...] = Field(min_length=1, max_length=1024)
    thresholds: tuple[Threshold, ...] = Field(min_length=1)
    unsupported: tuple[Unsupported, ...] = ()

    @model_validator(mode="after")
    def _ascends(self) -> "PairCalibration":
        for (before, low), (after, high) in pairwise(self.evidence):
            if before >= after or low > high:
                raise ValueError("evidence must ascend with the similarity")
        for strict, strictest in pairwise(self.thresholds):
            if strict.rate <= strictest.rate or strict.similarity > strictest.similarity:
                raise ValueError("thresholds must ascend as their rates fall")
        return self

    def log_likelihood_ratio(self, similarity: float) -> float:
        """Return how much likelier a similarity is of one person than of two, as a logarithm."""
        return float(np.interp(similarity, *self._points))

    @cached_property
    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        similarities, ratios = np.array(self.evidence, np.float64).T
        return similarities, ratios

    def threshold(self, rate: float) -> float | None:
        """Return the least similarity at a rate; None for one lower than is supported.

        Between the rates that there are thresholds for it is the next edge of the impostors'
        histogram, on the safe side.
        """
        stricter = [each for each in self.thresholds if each.rate <= rate]
        if not stricter:
            return None
        if math.isclose(stricter[0].rate, rate):
            return stricter[0].similarity
        edge = self.impostor.edges[np.argmax(self.impostor.above <= rate)]
        return min(float(edge), stricter[0].similarity)

    def pairs_needed(self, rate: float) -> int | None:
        """Return how many impostor pairs a rate would take at least; None for one of nothing."""
        known = [each.pairs_needed for each in self.unsupported if each.rate <= rate]
        if known:
            return known[0]
        return None if rate < NOTHING else math.ceil(LEAST_ACCEPTED / rate)

    def persons_needed(self, rate: float) -> int | None:
        """Return of how many persons those pairs would be, with as many crops of each as here."""
        needed = self.pairs_needed(rate)
        if self.persons is None or needed is None:
            return None
        return math.ceil(self.persons * math.sqrt(needed / self.impostor.total))


class Calibration(_Part):
    """What similarities by one model say, by kind of pair.

    `kinds` has those with enough data; `absent` says of the others why not.
    """

    format: Literal[1] = 1
    confidence: Annotated[float, Field(gt=0, lt=1)] = CONFIDENCE
    kinds: dict[PairKind, PairCalibration]
    absent: dict[PairKind, str] = {}

    @classmethod
    def from_manifest(cls, mapping: Mapping[str, Any]) -> "Calibration":
        """Read what `to_manifest` wrote. Raises: CalibrationError naming what is wrong."""
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            [first, *_] = error.errors()
            place = ".".join(str(part) for part in first["loc"])
            raise CalibrationError(f"calibration.{place}: {first['msg']}") from None

    def to_manifest(self) -> dict[str, Any]:
        """Return the calibration as JSON has it, some kilobytes."""
        return self.model_dump(mode="json")

    def probability(self, pair: PairKind, similarity: float, *, prior: float) -> float | None:
        """Return how probable it is that a pair of this similarity shows one person.

        `prior`, above 0 and below 1, is how probable that was before; None for a pair of a kind
        without enough data.
        """
        of_pair = self.kinds.get(pair)
        if of_pair is None:
            return None
        logit = of_pair.log_likelihood_ratio(similarity) + math.log(prior / (1 - prior))
        return 1 / (1 + math.exp(-logit))

    def threshold(self, pair: PairKind, rate: float) -> float:
        """Return the least similarity at which no more than `rate` of impostor pairs pass.

        Raises: RateNotSupportedError; KeyError for a pair of a kind without enough data.
        """
        of_pair = self.kinds[pair]
        similarity = of_pair.threshold(rate)
        if similarity is None:
            raise RateNotSupportedError(
                pair,
                rate,
                lowest_rate=of_pair.thresholds[-1].rate,
                pairs_needed=of_pair.pairs_needed(rate),
            )
        return similarity
