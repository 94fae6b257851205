"""The SYSU-MM01 protocol: infrared queries, a visible gallery drawn anew in each trial.

Two incompatible ways to draw the gallery are in use, and published figures differ by them: the
dataset's own permutations (`rand_perm_cam.mat`, the MPANet authors) and Python's seeded choice
over sorted files (AGW and its descendants). A result always names which one it used.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.metrics import Figures, mean_figures, retrieval_figures
from training.protocols.embedded import EmbeddedSet, normalised

Search = Literal["all", "indoor"]
Sampling = Literal["rand_perm_cam.mat", "seeded choice"]
Permutations = list[list[NDArray[np.int64]]]

SEARCH_CAMERAS: dict[Search, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
QUERY_CAMERAS = (3, 6)
SAME_PLACE = (3, 2)  # a probe of camera 3 skips the gallery of camera 2: one place
TRIALS = 10


@dataclass(frozen=True)
class SysuResult:
    """Mean figures of a run of the protocol, with what decides whether they compare."""

    search: Search
    shots: int
    sampling: Sampling
    queries: int
    mean: Figures
    trials: tuple[Figures, ...]


def evaluate_sysu_mm01(
    query: EmbeddedSet,
    gallery: EmbeddedSet,
    *,
    search: Search,
    shots: int,
    permutations: Permutations | None,
    trials: int = TRIALS,
) -> SysuResult:
    """Score embeddings by cosine similarity over `trials` drawn galleries.

    Args:
        query: images of cameras 3 and 6.
        gallery: every visible image of the test identities; each trial takes `shots` a person
            and camera from it.
        permutations: of `load_permutations`, or None for Python's seeded choice.

    Raises:
        ProtocolError: a set is empty, or the permutations do not cover the gallery.
    """
    gallery = gallery.rows(np.isin(gallery.camera_ids, SEARCH_CAMERAS[search]))
    if not len(query) or not len(gallery):
        raise ProtocolError(f"{len(query)} queries and {len(gallery)} gallery images: none to rank")
    similarity = normalised(query.embeddings) @ normalised(gallery.embeddings).T
    figures = []
    for trial in range(trials):
        if permutations is None:
            chosen = draw_seeded(gallery, SEARCH_CAMERAS[search], shots, trial)
        else:
            chosen = draw_published(gallery, permutations, shots, trial)
        ignored = (query.camera_ids == SAME_PLACE[0])[:, None] & (
            gallery.camera_ids[chosen] == SAME_PLACE[1]
        )
        figures.append(
            retrieval_figures(
                similarity[:, chosen], query.person_ids, gallery.person_ids[chosen], ignored
            )
        )
    sampling: Sampling = "seeded choice" if permutations is None else "rand_perm_cam.mat"
    return SysuResult(search, shots, sampling, len(query), mean_figures(figures), tuple(figures))


def draw_seeded(
    gallery: EmbeddedSet, cameras: Sequence[int], shots: int, trial: int
) -> NDArray[np.int64]:
    """Rows of a gallery drawn by `random.seed(trial)`: person by person, camera by camera.

    Single-shot draws with `choice`, as AGW does; multi-shot with `sample`.
    """
    draw = random.Random(trial)
    order = np.lexsort((gallery.image_numbers, gallery.camera_ids, gallery.person_ids))
    groups: dict[tuple[int, int], list[int]] = {}
    for row in order.tolist():
        key = (int(gallery.person_ids[row]), int(gallery.camera_ids[row]))
        groups.setdefault(key, []).append(row)
    chosen: list[int] = []
    for person_id in np.unique(gallery.person_ids).tolist():
        for camera_id in cameras:
            rows = groups.get((person_id, camera_id))
            if rows is None:
                continue
            chosen += (
                [draw.choice(rows)] if shots == 1 else draw.sample(rows, min(shots, len(rows)))
            )
    return np.array(sorted(chosen), dtype=np.int64)


def draw_published(
    gallery: EmbeddedSet, permutations: Permutations, shots: int, trial: int
) -> NDArray[np.int64]:
    """Rows of a gallery named by the first `shots` entries of the published permutations."""
    wanted: set[tuple[int, int, int]] = set()
    for camera_id in np.unique(gallery.camera_ids).tolist():
        for person_id in np.unique(gallery.person_ids).tolist():
            numbers = _permutation(permutations, camera_id, person_id, trial)[:shots]
            wanted.update((camera_id, person_id, int(number)) for number in numbers)
    rows = zip(
        gallery.camera_ids.tolist(),
        gallery.person_ids.tolist(),
        gallery.image_numbers.tolist(),
        strict=True,
    )
    return np.array([row for row, name in enumerate(rows) if name in wanted], dtype=np.int64)


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


def _permutation(
    permutations: Permutations, camera_id: int, person_id: int, trial: int
) -> NDArray[np.int64]:
    cameras = len(permutations)
    if not (0 < camera_id <= cameras and 0 < person_id <= len(permutations[camera_id - 1])):
        raise ProtocolError(f"the permutations have no person {person_id} of camera {camera_id}")
    table = permutations[camera_id - 1][person_id - 1]
    if table.size == 0:  # the person was not seen by this camera
        return table.ravel()
    if trial >= len(table):
        raise ProtocolError(
            f"the permutations have {len(table)} trials; trial {trial + 1} is missing"
        )
    row: NDArray[np.int64] = table[trial]
    return row
