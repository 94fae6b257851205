"""Labelled crops to pairs: which are compared with which, and whether both show one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_CROPS: Final = 2000
"""Crops of one modality that are compared: 4 million pairs, some 250 MB while it lasts."""
MAX_PERSONS: Final = 500
"""Persons whose crops are compared; of more they are drawn at random."""
_SEED: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of one kind: similarities (n,), which are genuine (n,), their persons (n, 2) by number.

    `persons` None: pairs that are as independent as can be.
    """

    similarities: NDArray[np.float64]
    genuine: NDArray[np.bool_]
    persons: NDArray[np.int64] | None


def pairs_between(
    embeddings: NDArray[np.floating],
    persons: NDArray[np.int64],
    cameras: NDArray[np.int64] | None,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
) -> Pairs:
    """Compare the crops of rows `one` with those of `other`, each pair once."""
    wide = np.asarray(embeddings[one], np.float32) @ np.asarray(embeddings[other], np.float32).T
    same = persons[one][:, None] == persons[other][None]
    kept = np.ones(wide.shape, bool)
    if cameras is not None:
        alike = cameras[one][:, None] == cameras[other][None]
        kept = ~(same & alike & (cameras[one] >= 0)[:, None])
    if one is other:
        kept &= np.tri(len(one), k=-1, dtype=bool)
    first, second = np.nonzero(kept)
    between = np.stack([persons[one][first], persons[other][second]], axis=1)
    return Pairs(wide[kept].astype(np.float64), same[kept], between)


def camera_numbers(camera_ids: Sequence[str | None]) -> NDArray[np.int64]:
    """Return a number for each camera, -1 for an unknown one."""
    names = {name: number for number, name in enumerate(sorted({c for c in camera_ids if c}))}
    return np.array([-1 if not name else names[name] for name in camera_ids], np.int64)


def some_of(rows: NDArray[np.int64], persons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of the rows are compared: of as many persons as may be, of each equally many.

    The same persons whatever the modality.
    """
    draw = np.random.default_rng(_SEED)
    order = draw.permutation(persons.max(initial=0) + 1)
    rows = draw.permutation(rows[order[persons[rows]] < MAX_PERSONS])
    by_person = rows[np.argsort(persons[rows], kind="stable")]
    _, starts, counts = np.unique(persons[by_person], return_index=True, return_counts=True)
    turn = np.arange(len(by_person)) - np.repeat(starts, counts)  # first crops, then second ones
    return np.sort(by_person[np.argsort(turn, kind="stable")][:MAX_CROPS])
