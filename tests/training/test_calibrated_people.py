"""Calibrated on some rendered people, held against others: rates hold, and so do probabilities."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.calibrating import calibrate
from model.calibration import PAIR_KINDS, Calibration, PairKind
from model.encoder import Encoder
from mpanet.commands.serve import demo_model_directory
from service.scores import prior_among
from training.synthetic.samples import render_people

CAMERAS = (1, 2, 3, 4, 5, 6)
BINS = 10


@dataclass(frozen=True)
class People:
    """Crops of rendered people: an embedding, a person, a modality and a camera each."""

    embeddings: NDArray[np.float32]
    persons: list[str]
    modalities: list[str]
    cameras: list[str]

    def pairs(self, kind: PairKind) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return similarities of all pairs of a kind, and which are of one person.

        By brute force; two crops of one person by one camera are no pair.
        """
        one, other = kind.split("-")
        rows = np.flatnonzero(np.array(self.modalities) == one)
        columns = np.flatnonzero(np.array(self.modalities) == other)
        similarities = self.embeddings[rows].astype(np.float64) @ self.embeddings[columns].T
        person, camera = np.array(self.persons), np.array(self.cameras)
        same = person[rows][:, None] == person[columns][None]
        counts = ~(same & (camera[rows][:, None] == camera[columns][None]))
        if one == other:
            counts &= rows[:, None] < columns[None]
        return similarities[counts], same[counts]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.open(demo_model_directory(), provider="cpu")


def rendered(encoder: Encoder, count: int, seed: int) -> People:
    samples = list(render_people(count, seed, CAMERAS, images_per_camera=1))
    prepared = np.stack([encoder.prepare(Image.fromarray(s.image).convert("RGB")) for s in samples])
    return People(
        encoder.encode(prepared).embedding,
        [sample.person_id for sample in samples],
        [str(sample.modality) for sample in samples],
        [str(sample.camera_number) for sample in samples],
    )


@pytest.fixture(scope="module")
def calibration(encoder: Encoder) -> Calibration:
    known = rendered(encoder, 120, 61_001)
    return calibrate(known.embeddings, known.persons, known.modalities, known.cameras)


@pytest.fixture(scope="module")
def unseen(encoder: Encoder) -> People:
    return rendered(encoder, 120, 61_002)


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_a_promised_rate_holds_among_people_never_seen(
    calibration: Calibration, unseen: People, kind: PairKind
) -> None:
    similarities, same = unseen.pairs(kind)
    promised = calibration.kinds[kind].thresholds
    assert {0.1, 0.01} <= {threshold.rate for threshold in promised}
    for threshold in promised:
        accepted = float((similarities[~same] >= threshold.similarity).mean())
        low, high = threshold.interval
        assert low <= accepted <= high, (threshold, accepted)


@pytest.mark.parametrize("kind", PAIR_KINDS)
@pytest.mark.parametrize("balanced", [False, True])
def test_probabilities_are_reliable_among_people_never_seen(
    calibration: Calibration, unseen: People, kind: PairKind, balanced: bool
) -> None:
    similarities, same = unseen.pairs(kind)
    weights = np.ones(len(same))
    prior = prior_among(len(set(unseen.persons)) - 1)
    if balanced:  # as many of one person as of two, and no other prior than that
        weights[~same] = same.sum() / (~same).sum()
        prior = 0.5
    said = np.array([calibration.probability(kind, s, prior=prior) for s in similarities], float)
    assert expected_calibration_error(said, same, weights) <= 0.03


def expected_calibration_error(
    said: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """Return the mean distance of what was said from what was, over bins of equal width."""
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    error = 0.0
    for place in range(BINS):
        mine = places == place
        if mine.any():
            share = weights[mine].sum() / weights.sum()
            told = np.average(said[mine], weights=weights[mine])
            was = np.average(right[mine], weights=weights[mine])
            error += share * abs(told - was)
    return float(error)
