"""A model of how embeddings of people vary, fitted on real ones of a few hundred held-out people.

    embedding = mean of the modality + camera + person + tracklet + frame, then length 1

- *camera*: how far a camera's mean lies from its modality's.
- *person*: what a person's mean differs by, in both modalities at once, so that the visible and
  the infrared side of a new person belong together as those of a real one do. The share that
  is noise of the mean (few crops a person) is taken off, direction by direction.
- *tracklet*: what is left of a crop: pose, light, background, occlusion. The leading directions of
  each modality, and the rest by its standard deviation in every dimension.
- *frame*: how neighbouring frames of one tracklet differ, measured on rendered neighbours
  (`gallery_people`): directions and rest likewise. Its variance is taken off the tracklet's.

A new frame is a normal combination of the measured deviations; so is a tracklet, then given the
length of a measured one: some passes are far worse than others. A new person is a combination of a
few real ones: more would be all equally unlike, and look-alikes are what makes a search hard.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_people import Embedded

Floats = NDArray[np.float32]
TRACKLET_DIRECTIONS = 512
FRAME_DIRECTIONS = 64
MAX_ROWS = 2400
"""Crops that directions are taken from: their Gram matrix is decomposed."""


@dataclass(frozen=True)
class Spread:
    """Deviations of one modality: `directions` (R, D), scaled by their standard deviation; `rest`
    (D,), the standard deviation of what they leave; `lengths` (N,) of the measured deviations, 1 in
    the square mean. `variances` (R,) of the directions."""

    directions: Floats
    variances: Floats
    rest: Floats
    lengths: Floats


@dataclass(frozen=True)
class ModalitySide:
    """One modality: `mean` (D,), `cameras` number -> offset (D,), `persons` (K, D) scaled."""

    mean: Floats
    cameras: dict[int, Floats]
    persons: Floats
    tracklets: Spread
    frames: Spread


@dataclass(frozen=True)
class Population:
    """The model: two sides whose rows of `persons` belong together.

    `scores` (P, K): the measured persons in those directions, each of variance 1.
    """

    visible: ModalitySide
    infrared: ModalitySide
    scores: Floats

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return len(self.visible.mean)

    def side(self, infrared: bool) -> ModalitySide:
        """The side of a modality."""
        return self.infrared if infrared else self.visible


@dataclass(frozen=True)
class _Parts:
    """One modality taken apart: person deviations (P, D), and residuals of crops (N, D)."""

    mean: Floats
    cameras: dict[int, Floats]
    persons: Floats
    residuals: Floats
    crops_per_person: float


def fit_population(real: Embedded) -> Population:
    """Estimate the model. Every person must be seen in both modalities, twice at least."""
    single = real.rows(real.tracklets < 0)
    visible = _take_apart(single.rows(~single.infrared))
    infrared = _take_apart(single.rows(single.infrared))
    persons, scores = _person_directions(visible, infrared)
    dim = len(visible.mean)
    neighbours = real.rows(real.tracklets >= 0)
    return Population(
        _side(visible, persons[:, :dim], _frame_residuals(neighbours.rows(~neighbours.infrared))),
        _side(infrared, persons[:, dim:], _frame_residuals(neighbours.rows(neighbours.infrared))),
        scores,
    )


def _take_apart(crops: Embedded) -> _Parts:
    mean = crops.embeddings.mean(axis=0)
    left = crops.embeddings - mean
    cameras = {}
    for camera in np.unique(crops.cameras).tolist():
        rows = crops.cameras == camera
        cameras[camera] = left[rows].mean(axis=0)
        left[rows] -= cameras[camera]
    people = np.unique(crops.persons)
    deviations = np.stack([left[crops.persons == person].mean(axis=0) for person in people])
    left -= deviations[np.searchsorted(people, crops.persons)]
    count = len(left) / len(people)
    left *= np.float32(np.sqrt(count / (count - 1)))
    return _Parts(mean, cameras, deviations, left, count)


def _person_directions(visible: _Parts, infrared: _Parts) -> tuple[Floats, Floats]:
    """(K, 2 D): joint directions of both sides, scaled by what is no noise of the means; and where
    each person lies in them (P, K), in standard deviations."""
    joint = np.concatenate([visible.persons, infrared.persons], axis=1)
    joint -= joint.mean(axis=0)
    directions, variances = _principal(joint, len(joint) - 1, len(joint) - 1)
    scores = joint @ directions.T / np.sqrt(variances)
    dim = len(visible.mean)
    for side, columns in ((visible, slice(0, dim)), (infrared, slice(dim, None))):
        noise = np.square(side.residuals @ directions[:, columns].T).mean(axis=0)
        variances = variances - noise / side.crops_per_person
    return _scaled(directions, variances), scores[:, variances > 0].astype(np.float32)


def _side(parts: _Parts, persons: Floats, frames: Floats) -> ModalitySide:
    frame_spread = _spread(frames, FRAME_DIRECTIONS, frames[:0])
    tracklets = _spread(parts.residuals, TRACKLET_DIRECTIONS, frames)
    return ModalitySide(parts.mean, parts.cameras, persons, tracklets, frame_spread)


def _frame_residuals(neighbours: Embedded) -> Floats:
    """What frames differ from their tracklet's mean by, scaled for the mean being theirs."""
    _, counts = np.unique(neighbours.tracklets, return_counts=True)
    order = np.argsort(neighbours.tracklets, kind="stable")
    left = neighbours.embeddings[order].copy()
    starts = np.concatenate([[0], np.cumsum(counts)])
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows = left[start:stop]
        rows -= rows.mean(axis=0)
        rows *= np.float32(np.sqrt(len(rows) / (len(rows) - 1)))
    return left


def _spread(residuals: Floats, count: int, within: Floats) -> Spread:
    """Directions and rest of residuals (N, D), less the variance of those `within` (M, D)."""
    step = max(1, len(residuals) // MAX_ROWS)
    chosen = residuals[::step]
    directions, variances = _principal(chosen, count, len(chosen))
    total = np.square(residuals).mean(axis=0)
    if len(within):
        variances = variances - np.square(within @ directions.T).mean(axis=0)
        total = total - np.square(within).mean(axis=0)
    scaled = _scaled(directions, variances)
    rest = np.maximum(total - np.square(scaled).sum(axis=0), 0)
    lengths = np.sqrt(np.square(chosen).sum(axis=1))
    return Spread(
        scaled,
        np.square(scaled).sum(axis=1),
        np.sqrt(rest),
        lengths / np.sqrt(np.square(lengths).mean()),
    )


def _principal(rows: Floats, count: int, freedom: int) -> tuple[Floats, Floats]:
    """The leading directions (K, D) of length 1 of centred rows, and their variances (K,)."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    kept = values > values[0] * 1e-9
    values, vectors = values[kept], vectors[:, kept]
    directions = (vectors / np.sqrt(values)).T.astype(np.float32) @ rows
    return directions, (values / freedom).astype(np.float32)


def _scaled(directions: Floats, variances: Floats) -> Floats:
    kept = variances > 0
    return directions[kept] * np.sqrt(variances[kept])[:, None]
