"""The LLCM protocol: one gallery image a person and camera, drawn anew in each of ten trials."""

import numpy as np

from training.protocols.contest import Contest, Labels
from training.protocols.drawing import SEEDED, TRIALS, draw_seeded


def llcm(query: Labels, gallery: Labels, *, direction: str, trials: int = TRIALS) -> Contest:
    """The contest of one direction, such as `infrared-to-visible`, by cosine.

    A query skips gallery images of its own person by its own camera, and nothing else.

    Raises:
        ProtocolError: a set is empty.

    Source: AGW/data_manager.py `process_gallery_llcm`, AGW/eval_metrics.py `eval_llcm`
    (ZYK100/LLCM).
    """
    cameras = np.unique(gallery.camera_ids).tolist()
    return Contest(
        protocol=f"LLCM {direction}",
        sampling=SEEDED,
        measure="cosine",
        ignore="same person and camera",
        neighbours="gallery",
        query=query,
        gallery=gallery,
        trials=tuple(draw_seeded(gallery, cameras, 1, trial) for trial in range(trials)),
    )
