"""Own cameras: every test image of one modality against every one of the other.

Images of the same person by the same camera are skipped: a camera that records both modalities at
once would otherwise find its own moment again.
"""

from training.protocols.contest import Contest, Labels
from training.protocols.drawing import EVERY_IMAGE, every_image


def cross_modality(query: Labels, gallery: Labels, *, direction: str) -> Contest:
    """The contest of one direction, such as `infrared-to-visible`, by cosine.

    Raises:
        ProtocolError: a set is empty.
    """
    return Contest(
        protocol=f"cross-modality {direction}",
        sampling=EVERY_IMAGE,
        measure="cosine",
        ignore="same person and camera",
        neighbours="gallery",
        query=query,
        gallery=gallery,
        trials=every_image(gallery),
    )
