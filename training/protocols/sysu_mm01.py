"""The SYSU-MM01 protocol: infrared queries, a visible gallery drawn anew in each trial.

Two incompatible ways to draw the gallery are in use, and published figures differ by them: the
dataset's own permutations (`rand_perm_cam.mat`, the MPANet authors) and Python's seeded choice
over sorted files (AGW and its descendants). A result always names which one it used.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.contest import Contest, Labels
from training.protocols.drawing import SEEDED, TRIALS, draw_seeded
from training.protocols.permutations import PERMUTATIONS, Permutations, permutation

Search = Literal["all", "indoor"]

SEARCH_CAMERAS: dict[Search, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
QUERY_CAMERAS = (3, 6)


def sysu_mm01(
    query: Labels,
    gallery: Labels,
    *,
    search: Search,
    shots: int,
    permutations: Permutations | None,
    trials: int = TRIALS,
) -> Contest:
    """The contest of one search mode and number of shots, by cosine.

    Args:
        query: images of cameras 3 and 6.
        gallery: every visible image of the test identities; each trial takes `shots` a person
            and camera from it.
        permutations: of `load_permutations`, or None for Python's seeded choice.

    Raises:
        ProtocolError: nothing to rank, a query of another camera, or the permutations do not cover
            the gallery.
    """
    strange = query.camera_ids[~np.isin(query.camera_ids, QUERY_CAMERAS)]
    if len(strange):
        raise ProtocolError(f"a query of camera {strange[0]}: infrared cameras are 3 and 6")
    cameras = SEARCH_CAMERAS[search]
    searched = np.flatnonzero(np.isin(gallery.camera_ids, cameras))
    candidates = gallery.rows(searched)
    drawn = [
        draw_seeded(candidates, cameras, shots, trial)
        if permutations is None
        else draw_published(candidates, permutations, shots, trial)
        for trial in range(trials)
    ]
    return Contest(
        protocol=f"SYSU-MM01 {search} search, {shots}-shot",
        sampling=SEEDED if permutations is None else PERMUTATIONS,
        measure="cosine",
        ignore="camera 2 for probes of camera 3",
        neighbours="queries_only",
        query=query,
        gallery=gallery,
        trials=tuple(searched[rows] for rows in drawn),
    )


def draw_published(
    gallery: Labels, permutations: Permutations, shots: int, trial: int
) -> NDArray[np.int64]:
    """Rows of a gallery named by the first `shots` entries of the published permutations.

    Raises:
        ProtocolError: the permutations lack a person, a trial, or name no image of the gallery, or
            they name one that the gallery holds twice.
    """
    wanted: set[tuple[int, int, int]] = set()
    pairs = np.unique(np.stack([gallery.camera_ids, gallery.person_ids]), axis=1)
    for camera_id, person_id in pairs.T.tolist():
        numbers = permutation(permutations, camera_id, person_id, trial)[:shots]
        wanted.update((camera_id, person_id, int(number)) for number in numbers)
    names = list(
        zip(
            gallery.camera_ids.tolist(),
            gallery.person_ids.tolist(),
            gallery.image_numbers.tolist(),
            strict=True,
        )
    )
    chosen = [row for row, name in enumerate(names) if name in wanted]
    seen: set[tuple[int, int, int]] = set()
    for row in chosen:
        if names[row] in seen:
            camera_id, person_id, number = names[row]
            raise ProtocolError(
                f"expected each gallery image once, got image number {number} of person"
                f" {person_id}, camera {camera_id} more than once"
            )
        seen.add(names[row])
    if len(gallery) and not chosen:
        raise ProtocolError("the permutations name no image of the gallery")
    return np.array(chosen, dtype=np.int64)
