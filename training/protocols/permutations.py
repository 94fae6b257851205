"""The published galleries of SYSU-MM01: `rand_perm_cam.mat`."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError

Permutations = list[list[NDArray[np.int64]]]


def load_permutations(path: Path) -> Permutations:
    """Read `rand_perm_cam.mat`: [camera - 1][person - 1] -> (trials, images), 1-based numbers.

    Raises:
        ProtocolError: not a MATLAB file of that shape.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path)["rand_perm_cam"]
        return [
            [np.atleast_2d(person).astype(np.int64) for person in camera.ravel()]
            for camera in cells.ravel()
        ]
    except (
        OSError, MatReadError, KeyError, ValueError, AttributeError, TypeError,
        EOFError, NotImplementedError, zlib.error,
    ) as error:  # fmt: skip
        raise ProtocolError(f"{path}: expected the permutations of SYSU-MM01: {error}") from error


def permutation(
    permutations: Permutations, camera_id: int, person_id: int, trial: int
) -> NDArray[np.int64]:
    """The image numbers of one person and camera in the order of one trial, (images,).

    Raises:
        ProtocolError: there is no such person or trial.
    """
    cameras = len(permutations)
    if not (0 < camera_id <= cameras and 0 < person_id <= len(permutations[camera_id - 1])):
        raise ProtocolError(f"the permutations have no person {person_id} of camera {camera_id}")
    table = permutations[camera_id - 1][person_id - 1]
    if table.size == 0:
        raise ProtocolError(
            f"the permutations have no image of person {person_id}, camera {camera_id}"
        )
    if trial >= len(table):
        raise ProtocolError(
            f"the permutations have {len(table)} trials; trial {trial + 1} is missing"
        )
    row: NDArray[np.int64] = table[trial]
    return row
