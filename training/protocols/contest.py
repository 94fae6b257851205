"""Contest: what a protocol ranks, without saying how. Knows no embedding, no file and no model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError

Measure = Literal["cosine", "euclidean"]
Rule = Literal["none", "camera 2 for probes of camera 3", "same person and camera"]
Neighbours = Literal["gallery", "queries_only"]
SAME_PLACE = (3, 2)  # SYSU-MM01: a probe of camera 3 skips the gallery of camera 2


@dataclass(frozen=True)
class Labels:
    """Person, camera and image number of each row, all int64 (N,).

    `image_numbers` tells images of one person and camera apart and orders them as their sorted file
    names are ordered: in SYSU-MM01 the file's number.

    Raises:
        ProtocolError: the arrays differ in length.
    """

    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    image_numbers: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {len(self.person_ids), len(self.camera_ids), len(self.image_numbers)}
        if len(lengths) != 1:
            raise ProtocolError(f"the labels differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.person_ids)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Labels":
        """The labels of the chosen rows."""
        return Labels(self.person_ids[chosen], self.camera_ids[chosen], self.image_numbers[chosen])


@dataclass(frozen=True)
class Contest:
    """The queries, the candidates and the gallery that each trial draws from them.

    `trials` holds, for each trial, the rows of `gallery` that it ranks, ascending. `ignore` names
    the rule by which a query skips some of them. `neighbours` is the policy that re-ranking follows
    in this protocol. Two results compare only if all of this is the same.

    Raises:
        ProtocolError: there is no query, no trial, or a trial without a gallery image.
    """

    protocol: str
    sampling: str
    measure: Measure
    ignore: Rule
    neighbours: Neighbours
    query: Labels
    gallery: Labels
    trials: tuple[NDArray[np.int64], ...]

    def __post_init__(self) -> None:
        smallest = min((len(rows) for rows in self.trials), default=0)
        if not len(self.query) or not smallest:
            raise ProtocolError(
                f"{self.protocol}: {len(self.query)} queries and {smallest} gallery images:"
                " none to rank"
            )

    def ignored(self, trial: int) -> NDArray[np.bool_] | None:
        """(Q, G of the trial): entries that a query must not see; None where it sees all."""
        return ignored(self.ignore, self.query, self.gallery.rows(self.trials[trial]))


def ignored(rule: Rule, query: Labels, gallery: Labels) -> NDArray[np.bool_] | None:
    """(Q, G): the pairs that a rule leaves out; None for no rule."""
    if rule == "none":
        return None
    probe, skipped = SAME_PLACE
    if rule == "same person and camera":
        same_person = np.equal.outer(query.person_ids, gallery.person_ids)
        return np.asarray(same_person & np.equal.outer(query.camera_ids, gallery.camera_ids))
    return np.asarray(
        np.logical_and.outer(query.camera_ids == probe, gallery.camera_ids == skipped)
    )
