"""The published galleries of SYSU-MM01: `rand_perm_cam.mat`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.mat_file import MatFileError, Value, read_mat_file

Permutations = list[list[NDArray[np.int64]]]

VARIABLE = "rand_perm_cam"
PERMUTATIONS = "rand_perm_cam.mat"
"""The file, and what a row calls the sampling by it."""


def load_permutations(path: Path) -> Permutations:
    """Read `rand_perm_cam.mat`: [camera - 1][person - 1] -> (trials, images), 1-based numbers.

    Raises:
        ProtocolError: not a MATLAB file of that shape.
    """
    try:
        cameras = read_mat_file(path, VARIABLE)
        return [[_table(person) for person in _cells(camera)] for camera in _cells(cameras)]
    except (OSError, MatFileError) as error:
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
            f"the permutations have no image of person {person_id} by camera {camera_id}"
        )
    if trial >= len(table):
        raise ProtocolError(
            f"the permutations have {len(table)} trials; trial {trial + 1} is missing"
        )
    row: NDArray[np.int64] = table[trial]
    return row


def _cells(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise MatFileError(f"expected cells of cameras of persons, found {value.shape} numbers")
    return value


def _table(value: Value) -> NDArray[np.int64]:
    if isinstance(value, list) or value.ndim != 2:
        raise MatFileError("expected a table of trials and images for each person")
    with np.errstate(invalid="ignore"):
        numbers = value.astype(np.int64)
    if (numbers != value).any() or (numbers < 1).any():
        raise MatFileError("expected image numbers from 1")
    return numbers
