"""The RegDB protocol: every test image of one modality against every one of the other.

Figures are averaged over the ten splits by whoever has a model for each of them.
"""

from typing import Literal

from training.protocols.contest import Contest, Labels, Measure
from training.protocols.drawing import EVERY_IMAGE, every_image

Direction = Literal["thermal-to-visible", "visible-to-thermal"]


def regdb(
    visible: Labels, thermal: Labels, *, direction: Direction, measure: Measure = "cosine"
) -> Contest:
    """The contest of one direction.

    Args:
        measure: `euclidean` is un-normalised, as the reference evaluates RegDB.

    Raises:
        ProtocolError: a set is empty.
    """
    query, gallery = (thermal, visible) if direction == "thermal-to-visible" else (visible, thermal)
    return Contest(
        protocol=f"RegDB {direction}",
        sampling=EVERY_IMAGE,
        measure=measure,
        ignore="none",
        neighbours="gallery",
        query=query,
        gallery=gallery,
        trials=every_image(gallery),
    )
