"""How a trial's gallery is drawn: every image, or Python's seeded choice as AGW draws it."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.protocols.contest import Labels

TRIALS = 10  # of every published protocol that draws its galleries
EVERY_IMAGE, SEEDED = "every image", "seeded choice"


def every_image(gallery: Labels) -> tuple[NDArray[np.int64], ...]:
    """One trial that ranks the whole gallery."""
    return (np.arange(len(gallery), dtype=np.int64),)


def draw_seeded(
    gallery: Labels, cameras: Sequence[int], shots: int, trial: int
) -> NDArray[np.int64]:
    """Rows of a gallery drawn by `random.seed(trial)`: person by person, camera by camera.

    One stream serves the whole draw; a camera that never saw the person takes nothing from it. The
    images of a person and camera are ordered by their number, as sorted file names are. Single-shot
    draws with `choice`. Multi-shot draws with `sample`: that code publishes none, so its figures
    compare only among ours.

    Returns:
        Ascending rows.

    Source: AGW/data_manager.py `process_gallery_sysu`, `process_gallery_llcm` (ZYK100/LLCM).
    """
    draw = random.Random(trial)
    groups = _groups(gallery)
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


def _groups(gallery: Labels) -> dict[tuple[int, int], list[int]]:
    order = np.lexsort((gallery.image_numbers, gallery.camera_ids, gallery.person_ids))
    groups: dict[tuple[int, int], list[int]] = {}
    for row in order.tolist():
        key = (int(gallery.person_ids[row]), int(gallery.camera_ids[row]))
        groups.setdefault(key, []).append(row)
    return groups
