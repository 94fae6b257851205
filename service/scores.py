"""What similarities say by the calibration of the model: probabilities, thresholds at a rate.

Knows nothing of HTTP and of searching.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration, PairKind, pair_kind
from model.errors import RateNotSupportedError
from service.errors import NotCalibratedError, RateNotPromisedError


def prior_among(individuals: int) -> float:
    """Return the chance that a pair shows one person, before it is looked at.

    A person is as likely to be any of the individuals there are as to be somebody else.
    """
    return 1 / (1 + max(1, individuals))


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """A person by one crop or several: `direction` (D,), of length one, is searched with.

    Pairs of crops are calibrated. Everybody is more like the direction of several crops than like
    each of them, for it leaves out what these differ in; the similarity to it times `length`, that
    of the mean of their embeddings, is the mean of the similarities to each, and that is judged.
    """

    modality: str
    direction: NDArray[np.float32]
    length: float = 1.0

    @classmethod
    def of(cls, modality: str, embeddings: Sequence[NDArray[np.float32]]) -> "SeenPerson":
        """Return the person whom embeddings (D,), each of length one, show."""
        if len(embeddings) == 1:
            return cls(modality, embeddings[0])
        mean = np.asarray(embeddings, dtype=np.float64).mean(axis=0)
        length = float(np.linalg.norm(mean))
        return cls(modality, (mean / length).astype(np.float32), length)

    def probability(
        self, modality: str, similarity: float, calibration: Calibration | None, prior: float
    ) -> float | None:
        """Return how probable it is that a crop shows the person, by its similarity.

        `prior` is how probable it was before; None where the model is not calibrated for the pair.
        """
        if calibration is None:
            return None
        pair = pair_kind(self.modality, modality)
        return calibration.probability(pair, similarity * self.length, prior=prior)

    def least(self, thresholds: Mapping[PairKind, float]) -> dict[PairKind, float]:
        """Return thresholds of pairs of crops as similarities to the direction."""
        return {pair: similarity / self.length for pair, similarity in thresholds.items()}


def thresholds_at(
    rate: float, pairs: Iterable[PairKind], calibration: Calibration | None
) -> dict[PairKind, float]:
    """Return the least similarity of two crops that keeps a false-accept rate, by kind of pair.

    Raises: NotCalibratedError, RateNotPromisedError, naming every kind that is in the way.
    """
    kinds = {} if calibration is None else calibration.kinds
    absent = [pair for pair in pairs if pair not in kinds]
    if calibration is None or absent:
        raise NotCalibratedError(f"the model has no calibration of {', '.join(absent)} pairs")
    thresholds, refusals = {}, []
    for pair in pairs:
        try:
            thresholds[pair] = calibration.threshold(pair, rate)
        except RateNotSupportedError as error:
            refusals.append(str(error))
    if refusals:
        raise RateNotPromisedError("; ".join(refusals))
    return thresholds
