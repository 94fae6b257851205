"""Crops at angles and a calibration made by hand: every similarity is the cosine of two numbers."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.calibrating import calibrate_pairs
from model.calibration import Calibration, PairKind
from model.errors import RateNotSupportedError
from tests.service.fakes import TinyEncoder, TinyEncoding, encoded

MEAN, STD = 0.485, 0.229
LOWEST = 0.001


class AngleEncoder(TinyEncoder):
    """Embeds a grey crop as the direction at as many degrees as it is bright."""

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        self.batch_sizes.append(len(batch))
        degrees = np.round((batch[:, 0, 0, 0] * STD + MEAN) * 255)
        embeddings = np.zeros((len(batch), self.config.embedding_dim), np.float32)
        embeddings[:, 0] = np.cos(np.deg2rad(degrees))
        embeddings[:, 1] = np.sin(np.deg2rad(degrees))
        return TinyEncoding(embeddings)


def crop_at(degrees: int) -> bytes:
    """Return the crop at an angle, 0 to 180 degrees."""
    return encoded(np.full((32, 32, 3), degrees, np.uint8))


def cosine(degrees: float) -> float:
    """Return the similarity of crops that are so many degrees apart."""
    return float(np.cos(np.deg2rad(degrees)))


class ByHand:
    """Stands in for a calibration: one threshold a pair, and half a similarity is its chance."""

    def __init__(self, thresholds: Mapping[PairKind, float]) -> None:
        self.kinds = self._thresholds = thresholds

    def threshold(self, pair: PairKind, rate: float) -> float:
        if rate < LOWEST:
            raise RateNotSupportedError(pair, rate, lowest_rate=LOWEST, pairs_needed=30_000)
        return self._thresholds[pair]

    def probability(self, pair: PairKind, similarity: float, *, prior: float) -> float | None:
        return prior * similarity if pair in self.kinds else None

    def to_manifest(self) -> dict[str, Any]:
        return {"by": "hand"}


def calibrated(thresholds: Mapping[PairKind, float]) -> Calibration:
    """Return a calibration with these thresholds at 0.001 and above."""
    return cast(Calibration, ByHand(thresholds))


def measured(shift: float = 0.0) -> Calibration:
    """Return a calibration of visible pairs: impostors evenly between 0 and 0.5, then shifted."""
    impostors = np.linspace(0, 0.5, 400) + shift
    genuine = np.linspace(0.3, 0.9, 50) + shift
    return calibrate_pairs(
        np.concatenate([impostors, genuine]),
        np.arange(450) >= 400,
        ["visible-visible"] * 450,
    )
